//! Requests that two parsers could read differently reach the upstream in one form or not at all.

use crate::support::{Backend, Bench, Wire, eventually, target};
use std::io::Read;
use std::sync::atomic::Ordering;

/// Sends the bytes and reads whatever comes until the connection ends or stays silent.
fn send(address: std::net::SocketAddr, bytes: &str) -> String {
    let mut wire = Wire::connect(address);
    wire.write(bytes);
    wire.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = Vec::new();
    let _ = wire.stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn ambiguous_requests_are_refused_or_end_the_connection() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let address = bench.serve(target("one", backend.address));
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len() + 5;
    for head in [
        // Two lengths.
        "Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "Content-Length: 5, 6\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: 0x5\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        // Encodings that are not exactly chunked.
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: \x0bchunked\r\n".to_owned(),
        // Names and lines that parsers trim differently.
        "Transfer-Encoding : chunked\r\n".to_owned(),
        " Transfer-Encoding: chunked\r\n".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked\r\n".to_owned(),
        "X: y\rTransfer-Encoding: chunked\r\n".to_owned(),
        "X: \0\r\n".to_owned(),
        "Host: b\r\n".to_owned(),
    ] {
        let answer = send(address, &format!("{post}{head}\r\n0\r\n\r\n{hidden}"));
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(["400", "501"].contains(&status.as_str()), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
    }
    assert_eq!(backend.requests.load(Ordering::SeqCst), 0);
    // Both framings: read as chunked (RFC 9112, section 6.3), passed on as chunked alone, and the connection ends.
    for head in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ] {
        let before = backend.requests.load(Ordering::SeqCst);
        let answer = send(address, &format!("{post}{head}\r\n0\r\n\r\n{hidden}"));
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert!(!answer.contains("/hidden") && !answer.contains("content-length: 4"), "{answer}");
        assert_eq!(backend.requests.load(Ordering::SeqCst), before + 1);
    }
}

#[test]
fn header_with_an_underscore_cannot_stand_for_a_framing_header() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    let answer = wire.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent_Length: 99\r\nTransfer_Encoding: chunked\r\nOther_One: kept\r\n\r\nok");
    assert!(
        !answer.text().contains("content_length") && !answer.text().contains("transfer_encoding")
    );
    assert!(answer.text().contains("other_one: kept"));
}

#[test]
fn bytes_that_an_upstream_sends_unasked_reach_no_client() {
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
    let (sent, has_sent) = std::sync::mpsc::channel();
    let sent = std::sync::Mutex::new(sent);
    let backend = Backend::raw(move |mut wire| {
        while let Some(request) = wire.read() {
            let path = request.path().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            match path.as_str() {
                "/together" => wire.write(answer + POISON),
                "/later" => {
                    wire.write(answer);
                    wire.write(POISON);
                    sent.lock().unwrap().send(()).unwrap();
                }
                _ => wire.write(answer),
            }
        }
    });
    let bench = Bench::start_with(|options| options.workers = Some(1));
    let address = bench.serve(target("one", backend.address));
    let mut victim = Wire::connect(address);
    for n in 0..20 {
        assert_eq!(Wire::connect(address).get("/together").text(), "/together");
        assert_eq!(victim.get(&format!("/get{n}")).text(), format!("/get{n}"));
        assert_eq!(Wire::connect(address).get("/later").text(), "/later");
        has_sent.recv().unwrap();
        assert_eq!(victim.get(&format!("/get{n}")).text(), format!("/get{n}"));
        assert_eq!(Wire::connect(address).get("/later").text(), "/later");
        has_sent.recv().unwrap();
        assert_eq!(victim.post(&format!("/post{n}"), "x").text(), format!("/post{n}"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::new(|request| request.path().to_owned());
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    let requests: String =
        (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    wire.write(requests);
    for n in 0..20 {
        assert_eq!(wire.read().unwrap().text(), format!("/{n}"));
    }
    eventually("no idle work", || Some(()));
}
