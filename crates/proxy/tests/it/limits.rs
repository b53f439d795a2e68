//! Nobody may take more than their share of time or space.

use crate::support::{Backend, Bench, LIMIT, Wire, anywhere, eventually, target};
use alcedo_proxy::state::Structure;
use std::io::{Read, Write};
use std::time::Instant;

#[test]
fn body_over_the_limit_is_413_announced_or_not() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let structure = Structure { max_body_bytes: 10, ..anywhere() };
    let address = bench.serve_as("web", structure, target("one", backend.address));
    assert_eq!(Wire::connect(address).post("/", "0123456789").status(), 200);
    let mut wire = Wire::connect(address);
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    let answer = wire.read().unwrap();
    assert_eq!((answer.status(), answer.header("connection")), (413, Some("close")));
    let mut wire = Wire::connect(address);
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.write("6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n");
    assert_eq!(wire.read().unwrap().status(), 413);
    let traffic = bench.client().traffic("web", LIMIT).unwrap();
    assert_eq!(traffic[0].errors, 0, "the client's fault is not the target's");
}

#[test]
fn client_that_is_slow_with_its_head_is_cut() {
    let backend = Backend::echo();
    let bench = Bench::start_with(|options| options.client_limits.head_ms = 300);
    let address = bench.serve(target("one", backend.address));
    let mut wire = Wire::connect(address);
    let begun = Instant::now();
    wire.write("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut stream = wire.stream.get_ref();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    // A line more each time that the proxy has said nothing for a while.
    let is_silent = |seen: std::io::Result<usize>| {
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    while stream.write_all(b"a: b\r\n").is_ok() && is_silent(stream.read(&mut [0])) {
        assert!(begun.elapsed() < LIMIT, "it is never cut");
    }
    assert!((300..3_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[test]
fn client_that_is_slow_with_its_body_is_408_and_frees_the_upstream() {
    let backend = Backend::echo();
    let bench = Bench::start_with(|options| options.client_limits.upload_ms = 300);
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n012");
    assert_eq!(wire.read().unwrap().status(), 408);
    let mut client = bench.client();
    eventually("its end", || {
        (client.traffic("web", LIMIT).unwrap()[0].in_flight == 0).then_some(())
    });
    assert_eq!(client.traffic("web", LIMIT).unwrap()[0].errors, 0);
}

#[test]
fn client_that_takes_no_bytes_is_cut_and_frees_the_upstream() {
    let backend = Backend::raw(|mut wire| {
        wire.read();
        let body = vec![b'x'; 64 << 20];
        let _ = write!(
            wire.stream.get_mut(),
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = wire.stream.get_mut().write_all(&body);
    });
    let bench = Bench::start_with(|options| options.client_limits.download_ms = 300);
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.read_head().unwrap();
    let mut client = bench.client();
    eventually("its end", || {
        (client.traffic("web", LIMIT).unwrap()[0].in_flight == 0).then_some(())
    });
}

#[test]
fn idle_connection_is_closed_after_its_time() {
    let backend = Backend::echo();
    let bench = Bench::start_with(|options| options.client_limits.idle_ms = 300);
    let address = bench.serve(target("one", backend.address));
    let (mut fresh, mut used) = (Wire::connect(address), Wire::connect(address));
    used.get("/");
    assert!(fresh.is_at_end());
    assert!(used.is_at_end());
}

#[test]
fn upstream_that_does_not_begin_in_time_is_504_but_a_stream_may_last() {
    let backend = Backend::raw(|mut wire| {
        let request = wire.read().unwrap();
        if request.path() == "/stream" {
            wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        }
        // Silent until the proxy hangs up, or for longer than its limit.
        wire.stream
            .get_mut()
            .set_read_timeout(Some(std::time::Duration::from_millis(900)))
            .unwrap();
        wire.is_at_end();
        let _ = wire.stream.get_mut().write_all(b"1\r\nb\r\n0\r\n\r\n");
    });
    let bench = Bench::start();
    let structure = Structure { timeout_ms: 300, ..anywhere() };
    let mut wire = Wire::connect(bench.serve_as("web", structure, target("one", backend.address)));
    assert_eq!(wire.get("/").status(), 504);
    assert_eq!(wire.post("/", "body").status(), 504);
    assert_eq!(wire.get("/stream").text(), "ab");
    let traffic = bench.client().traffic("web", LIMIT).unwrap().remove(0);
    assert_eq!((traffic.requests, traffic.errors), (3, 2));
}

#[test]
fn too_many_connections_and_requests_are_503_with_a_time_to_try_again() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::new(move |_| {
        wait.lock().unwrap().recv().unwrap();
        String::new()
    });
    let bench = Bench::start_with(|options| {
        options.workers = Some(1);
        options.max_connections = 2;
        options.max_in_flight = 1;
    });
    let address = bench.serve(target("one", backend.address));
    let (mut first, mut second) = (Wire::connect(address), Wire::connect(address));
    first.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = bench.client();
    eventually("a request in flight", || {
        (client.traffic("web", LIMIT).unwrap()[0].in_flight == 1).then_some(())
    });
    let busy = second.get("/");
    assert_eq!((busy.status(), busy.header("retry-after")), (503, Some("1")));
    let judged = &client.traffic("web", LIMIT).unwrap()[0];
    assert_eq!((judged.requests, judged.errors), (1, 1), "the target is blamed for being full");
    let refused = Wire::connect(address).read().unwrap();
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    go_on.send(()).unwrap();
    assert_eq!(first.read().unwrap().status(), 200);
    assert_eq!(client.status(LIMIT).unwrap().refused_connections, 1);
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let address = bench.serve(target("one", backend.address));
    let mut many = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
    many.extend((0..101).map(|n| format!("h{n}: v\r\n")));
    assert_eq!(Wire::connect(address).ask(format!("{many}\r\n")).status(), 431);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nh: {}\r\n\r\n", "v".repeat(40_000));
    assert_eq!(Wire::connect(address).ask(long).status(), 431);
}

#[test]
fn access_log_has_a_line_for_each_request_and_is_rotated() {
    let backend = Backend::named("hello");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let bench = Bench::start_with(|options| {
        options.access_log = Some(path.clone());
        options.access_log_size_bytes = 2_000;
    });
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    for _ in 0..50 {
        wire.get("/a?b={c}");
    }
    wire.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    drop(bench.stop());
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let text = eventually("the last line", || {
        let text = read(&path.with_extension("log.1")) + &read(&path);
        text.ends_with('\n').then_some(text).filter(|t| t.lines().count() == 51)
    });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["path"], "/a?b={c}");
    assert_eq!((&lines[0]["status"], &lines[0]["bytes"]), (&200.into(), &5.into()));
    assert_eq!((&lines[0]["service"], &lines[0]["target"]), (&"web".into(), &"one".into()));
    assert_eq!(lines[50]["status"], 400);
}
