//! A switch loses nothing, mixes nothing and refuses what is stale.

use crate::support::{Backend, Bench, LIMIT, Wire, anywhere, route, target};
use alcedo_proxy::control::{ClientError, FailureKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn switch_under_load_loses_nothing_and_closes_no_connection() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let posts = || backends.iter().map(|b| b.requests.load(Ordering::SeqCst)).sum::<usize>();
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..64)
        .map(|n| {
            let (stop, asked) = (stop.clone(), asked.clone());
            std::thread::spawn(move || {
                // One connection to the end: were it closed, `read` would have no answer.
                let mut wire = Wire::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    let answer = if n % 2 == 0 { wire.get("/") } else { wire.post("/", "body") };
                    assert_eq!(answer.status(), 200);
                    assert_eq!(answer.header("x-alcedo-release"), Some(answer.text()));
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut client = bench.client();
    for switch in 1..=100_u64 {
        let before = asked.load(Ordering::SeqCst);
        crate::support::eventually("a few requests", || {
            (asked.load(Ordering::SeqCst) > before + 64).then_some(())
        });
        let (id, backend) = if switch % 2 == 1 { ("b", &backends[1]) } else { ("a", &backends[0]) };
        let target = target(id, backend.address);
        client.switch("web", switch, &format!("op-{switch}"), target, LIMIT).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(posts(), asked.load(Ordering::SeqCst), "every request ran exactly once");
    assert_eq!(bench.client().status(LIMIT).unwrap().refused_connections, 0);
}

#[test]
fn request_after_the_answer_to_a_switch_sees_the_new_target_whole() {
    let backends = [
        (Backend::named("web-a"), Backend::named("api-a")),
        (Backend::named("web-b"), Backend::named("api-b")),
    ];
    let make = |turn: usize| {
        let (web, api) = &backends[turn];
        let mut target = target(["a", "b"][turn], web.address);
        target.routes.push(route("/api", api.address));
        target
    };
    let bench = Bench::start();
    let address = bench.serve(make(0));
    let mut client = bench.client();
    let mut wires: Vec<Wire> = (0..8).map(|_| Wire::connect(address)).collect();
    for turn in 1..60_u64 {
        let target = make((turn % 2) as usize);
        let id = target.id.clone();
        client.switch("web", turn, &format!("op-{turn}"), target, LIMIT).unwrap();
        for wire in &mut wires {
            for (path, name) in [("/", "web"), ("/api", "api")] {
                let answer = wire.get(path);
                assert_eq!(answer.text(), format!("{name}-{id}"));
                assert_eq!(answer.header("x-alcedo-release"), Some(id.as_str()));
            }
        }
        let traffic = client.traffic("web", LIMIT).unwrap();
        assert!(traffic.iter().skip(1).all(|target| target.in_flight == 0), "{traffic:?}");
    }
}

#[test]
fn stale_generation_is_refused_and_a_repeated_operation_is_answered_as_before() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("a", backends[0].address)));
    let mut client = bench.client();
    let to_b = || target("b", backends[1].address);
    let error = client.switch("web", 0, "late", to_b(), LIMIT).unwrap_err();
    let ClientError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::Conflict);
    let effective = failure.effective.unwrap();
    assert_eq!((effective.generation, effective.operation.as_deref()), (1, Some("a")));
    assert_eq!(wire.get("/").text(), "a");
    let first = client.switch("web", 1, "op", to_b(), LIMIT).unwrap();
    assert_eq!((first.generation, first.already), (2, false));
    assert!(first.took_us >= first.durable_us && first.durable_us > 0);
    let again = client.switch("web", 1, "op", to_b(), LIMIT).unwrap();
    assert_eq!((again.generation, again.already), (2, true));
    assert_eq!(wire.get("/").text(), "b");
}

