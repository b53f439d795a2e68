//! The apps of `examples/`, each deployed twice and rolled back under load.

use crate::app::{App, served, words};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::load::Dialect;

#[test]
fn fastapi_on_gunicorn_is_deployed_twice_and_rolled_back() {
    if let Some(app) = example("fastapi", &["python3-venv"]) {
        twice_and_back(&app, "main.py");
    }
}

#[test]
fn go_server_is_deployed_twice_and_rolled_back() {
    if let Some(app) = example("go", &["go"]) {
        twice_and_back(&app, "main.go");
    }
}

#[test]
fn php_is_deployed_twice_and_rolled_back_and_its_uploads_are_shared() {
    let Some(app) = example("php", &["php"]) else { return };
    twice_and_back(&app, "public/index.php");
    let answer =
        ask(&app, "GET /uploads/welcome.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("Shipped once"), "{answer}");
}

#[test]
fn node_is_deployed_twice_and_rolled_back_while_a_websocket_and_a_stream_stay_open() {
    let Some(app) = example("node", &["node"]) else { return };
    deploy(&app);
    let (_, one) = app.active();
    let mut socket = WebSocket::open(&app);
    let mut stream = open(&app, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(socket.echo("before").contains(&one));
    let load = app.load_of(Dialect::Example);
    change(&app, "server.js");
    deploy(&app);
    let (_, two) = app.active();
    // Open connections stay with the release that they began with; new ones get the new release.
    assert!(socket.echo("after").contains(&one));
    assert!(WebSocket::open(&app).echo("new").contains(&two));
    assert!(read_some(&mut stream).contains(&one));
    roll_back(&app, &one);
    served(load, &[&one, &two]);
}

#[test]
fn file_that_init_writes_deploys_the_go_server_and_the_node_app() {
    for (name, program) in [("go", "go"), ("node", "node")] {
        let Some(app) = example(name, &[program]) else { continue };
        let file = app.dir.join("alcedo.toml");
        std::fs::remove_file(&file).unwrap();
        let run = app.alcedo(&["init", "-a", &app.name]);
        assert_eq!(run.code, Some(0), "{}", words(&run));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{}", own(&app))).unwrap();
        deploy(&app);
        let (_, one) = app.active();
        served(app.load_of(Dialect::Example), &[&one]);
    }
}

/// A copy of the example with a port of its own, if what it wants is on the machine.
fn example(name: &str, wants: &[&str]) -> Option<App> {
    if let Some(missing) = wants.iter().find(|program| !xtask::packages::is_there(program)) {
        xtask::skipped(&format!("no {missing}: examples/{name}"));
        return None;
    }
    let mut app = App::new();
    app.dir = app.home.path().join(name);
    let from = xtask::repository().join("examples").join(name);
    copy(&from, &app.dir);
    let file = app.dir.join("alcedo.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    app.name = text
        .lines()
        .find_map(|line| Some(line.strip_prefix("app ")?.split('"').nth(1)?.to_owned()))
        .unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("router.listen"));
    let text = lines.collect::<Vec<_>>().join("\n");
    std::fs::write(file, format!("{text}\n{}", own(&app))).unwrap();
    Some(app)
}

/// What each home needs for itself.
fn own(app: &App) -> String {
    format!("router.listen = [\"{}\"]\nbake.time = \"0s\"\n{}\n", app.address, app.ports())
}

fn twice_and_back(app: &App, source: &str) {
    deploy(app);
    let (_, one) = app.active();
    let load = app.load_of(Dialect::Example);
    change(app, source);
    deploy(app);
    let (_, two) = app.active();
    assert_ne!(one, two);
    roll_back(app, &one);
    served(load, &[&one, &two]);
}

fn deploy(app: &App) {
    let run = app.alcedo(&["deploy"]);
    assert_eq!(run.code, Some(0), "{}", words(&run));
}

fn roll_back(app: &App, to: &str) {
    let run = app.alcedo(&["rollback"]);
    assert_eq!(run.code, Some(0), "{}", words(&run));
    assert_eq!(app.active().1, to);
}

/// As an edit does: the next release has other content.
fn change(app: &App, source: &str) {
    let file = app.dir.join(source);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.replace("hello", "hello again")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "copy {}", from.display());
    for made in ["dist", "venv", "node_modules"] {
        std::fs::remove_dir_all(to.join(made)).ok();
    }
}

fn open(app: &App, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn ask(app: &App, request: &str) -> String {
    let mut answer = String::new();
    open(app, request).read_to_string(&mut answer).unwrap();
    answer
}

fn read_some(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 64 << 10];
    let read = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// A WebSocket client as far as an echo needs one: short, unfragmented text frames (RFC 6455 §5.2).
struct WebSocket(TcpStream);

impl WebSocket {
    fn open(app: &App) -> Self {
        let request = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut stream = open(app, request);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.contains("101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    fn echo(&mut self, text: &str) -> String {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).unwrap();
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x81, "a text frame");
        let mut payload = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut payload).unwrap();
        let answer = String::from_utf8(payload).unwrap();
        assert!(answer.ends_with(text), "{answer}");
        answer
    }
}
