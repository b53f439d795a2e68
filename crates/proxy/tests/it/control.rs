//! The control socket is for its owner and takes any nonsense.

use crate::support::{Bench, LIMIT, anywhere};
use alcedo_proxy::control::{Client, ClientError};
use alcedo_proxy::{Error, Options, Proxy};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

#[test]
fn socket_is_the_owners_alone_and_is_not_taken_from_a_living_proxy() {
    let bench = Bench::start();
    let path = bench.dir.path().join("control");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let second = Proxy::start(Options::new(bench.dir.path(), &path));
    assert!(matches!(second, Err(Error::Control { .. })));
    assert_eq!(bench.client().hello().pid, std::process::id());
}

#[test]
fn socket_of_a_dead_proxy_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("control")).unwrap());
    let bench = Bench::start_in(dir, |_| {});
    assert_eq!(bench.client().list(LIMIT).unwrap(), []);
}

#[test]
fn nonsense_is_refused_and_the_connection_goes_on() {
    let bench = Bench::start();
    let stream = UnixStream::connect(bench.dir.path().join("control")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut lines = BufReader::new(stream);
    for nonsense in ["", "{", "{\"verb\":\"fly\"}", "{\"verb\":\"hello\",\"version\":99}", "\u{0}"]
    {
        lines.get_mut().write_all(format!("{nonsense}\n").as_bytes()).unwrap();
        let mut reply = String::new();
        lines.read_line(&mut reply).unwrap();
        assert!(reply.starts_with("{\"failed\":{\"kind\":\"refused\""), "{nonsense}: {reply}");
    }
}

#[test]
fn absent_proxy_is_told_from_one_that_says_no() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(&dir.path().join("none"), LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
    let bench = Bench::start();
    let mut client = bench.client();
    assert!(matches!(client.forget("none", LIMIT), Err(ClientError::Failed(_))));
    // A refusal leaves the connection as it was.
    client.configure("web", anywhere(), LIMIT).unwrap();
}

#[test]
fn address_in_use_is_named_and_nothing_is_configured() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bench = Bench::start();
    let mut client = bench.client();
    let structure = alcedo_proxy::state::Structure { listen: vec![address.clone()], ..anywhere() };
    let error = client.configure("web", structure, LIMIT).unwrap_err();
    assert!(error.to_string().starts_with(&format!("listen on {address}: ")), "{error}");
    assert_eq!(client.list(LIMIT).unwrap(), []);
    assert_eq!(client.status(LIMIT).unwrap().listeners, []);
}