#[test]
fn request_in_flight_ends_on_the_target_it_began_on() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::new(move |_| {
        wait.lock().unwrap().recv().unwrap();
        "old".to_owned()
    });
    let fast = Backend::named("new");
    let bench = Bench::start();
    let address = bench.serve(target("old", slow.address));
    let mut wire = Wire::connect(address);
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let mut client = bench.client();
    let in_flight = |client: &mut alcedo_proxy::control::Client| {
        let traffic = client.traffic("web", LIMIT).unwrap();
        traffic.iter().find(|t| t.target == "old").unwrap().in_flight
    };
    crate::support::eventually("the request", || (in_flight(&mut client) == 1).then_some(()));
    client.switch("web", 1, "op", target("new", fast.address), LIMIT).unwrap();
    let drained = client.drain("web", "old", None, LIMIT).unwrap();
    assert_eq!((drained.in_flight, drained.closing), (1, 0));
    assert_eq!(Wire::connect(address).get("/").text(), "new");
    go_on.send(()).unwrap();
    assert_eq!(wire.read().unwrap().text(), "old");
    assert_eq!(wire.get("/").text(), "new");
    crate::support::eventually("the end", || (in_flight(&mut client) == 0).then_some(()));
}

#[test]
fn unusable_target_is_refused_and_changes_nothing() {
    let backend = Backend::named("a");
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("a", backend.address)));
    let mut client = bench.client();
    let mut bad = target("b", backend.address);
    bad.routes[0].prefix = "/api".to_owned();
    let error = client.switch("web", 1, "op", bad, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "use the target b: it has no route for every path");
    let error = client.switch("none", 0, "op", target("b", backend.address), LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "find the service none");
    assert!(client.configure("No Name", anywhere(), LIMIT).is_err());
    assert_eq!(wire.get("/").text(), "a");
}

#[test]
fn traffic_tells_counts_times_and_the_worst_paths() {
    let backend = Backend::raw(|mut wire| {
        while let Some(request) = wire.read() {
            let status = if request.path().starts_with("/bad") { 500 } else { 200 };
            wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("a", backend.address)));
    for _ in 0..5 {
        wire.get("/");
        wire.get("/bad?with=query");
    }
    wire.post("/bad/other", "");
    let traffic = bench.client().traffic("web", LIMIT).unwrap().remove(0);
    assert!(traffic.effective);
    assert_eq!((traffic.requests, traffic.errors), (11, 6));
    assert_eq!(traffic.classes, [0, 5, 0, 0, 6]);
    assert_eq!(
        traffic.worst,
        [("GET /bad 500".to_owned(), 5), ("POST /bad/other 500".to_owned(), 1)]
    );
    assert!(0 < traffic.p50_us && traffic.p50_us <= traffic.p95_us, "{traffic:?}");
}

#[test]
fn next_target_is_connected_to_ahead_where_the_present_one_keeps_connections() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    assert_eq!(Wire::connect(address).get("/").text(), "a");
    bench.client().switch("web", 1, "op", target("b", backends[1].address), LIMIT).unwrap();
    crate::support::eventually("a connection to b", || {
        (backends[1].connections.load(Ordering::SeqCst) > 0).then_some(())
    });
    assert_eq!(backends[1].requests.load(Ordering::SeqCst), 0);
    assert_eq!(Wire::connect(address).get("/").text(), "b");
}

#[test]
fn server_that_takes_one_connection_after_the_other_gets_none_without_a_request() {
    let one_by_one = |name: &'static str| {
        Backend::raw(move |mut wire| {
            wire.read();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1";
            wire.write(format!("{head}\r\n\r\n{name}"));
        })
    };
    let backends = [one_by_one("a"), one_by_one("b")];
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    assert_eq!(Wire::connect(address).get("/").text(), "a");
    bench.client().switch("web", 1, "op", target("b", backends[1].address), LIMIT).unwrap();
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    assert_eq!(backends[1].connections.load(Ordering::SeqCst), 1);
}
