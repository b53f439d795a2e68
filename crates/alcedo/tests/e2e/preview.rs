//! The slot without traffic, for whoever has the link, and for nobody else (S0-28).

use crate::app::{App, SOON, says, words};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use xtask::home::poll_until;
use xtask::nginx::Nginx;

/// The status, the headers and the body of `GET PATH`.
fn get(address: SocketAddr, path: &str, cookie: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The second release is staged beside the first one, which is live.
fn stage(app: &App, settings: &str) -> (String, String) {
    app.until_quiet();
    let (_, one) = app.active();
    app.write("two", "", settings);
    says(&app.alcedo(&["deploy", "--stage"]), 75, &["alcedo preview"]);
    let two = app.status()["slots"]["green"]["release"].as_str().unwrap().to_owned();
    (one, two)
}

#[test]
fn link_leads_to_the_staged_release_until_it_is_ended() {
    let app = App::live();
    link_is_for_whoever_has_it(&app, "");
}

#[test]
fn link_works_behind_nginx_by_a_flag_without_a_reload() {
    let nginx = Nginx::start().unwrap();
    let app = App::behind(&nginx);
    let settings = "router.kind = \"nginx\"";
    app.write("one", "", settings);
    app.deploy();
    link_is_for_whoever_has_it(&app, settings);
    // One for the structure, before anything else.
    assert_eq!(nginx.errors().matches("(SIGHUP) received").count(), 1, "{}", nginx.errors());
}

fn link_is_for_whoever_has_it(app: &App, settings: &str) {
    let (one, two) = stage(app, settings);
    let run = app.alcedo(&["preview", "--json"]);
    let preview: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", words(&run)));
    assert_eq!((&preview["slot"], &preview["release"]), (&"green".into(), &two.as_str().into()));
    assert!(preview["expires_at"].is_string(), "{preview}");
    let url = preview["url"].as_str().unwrap();
    let path = &url[url.find("/.alcedo").unwrap()..];
    let link = get(app.address, path, "").to_ascii_lowercase();
    assert!(link.starts_with("http/1.1 303") && link.contains("location: /\r\n"), "{link}");
    let cookie = link.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let seen = get(app.address, "/", cookie).to_ascii_lowercase();
    assert!(seen.contains(&two) && seen.contains("no-store") && seen.contains("noindex"), "{seen}");
    let others = get(app.address, "/", "a=b; alcedo_preview=0123456789abcdef").to_ascii_lowercase();
    assert!(others.contains(&one) && !others.contains("noindex"), "nobody else: {others}");
    says(&app.alcedo(&["preview", "--off"]), 0, &["No link is good any more"]);
    assert!(get(app.address, "/", cookie).contains(&one));
    assert!(get(app.address, path, "").starts_with("HTTP/1.1 404"));
    says(
        &app.alcedo(&["preview"]),
        0,
        &["only for browsers that open this link", "/.alcedo/preview/"],
    );
    says(&app.alcedo(&["promote"]), 0, &["Live: green"]);
}

#[test]
fn tunnel_leads_to_the_staged_release_from_here_and_from_another_machine() {
    let app = App::live();
    let (_, two) = stage(&app, "");
    let home = app.home.path().display();
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_alcedo")).parent().unwrap().display();
    // As another machine is reached: a program whose stdin and stdout are those of `alcedo host` there.
    let far = format!("exec:env ALCEDO_HOME={home} PATH={path}:/usr/bin:/bin");
    for host in ["local", far.as_str()] {
        let out = app.home.path().join("tunnel.out");
        let arguments = ["preview", "--tunnel", "-a", "web", "--host", host];
        let mut command = app.home.command(&app.dir, &arguments);
        let mut tunnel = command.stdout(std::fs::File::create(&out).unwrap()).spawn().unwrap();
        let address: SocketAddr = poll_until(SOON, || {
            let text = std::fs::read_to_string(&out).ok()?;
            text.trim().strip_prefix("http://")?.parse().ok()
        })
        .expect("an address");
        for _ in 0..3 {
            assert!(get(address, "/", "").contains(&two), "by {host}");
        }
        let pid = rustix::process::Pid::from_child(&tunnel);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(tunnel.wait().unwrap().success());
    }
}
