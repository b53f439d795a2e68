//! What is under way on a target without traffic comes to its end.

use crate::support::{Backend, Bench, LIMIT, Wire, eventually, target};
use alcedo_proxy::state::DrainLimits;
use std::sync::atomic::Ordering;

fn endless_events() -> Backend {
    Backend::raw(|mut wire| {
        if wire.read().is_some() {
            wire.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            wire.write("9\r\ndata: 0\n\n\r\n");
            // Until the proxy hangs up.
            assert!(wire.is_at_end());
        }
    })
}

#[test]
fn drain_ends_event_streams_between_events() {
    let (backend, other) = (endless_events(), Backend::named("new"));
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("old", backend.address)));
    wire.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.read_head().unwrap();
    assert_eq!(wire.read_chunk().unwrap().unwrap(), b"data: 0\n\n");
    let mut client = bench.client();
    client.switch("web", 1, "op", target("new", other.address), LIMIT).unwrap();
    let limits = DrainLimits { requests_ms: 0, websockets_ms: 200 };
    let drained = client.drain("web", "old", Some(limits), LIMIT).unwrap();
    assert_eq!((drained.in_flight, drained.closing), (1, 1));
    assert_eq!(wire.read_chunk(), Some(None), "the stream ends as a whole");
    assert_eq!(wire.get("/").text(), "new", "on the same connection");
    eventually("the old target's end", || {
        let traffic = client.traffic("web", LIMIT).unwrap();
        traffic.iter().all(|t| t.in_flight == 0 && t.streams == 0).then_some(())
    });
}

#[test]
fn effective_target_is_not_drained_and_an_unknown_one_has_nothing() {
    let backend = Backend::named("a");
    let bench = Bench::start();
    bench.serve(target("a", backend.address));
    let mut client = bench.client();
    let error = client.drain("web", "a", None, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "drain a: it is the effective target of web");
    let drained = client.drain("web", "gone", None, LIMIT).unwrap();
    assert_eq!((drained.in_flight, drained.closing), (0, 0));
}

#[test]
fn stop_lets_requests_end_and_tells_kept_connections_to_go() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::new(move |request| {
        if request.path() == "/slow" {
            wait.lock().unwrap().recv().unwrap();
        }
        "done".to_owned()
    });
    let bench = Bench::start();
    let address = bench.serve(target("a", backend.address));
    let mut slow = Wire::connect(address);
    slow.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut idle = Wire::connect(address);
    assert_eq!(idle.get("/").header("connection"), None);
    let mut client = bench.client();
    eventually("the slow request", || {
        (client.traffic("web", LIMIT).unwrap()[0].in_flight == 1).then_some(())
    });
    let stopping = std::thread::spawn(move || bench.stop());
    eventually("no new connections", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    let last = idle.get("/");
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")));
    assert!(idle.is_at_end());
    go_on.send(()).unwrap();
    assert_eq!(slow.read().unwrap().text(), "done");
    stopping.join().unwrap();
    assert_eq!(backend.requests.load(Ordering::SeqCst), 3);
}
