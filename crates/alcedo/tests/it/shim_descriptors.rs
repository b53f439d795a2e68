//! Descriptors that outlive their owner: a listening socket given to the shim comes back with the next start.

use crate::bench::{Bench, kill, pid, wait};
use serde_json::json;
use std::env;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Tells the program below that it is one.
const ROLE: &str = "ALCEDO_TEST_SERVER";

/// Not a test but the program that the tests run: answers every connection with its pid.
#[test]
fn server_program() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let mut given = listenfd::ListenFd::from_env();
    let listener = match given.take_tcp_listener(0).unwrap() {
        Some(listener) => listener,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            store(&listener);
            listener
        }
    };
    println!("port {}", listener.local_addr().unwrap().port());
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = writeln!(stream, "{}", std::process::id());
    }
}

fn store(listener: &TcpListener) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(env::var_os("NOTIFY_SOCKET").unwrap()).unwrap();
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(b"FDSTORE=1\nFDNAME=main\nREADY=1\n")];
    rustix::net::sendmsg(&socket, &text, &mut control, rustix::net::SendFlags::empty()).unwrap();
}

fn bench() -> Bench {
    let me = env::current_exe().unwrap();
    let argv = [me.to_str().unwrap(), "--exact", "shim_descriptors::server_program", "--nocapture"];
    let mut bench = Bench::new(&argv).with("kind", "supervised").with(
        "restart",
        json!({"first_ms": 0, "max_ms": 2_000, "stable_ms": 10_000,
               "give_up_exits": null, "give_up_within_ms": 0}),
    );
    bench.spec["env"][ROLE] = json!("yes");
    bench
}

fn answer(port: u16) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.trim().parse().map_err(std::io::Error::other)
}

fn port(bench: &Bench) -> u16 {
    bench.state_when("ready", |state| state["ready"] == true);
    // libtest writes "test NAME ... " before what the program writes.
    let mut found = None;
    wait("the port", || {
        let text = bench.log_text();
        let line = text.lines().find_map(|l| l.split_once("port "));
        found = line.and_then(|(_, port)| port.parse().ok());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn connections_wait_while_a_killed_server_comes_back_with_its_socket() {
    let bench = bench();
    let first = pid(&bench.launch()["state"]["child"]["pid"]);
    let port = port(&bench);
    assert_eq!(answer(port).unwrap(), first);
    let mut last = first;
    for _ in 0..10 {
        kill("-9", last);
        // At any moment after the kill: never refused. One that the dead server had already accepted is cut.
        let now = loop {
            match answer(port) {
                Ok(pid) => break pid,
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
                }
            }
        };
        if now != last {
            last = now;
        }
        last = pid(&bench.state_when("running", |s| {
            s["phase"] == "running" && s["child"]["pid"] != json!(last) || now == last
        })["child"]["pid"]);
    }
    assert_ne!(last, first);
}

#[test]
fn restart_keeps_the_socket_and_takes_the_new_spec() {
    let mut bench = bench();
    let first = pid(&bench.launch()["state"]["child"]["pid"]);
    let port = port(&bench);
    bench.spec["env"]["NEW"] = json!("yes");
    std::fs::write(bench.dir.join("spec.json"), bench.spec.to_string()).unwrap();
    let reply = bench.ask("restart");
    let second = pid(&reply["state"]["child"]["pid"]);
    assert_ne!(first, second);
    assert_eq!(reply["state"]["restarts"], 0);
    assert_eq!(answer(port).unwrap(), second);
    let environ = std::fs::read(format!("/proc/{second}/environ")).unwrap();
    assert!(environ.split(|b| *b == 0).any(|entry| entry == b"NEW=yes"));
}

#[test]
fn a_supervised_program_that_always_fails_is_tried_for_ever() {
    let bench = Bench::shell("exit 1").with("kind", "supervised").with(
        "restart",
        json!({"first_ms": 0, "max_ms": 20, "stable_ms": 10_000,
               "give_up_exits": null, "give_up_within_ms": 0}),
    );
    bench.launch();
    bench.state_when("many restarts", |state| state["restarts"].as_u64() > Some(20));
    assert_eq!(bench.ask("stop")["state"]["phase"], "stopped");
}
