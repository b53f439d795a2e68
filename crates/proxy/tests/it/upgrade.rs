//! WebSockets and other protocols pass through, and end politely.

use crate::support::{Backend, Bench, LIMIT, Message, Wire, target};
use alcedo_proxy::state::DrainLimits;
use std::io::{Read, Write};

/// Accepts an upgrade and sends every byte back.
pub(crate) fn echoing() -> Backend {
    Backend::raw(|mut wire| {
        let Some(request) = wire.read_head() else { return };
        if request.header("upgrade").is_none() {
            return wire.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain");
        }
        // The first frame of the server comes with its answer.
        wire.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x01\x02hi");
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = wire.stream.read(&mut buffer) {
            if wire.stream.get_mut().write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    })
}

pub(crate) fn open(address: std::net::SocketAddr, protocol: &str) -> (Wire, Message) {
    let mut wire = Wire::connect(address);
    let head = wire.ask(format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    ));
    (wire, head)
}

pub(crate) fn read_exactly(wire: &mut Wire, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    wire.stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn websocket_comes_through_in_both_directions() {
    let backend = echoing();
    let bench = Bench::start();
    let (mut wire, head) = open(bench.serve(target("one", backend.address)), "websocket");
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(head.header("x-alcedo-release"), Some("one"));
    assert_eq!(read_exactly(&mut wire, 4), b"\x01\x02hi");
    for size in [1, 100, 60_000] {
        let frame = vec![0; size];
        wire.write(&frame);
        assert_eq!(read_exactly(&mut wire, size), frame);
    }
    let traffic = || bench.client().traffic("web", LIMIT).unwrap().remove(0);
    assert_eq!((traffic().tunnels, traffic().in_flight), (1, 0));
    drop(wire);
    crate::support::eventually("the tunnel's end", || (traffic().tunnels == 0).then_some(()));
    assert_eq!((traffic().requests, traffic().errors), (1, 0));
}

#[test]
fn drain_closes_websockets_with_code_1012_between_frames() {
    let (backend, other) = (echoing(), Backend::named("new"));
    let bench = Bench::start();
    let address = bench.serve(target("old", backend.address));
    let mut sockets: Vec<Wire> = (0..8).map(|_| open(address, "websocket").0).collect();
    let mut client = bench.client();
    for wire in &mut sockets {
        assert_eq!(read_exactly(wire, 4), b"\x01\x02hi");
    }
    client.switch("web", 1, "op", target("new", other.address), LIMIT).unwrap();
    // A switch alone leaves them open.
    sockets[0].write(b"\x89\x00");
    assert_eq!(read_exactly(&mut sockets[0], 2), b"\x89\x00");
    // One is in the middle of a frame of the server: five more bytes are announced.
    sockets[1].write(b"\x82\x05");
    assert_eq!(read_exactly(&mut sockets[1], 2), b"\x82\x05");
    let limits = DrainLimits { requests_ms: 0, websockets_ms: 400 };
    let drained = client.drain("web", "old", Some(limits), LIMIT).unwrap();
    assert_eq!((drained.in_flight, drained.closing), (0, 8));
    sockets[1].write(b"12345");
    assert_eq!(read_exactly(&mut sockets[1], 5), b"12345");
    for wire in &mut sockets {
        assert_eq!(read_exactly(wire, 4), b"\x88\x02\x03\xf4");
        // The client's answer, masked.
        wire.write(b"\x88\x82\x00\x00\x00\x00\x03\xf4");
        assert!(wire.is_at_end());
    }
    let tunnels = || {
        let traffic = bench.client().traffic("web", LIMIT).unwrap();
        traffic.iter().find(|t| t.target == "old").map_or(0, |t| t.tunnels)
    };
    crate::support::eventually("the end of all", || (tunnels() == 0).then_some(()));
}

#[test]
fn other_protocols_pass_and_are_cut_by_a_drain() {
    let (backend, other) = (echoing(), Backend::named("new"));
    let bench = Bench::start();
    let (mut wire, head) = open(bench.serve(target("old", backend.address)), "chat");
    assert_eq!(head.status(), 101);
    assert_eq!(read_exactly(&mut wire, 4), b"\x01\x02hi");
    let mut client = bench.client();
    client.switch("web", 1, "op", target("new", other.address), LIMIT).unwrap();
    let limits = DrainLimits { requests_ms: 0, websockets_ms: 100 };
    client.drain("web", "old", Some(limits), LIMIT).unwrap();
    assert!(wire.is_at_end());
}

#[test]
fn return_of_a_target_ends_its_drain() {
    let (backend, other) = (echoing(), Backend::named("new"));
    let bench = Bench::start();
    let (mut wire, _) = open(bench.serve(target("old", backend.address)), "websocket");
    assert_eq!(read_exactly(&mut wire, 4), b"\x01\x02hi");
    let mut client = bench.client();
    client.switch("web", 1, "there", target("new", other.address), LIMIT).unwrap();
    let limits = DrainLimits { requests_ms: 0, websockets_ms: 1_000 };
    client.drain("web", "old", Some(limits), LIMIT).unwrap();
    client.switch("web", 2, "back", target("old", backend.address), LIMIT).unwrap();
    assert!(client.drain("web", "new", None, LIMIT).is_ok());
    let until = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    while std::time::Instant::now() < until {
        wire.write(b"\x89\x00");
        assert_eq!(read_exactly(&mut wire, 2), b"\x89\x00");
    }
}

#[test]
fn upgrade_that_the_upstream_declines_is_a_plain_answer() {
    let backend = Backend::new(|request| format!("{:?}", request.header("upgrade")));
    let bench = Bench::start();
    let address = bench.serve(target("one", backend.address));
    let (mut wire, head) = open(address, "websocket");
    assert_eq!((head.status(), head.text()), (200, "Some(\"websocket\")"));
    assert_eq!(wire.get("/").text(), "None");
    // HTTP/2 inside a tunnel is not offered to the upstream.
    for offered in ["h2c", "H2C", "websocket, h2c", "x,h2c-14"] {
        assert_eq!(open(address, offered).1.text(), "None", "{offered}");
    }
}

#[test]
fn upgrade_that_nobody_asked_for_is_refused() {
    let backend = Backend::raw(|mut wire| {
        wire.read();
        wire.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    });
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("one", backend.address)));
    assert_eq!(wire.post("/", "x").status(), 502);
}
