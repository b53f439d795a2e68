use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

const LONG: Duration = Duration::from_secs(20);

fn call<'a>(cancel: &'a Cancel, limit: Duration) -> Call<'a> {
    Call { deadline: clock::now().after(limit), cancel, progress: &|_| {} }
}

fn request(address: Address) -> Get {
    Get {
        address,
        path: "/healthz?full=1".into(),
        host: "shop.example".into(),
        headers: [("x-check".to_owned(), "1".to_owned())].into(),
        timeout: LONG,
        root: None,
    }
}

/// Answers one connection with these bytes and gives what it was asked.
fn serve(answer: Vec<u8>) -> (Address, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        converse(stream, &answer)
    });
    (address, server)
}

fn converse(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut asked = Vec::new();
    let mut byte = [0; 1];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        asked.extend(byte);
    }
    // Who asked may have heard enough before all is written.
    let _ = stream.write_all(answer);
    String::from_utf8(asked).unwrap()
}

fn ask(address: Address) -> Result<Answer, String> {
    HttpProbe.get(&request(address), &call(&Cancel::default(), LONG))
}

#[test]
fn an_answer_comes_with_status_headers_and_body() {
    let (address, server) =
        serve(b"HTTP/1.1 503 Busy\r\nX-Release: r1\r\nContent-Length: 5\r\n\r\nhello".to_vec());
    let answer = ask(address).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (503, b"hello".as_slice()));
    assert_eq!(answer.headers["x-release"], "r1");
    let asked = server.join().unwrap().to_lowercase();
    assert!(asked.starts_with("get /healthz?full=1 http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("host: shop.example\r\n") && asked.contains("x-check: 1\r\n"),
        "{asked}"
    );
}

#[test]
fn a_chunked_answer_and_one_that_ends_with_its_connection_are_read() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(ask(serve(chunked.into()).0).unwrap().body, b"abcde");
    assert_eq!(
        ask(serve(b"HTTP/1.0 200 OK\r\n\r\nto the end".to_vec()).0).unwrap().body,
        b"to the end"
    );
}

#[test]
fn a_redirect_is_an_answer_and_a_huge_body_is_cut() {
    let (address, _) = serve(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            .to_vec(),
    );
    let answer = ask(address).unwrap();
    assert_eq!((answer.status, answer.headers["location"].as_str()), (302, "http://127.0.0.1:1/"));
    let mut huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
    huge.resize(huge.len() + 100_000, b'x');
    assert_eq!(ask(serve(huge).0).unwrap().body.len(), BODY_BYTES_MAX);
}

#[test]
fn what_goes_wrong_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(ask(Address::Tcp(free)).unwrap_err(), "connection refused");
    assert_eq!(ask(Address::Unix("/nowhere/web.sock".into())).unwrap_err(), "no socket there");
    let silent = ask(serve(Vec::new()).0).unwrap_err();
    assert_eq!(silent, "closed the connection without a whole answer");
    let other = ask(serve(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).0).unwrap_err();
    assert!(other.starts_with("does not speak HTTP"), "{other}");
}

#[test]
fn a_server_that_never_answers_costs_its_timeout_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let slow = Get { timeout: Duration::from_millis(200), ..request(address.clone()) };
    let error = HttpProbe.get(&slow, &call(&Cancel::default(), LONG)).unwrap_err();
    assert_eq!(error, "no answer within 0.2 s");
    let cancel = Cancel::default();
    cancel.cancel();
    let error = HttpProbe.get(&request(address), &call(&cancel, LONG)).unwrap_err();
    assert_eq!(error, "cancelled");
}

#[test]
fn a_command_runs_in_the_release_with_its_environment_and_its_last_words_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let binding = Binding {
        id: alcedo_core::BindingId::new(alcedo_core::DeployId(1), alcedo_core::Slot::Blue),
        app: alcedo_core::AppName::new("shop").unwrap(),
        environment: "production".into(),
        slot: alcedo_core::Slot::Blue,
        runner: alcedo_core::config::Runner::Process,
        release: alcedo_core::ReleaseId::new("r20261120-191405-4be1c07").unwrap(),
        instance: dir.path().to_owned(),
        processes: vec![],
        smoke: vec![],
        warmup: None,
    };
    let cancel = Cancel::default();
    let run = |command| HttpProbe.command(command, &binding, &call(&cancel, LONG));
    run("touch here").unwrap();
    assert!(dir.path().join("here").exists());
    assert_eq!(
        run("echo checked; echo broken >&2; exit 4").unwrap_err(),
        "exit status 4\nchecked\nbroken"
    );
    assert_eq!(run("false; true").unwrap_err(), "exit status 1");
    let short = call(&cancel, Duration::from_millis(200));
    let error = HttpProbe.command("sleep 1001", &binding, &short).unwrap_err();
    assert!(error.starts_with("finish `sh` within its time limit"), "{error}");
}

#[test]
fn unix_sockets_are_asked_and_their_listener_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let address = Address::Unix(path);
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        converse(stream, b"HTTP/1.1 204 No Content\r\n\r\n");
        listener
    });
    assert_eq!(ask(address.clone()).unwrap().status, 204);
    let _listener = server.join().unwrap();
    HttpProbe.connect(&address, &call(&Cancel::default(), LONG)).unwrap();
    let found = HttpProbe.listeners(&address).unwrap();
    assert_eq!(found[0].pid, Some(std::process::id()));
}

#[test]
fn a_listener_is_named_with_its_process_also_when_it_listens_on_every_address() {
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = own.local_addr().unwrap();
    let found = HttpProbe.listeners(&Address::Tcp(wanted)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].pid, Some(std::process::id()));
    assert_eq!(found[0].exe, std::env::current_exe().ok());
    assert_eq!(found[0].cwd, std::env::current_dir().ok());
    assert!(!found[0].public && !found[0].command.is_empty());
    drop(own);
    assert!(HttpProbe.listeners(&Address::Tcp(wanted)).unwrap().is_empty());

    // Nobody connects to it: it is only there to be seen.
    let everywhere =
        TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let found = HttpProbe.listeners(&Address::Tcp(([127, 0, 0, 1], port).into())).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].public);
}
