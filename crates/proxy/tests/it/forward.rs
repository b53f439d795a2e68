//! Requests and answers come through as they are, and nothing is sent twice that must not be.

use crate::support::{Backend, Bench, Wire, anywhere, target};
use alcedo_proxy::state::{Address, Structure};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[test]
fn request_and_answer_come_through_on_kept_connections() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    for _ in 0..3 {
        let answer = wire.post("/a?b=c", "hello");
        assert_eq!(answer.status(), 200);
        assert!(answer.text().starts_with("POST /a?b=c HTTP/1.1\n"), "{}", answer.text());
        assert!(answer.text().ends_with("\n\nhello"));
        assert_eq!(answer.header("x-alcedo-release"), Some("one"));
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn chunked_bodies_and_trailers_come_through() {
    let backend = Backend::raw(|mut wire| {
        let head = wire.read_head().unwrap();
        assert!(head.header("transfer-encoding").is_some());
        let mut body = Vec::new();
        while let Some(Some(chunk)) = wire.read_chunk() {
            body.extend(chunk);
        }
        wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
        wire.write(format!("{:x}\r\n", body.len()));
        wire.write(body);
        wire.write("\r\n0\r\nx-sum: 42\r\n\r\n");
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    wire.write("4\r\ndefg\r\n0\r\n\r\n");
    let head = wire.read_head().unwrap();
    assert_eq!(head.status(), 200);
    let mut text = String::new();
    while !text.contains("x-sum: 42") {
        use std::io::BufRead;
        assert!(wire.stream.read_line(&mut text).unwrap() > 0, "{text}");
    }
    assert!(text.contains("abcdefg"), "{text}");
}

#[test]
fn trailers_of_a_request_cannot_say_what_its_head_could_not() {
    let backend = Backend::raw(|mut wire| {
        wire.read_head().unwrap();
        let mut body = String::new();
        while !body.ends_with("\r\n\r\n") {
            use std::io::BufRead;
            assert!(wire.stream.read_line(&mut body).unwrap() > 0, "{body}");
        }
        let (_, trailers) = body.split_once("0\r\n").unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", trailers.len()));
        wire.write(trailers);
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n");
    wire.write(
        "X-Forwarded-For: 1.2.3.4\r\nX-Alcedo-Slot: blue\r\nContent-Length: 9\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(wire.read().unwrap().text(), "x-sum: 42\r\n\r\n");
}

#[test]
fn answers_without_a_body_keep_their_headers_and_the_connection() {
    let backend = Backend::raw(|mut wire| {
        while let Some(request) = wire.read() {
            match request.path() {
                "/304" => wire.write("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
                "/204" => wire.write("HTTP/1.1 204 No Content\r\n\r\n"),
                _ => wire.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
            }
            if !request.start.starts_with("HEAD") && request.path() == "/" {
                wire.write("1234567");
            }
        }
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.read_head().unwrap().header("content-length"), Some("7"));
    assert_eq!(wire.get("/304").header("etag"), Some("\"x\""));
    assert_eq!(wire.get("/204").status(), 204);
    assert_eq!(wire.get("/").text(), "1234567");
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn event_stream_arrives_as_it_is_sent() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::raw(move |mut wire| {
        wire.read().unwrap();
        wire.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..3 {
            wire.write(format!("9\r\ndata: {n}\n\n\r\n"));
            wait.lock().unwrap().recv().unwrap();
        }
        wire.write("0\r\n\r\n");
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.read_head().unwrap();
    for n in 0..3 {
        // The backend sends no further event before this one has arrived.
        assert_eq!(wire.read_chunk().unwrap().unwrap(), format!("data: {n}\n\n").as_bytes());
        go_on.send(()).unwrap();
    }
    assert_eq!(wire.read_chunk(), Some(None));
}

#[test]
fn large_bodies_come_through_whole_in_both_directions() {
    let backend = Backend::raw(|mut wire| {
        while let Some(request) = wire.read() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            wire.write(head);
            wire.write(&request.body);
        }
    });
    let bench = Bench::start();
    let address = bench.serve(target("one", backend.address));
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    let mut wire = Wire::connect(address);
    let mut writer = wire.stream.get_ref().try_clone().unwrap();
    let sent = body.clone();
    let writing = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        writer.write_all(head.as_bytes()).unwrap();
        writer.write_all(&sent).unwrap();
    });
    let answer = wire.read().unwrap();
    writing.join().unwrap();
    assert!(answer.body == body);
}

#[test]
fn expectation_to_continue_is_met_before_the_body_comes() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    wire.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(wire.read_head().unwrap().status(), 100);
    let answer = wire.ask("ok");
    assert!(answer.text().ends_with("ok") && !answer.text().contains("expect"));
}

#[test]
fn forged_labels_and_forwarded_headers_do_not_come_through() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    let answer = wire.ask(
        "GET / HTTP/1.1\r\nHost: web.example:81\r\nX-Alcedo-Release: forged\r\nX_Alcedo_Release: forged\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /forged\r\n\
         X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
         Connection: keep-alive, X-Secret\r\nKeep-Alive: 5\r\nX-Secret: hop\r\n\r\n",
    );
    let seen = answer.text().to_ascii_lowercase();
    for line in [
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: web.example:81",
        "host: web.example:81",
    ] {
        assert!(seen.lines().any(|l| l == line), "{line} in {seen}");
    }
    for word in ["forged", "6.6.6.6", "x-secret", "keep-alive", "forwarded: for"] {
        assert!(!seen.contains(word), "{word} in {seen}");
    }
}

#[test]
fn trusted_proxy_is_believed_and_named_in_the_chain() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let structure = Structure {
        trusted_proxies: vec!["127.0.0.0/8".to_owned(), "10.0.0.0/8".to_owned()],
        ..anywhere()
    };
    let mut wire = Wire::connect(bench.serve_as("web", structure, target("one", backend.address)));
    let answer = wire.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    for line in [
        "x-forwarded-for: 6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1",
        "x-real-ip: 192.0.2.7",
        "x-forwarded-proto: https",
    ] {
        assert!(answer.text().lines().any(|l| l == line), "{line} in {}", answer.text());
    }
}

/// S0-10: a site that sends `X-Real-IP` alone.
#[test]
fn client_that_a_trusted_proxy_names_in_x_real_ip_alone_stays_the_client() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let structure = Structure { trusted_proxies: vec!["127.0.0.0/8".to_owned()], ..anywhere() };
    let mut wire = Wire::connect(bench.serve_as("web", structure, target("one", backend.address)));
    let answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.7\r\n\r\n");
    for line in ["x-real-ip: 192.0.2.7", "x-forwarded-for: 192.0.2.7, 127.0.0.1"] {
        assert!(answer.text().lines().any(|l| l == line), "{line} in {}", answer.text());
    }
}

#[test]
fn labels_of_an_upstream_are_replaced_by_those_of_the_target() {
    let backend = Backend::raw(|mut wire| {
        while wire.read().is_some() {
            wire.write("HTTP/1.1 200 OK\r\nX-Alcedo-Release: forged\r\nX-Alcedo-Else: forged\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    let answer = wire.get("/");
    assert_eq!(answer.header("x-alcedo-release"), Some("one"));
    assert_eq!(answer.header("x-alcedo-else"), None);
    assert_eq!(answer.header("keep-alive"), None);
}

/// Answers one request on each connection and then closes it without a word, as servers do whose idle time is up.
fn closes_after_each_answer(posts: Arc<AtomicUsize>) -> Backend {
    Backend::raw(move |mut wire| {
        if let Some(request) = wire.read() {
            posts.fetch_add(usize::from(request.start.starts_with("POST")), Ordering::SeqCst);
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

#[test]
fn connection_closed_by_the_upstream_loses_nothing_and_runs_no_post_twice() {
    let posts = Arc::new(AtomicUsize::new(0));
    let backend = closes_after_each_answer(posts.clone());
    let bench = Bench::start_with(|options| options.workers = Some(1));
    let address = bench.serve(target("one", backend.address));
    // Some of the connections that seem to be kept are found closed.
    let mut wire = Wire::connect(address);
    assert!((0..200).all(|_| wire.get("/").status() == 200));
    // From here on the close falls before, into and after the moment in which a connection is used again.
    let clients = (0..8).map(|_| {
        std::thread::spawn(move || {
            let mut wire = Wire::connect(address);
            for n in 1..=200 {
                assert_eq!(wire.post("/", "x").status(), 200, "POST {n}");
                assert_eq!(wire.get("/").status(), 200, "GET {n}");
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(posts.load(Ordering::SeqCst), 8 * 200);
}

#[test]
fn post_that_broke_off_is_not_sent_again_but_a_get_is() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let backend = Backend::raw(move |mut wire| {
        if wire.read().is_some() && counter.fetch_add(1, Ordering::SeqCst) > 0 {
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    assert_eq!(wire.post("/", "x").status(), 502);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    seen.store(0, Ordering::SeqCst);
    assert_eq!(wire.get("/").status(), 200);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[test]
fn upstream_that_starts_again_is_waited_for_and_an_absent_one_is_502() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", address)));
    let begun = Instant::now();
    let answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
    assert_eq!((answer.status(), answer.header("content-type")), (502, Some("application/json")));
    assert!(begun.elapsed().as_millis() < 3_000);
    wire.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let listener = std::net::TcpListener::bind(address).unwrap();
    let mut upstream = Wire::new(listener.accept().unwrap().0);
    upstream.read().unwrap();
    upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.read().unwrap().status(), 200);
}

#[test]
fn unix_socket_upstream_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::Read;
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
        }
    });
    let bench = Bench::start();
    let mut target = target("one", "127.0.0.1:1".parse().unwrap());
    target.routes[0].addresses = vec![Address::Unix(path)];
    let mut wire = Wire::connect(bench.serve(target));
    assert_eq!(wire.get("/").text(), "unix");
    assert_eq!(wire.post("/", "x").text(), "unix");
}

#[test]
fn client_that_goes_away_is_no_error_of_the_target() {
    let backend = Backend::raw(|mut wire| {
        wire.read();
        // The proxy hangs up when the client has gone.
        assert!(wire.is_at_end());
    });
    let bench = Bench::start();
    let address = bench.serve(target("one", backend.address));
    let mut wire = Wire::connect(address);
    wire.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = bench.client();
    let mut traffic = || client.traffic("web", crate::support::LIMIT).unwrap().remove(0);
    crate::support::eventually("a request in flight", || (traffic().in_flight == 1).then_some(()));
    drop(wire);
    crate::support::eventually("its end", || (traffic().in_flight == 0).then_some(()));
    assert_eq!((traffic().requests, traffic().errors), (0, 0));
}
