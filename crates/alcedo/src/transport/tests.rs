use super::*;
use crate::adapters::clock;
use crate::api::{Accepted, ErrorBody, Failed, Hello, Line};
use alcedo_core::event::{Event, Outcome, Record};
use alcedo_core::names::DeployId;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A daemon of one socket: `answer` gets method and path and the connection to write to.
fn serve(
    socket: &Path,
    answer: impl Fn(&str, &str, &mut UnixStream) -> bool + Send + Sync + 'static,
) {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), answer) = (stream, answer.clone()) else { return };
            thread::spawn(move || while one_request(&stream, answer.as_ref()).unwrap_or(false) {});
        }
    });
}

fn one_request(
    stream: &UnixStream,
    answer: &dyn Fn(&str, &str, &mut UnixStream) -> bool,
) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(false);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut stream = stream.try_clone()?;
    if path == "/v1/hello" {
        json(&mut stream, 200, &hello(crate::api::API_VERSION));
        return Ok(true);
    }
    Ok(answer(&method, &path, &mut stream))
}

fn hello(api: u32) -> Hello {
    Hello { api, alcedo: "0.1.0".to_owned(), pid: 1, host: "here".to_owned(), machine: None }
}

fn json(stream: &mut UnixStream, status: u16, value: &impl serde::Serialize) {
    let body = serde_json::to_string(value).unwrap();
    let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

fn chunk(stream: &mut UnixStream, line: &Line) {
    let text = serde_json::to_string(line).unwrap() + "\n";
    let _ = write!(stream, "{:x}\r\n{text}\r\n", text.len());
}

fn record(seq: u64, event: Event) -> Line {
    Line::Record(Box::new(Record {
        seq,
        at: "2026-11-20T19:14:05Z".to_owned(),
        at_ms: seq,
        deploy: Some(DeployId(7)),
        event,
    }))
}

fn door(socket: &Path, revive: super::door::Revive) -> Door {
    Door::Socket { path: socket.to_owned(), revive }
}

fn client(socket: &Path) -> Client {
    Client::new(door(socket, Box::new(|| Ok(())))).unwrap().with_patience(Duration::from_secs(20))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    (dir, socket)
}

fn accepted() -> Accepted {
    Accepted { deploy: Some("d7".to_owned()), since: 3, text: None }
}

#[test]
fn a_missing_daemon_is_started_and_then_asked() {
    let (_dir, socket) = place();
    let at = socket.clone();
    let started = AtomicU32::new(0);
    let revive = Box::new(move || {
        if started.fetch_add(1, Ordering::SeqCst) == 0 {
            serve(&at, |_, _, stream| {
                json(stream, 200, &accepted());
                true
            });
        }
        Ok(())
    });
    let local = Client::new(door(&socket, revive)).unwrap();
    let answer: Accepted = local.post("/v1/apps/shop/promote", &()).unwrap();
    assert_eq!(answer, accepted());
    assert_eq!(local.hello().unwrap().host, "here");
}

#[test]
fn a_refusal_carries_code_hint_and_exit() {
    let (_dir, socket) = place();
    let failed = Failed {
        code: "locked".to_owned(),
        message: "Locked by ana".to_owned(),
        file: None,
        line: None,
        hint: None,
        exit: 4,
    };
    let body = ErrorBody { error: failed.clone() };
    serve(&socket, move |_, _, stream| {
        json(stream, 409, &body);
        true
    });
    match client(&socket).get::<Accepted>("/v1/apps/shop/x") {
        Err(CallError::Refused(seen)) => assert_eq!(seen, failed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_repeated_when_the_daemon_dies_over_it() {
    let (_dir, socket) = place();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    serve(&socket, move |_, _, stream| {
        if seen.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return false;
        }
        json(stream, 200, &accepted());
        true
    });
    let answer: Accepted = client(&socket).post("/v1/apps/shop/deploy", &()).unwrap();
    assert_eq!(answer, accepted());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn nobody_there_is_said_within_the_limit_and_with_the_reason() {
    let (_dir, socket) = place();
    let revive = Box::new(|| Err("the shim did not start".to_owned()));
    let local =
        Client::new(door(&socket, revive)).unwrap().with_patience(Duration::from_millis(200));
    let begun = clock::now();
    let error = local.get::<Accepted>("/v1/status").unwrap_err();
    assert!(error.to_string().ends_with("the shim did not start"), "{error}");
    assert!(clock::now().since(begun) < Duration::from_secs(5));
}

#[test]
fn another_version_is_refused_by_name() {
    let (_dir, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        json(&mut stream, 200, &hello(99));
    });
    let error = client(&socket).get::<Accepted>("/v1/status").unwrap_err();
    assert!(matches!(error, CallError::Version { api: 99, .. }), "{error}");
}

#[test]
fn following_goes_on_where_it_was_when_the_daemon_comes_back() {
    let (_dir, socket) = place();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let paths = asked.clone();
    serve(&socket, move |_, path, stream| {
        let mut paths = paths.lock().unwrap();
        paths.push(path.to_owned());
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        if paths.len() == 1 {
            chunk(stream, &record(4, Event::Recovered));
            chunk(stream, &Line::Progress("half".to_owned()));
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return false;
        }
        chunk(stream, &record(4, Event::Recovered));
        chunk(stream, &Line::Alive);
        chunk(stream, &record(5, Event::Ended { outcome: Outcome::Live, reason: None }));
        let _ = write!(stream, "0\r\n\r\n");
        true
    });
    let local = client(&socket);
    let mut follow = Follow::new(&local, "shop", DeployId(7));
    let deadline = clock::now().after(Duration::from_secs(20));
    let mut heard = Vec::new();
    while clock::now() < deadline {
        match follow.next(Duration::from_millis(50)).unwrap() {
            Heard::Record(record) => heard.push(format!("record {}", record.seq)),
            Heard::Progress(text) => heard.push(text),
            Heard::Lost(_) => heard.push("lost".to_owned()),
            Heard::Back => heard.push("back".to_owned()),
            Heard::Quiet => {}
            Heard::Over => break,
        }
    }
    assert_eq!(heard, ["record 4", "half", "lost", "back", "record 5"]);
    let asked = asked.lock().unwrap();
    assert!(asked[0].ends_with("deploy=7&since=0&follow=true"), "{asked:?}");
    assert!(asked[1].ends_with("deploy=7&since=4&follow=true"), "{asked:?}");
}

#[test]
fn following_gives_up_when_the_daemon_stays_away() {
    let (_dir, socket) = place();
    serve(&socket, |_, _, stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        chunk(stream, &Line::Alive);
        false
    });
    let local = Client::new(door(&socket, Box::new(|| Ok(()))))
        .unwrap()
        .with_patience(Duration::from_millis(300));
    let mut follow = Follow::new(&local, "shop", DeployId(7));
    let deadline = clock::now().after(Duration::from_secs(20));
    let mut gone = false;
    loop {
        assert!(clock::now() < deadline, "it never gave up");
        match follow.next(Duration::from_millis(20)) {
            Ok(Heard::Quiet) if !gone => {
                std::fs::remove_file(&socket).unwrap();
                gone = true;
            }
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, CallError::Unreached { .. }), "{error}");
                return;
            }
        }
    }
}
