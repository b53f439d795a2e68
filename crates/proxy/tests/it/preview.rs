//! A pass leads to a target without traffic, and nobody else there (S0-28).

use crate::support::{Backend, Bench, LIMIT, Message, Wire, target};
use std::net::SocketAddr;

const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz";

fn get(address: SocketAddr, path: &str, cookie: &str) -> Message {
    let head = format!("GET {path} HTTP/1.1\r\nHost: web.example\r\nCookie: {cookie}\r\n\r\n");
    Wire::connect(address).ask(head)
}

#[test]
fn link_becomes_a_cookie_and_the_cookie_leads_to_the_other_target() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    let mut client = bench.client();
    client.admit("web", target("b", backends[1].address), TOKEN, 60, LIMIT).unwrap();
    let link = get(address, &format!("/.alcedo/preview/{TOKEN}"), "x=y");
    assert_eq!((link.status(), link.header("location")), (303, Some("/")));
    let cookie = link.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("Max-Age="), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let answer = get(address, "/", &format!("x=y; {cookie}"));
    assert_eq!(answer.text(), "b");
    assert_eq!(answer.header("x-alcedo-release"), Some("b"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-robots-tag"), Some("noindex"));
    assert_eq!(get(address, "/", "x=y").text(), "a");
    assert_eq!(client.traffic("web", LIMIT).unwrap().len(), 1, "what is judged does not see it");
    client.end_passes("web", LIMIT).unwrap();
    assert_eq!(get(address, "/", cookie).text(), "a");
    assert_eq!(get(address, &format!("/.alcedo/preview/{TOKEN}"), "").status(), 404);
}

#[test]
fn wrong_token_is_not_found_and_a_weak_one_is_refused() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    assert_eq!(get(address, &format!("/.alcedo/preview/{TOKEN}"), "").status(), 404);
    assert_eq!(get(address, "/", &format!("alcedo_preview={TOKEN}")).text(), "a");
    let mut client = bench.client();
    let weak = client.admit("web", target("b", backends[1].address), "short", 60, LIMIT);
    assert!(weak.is_err());
    assert_eq!(backends[1].connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn switch_ends_every_pass() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let bench = Bench::start();
    let address = bench.serve(target("a", backends[0].address));
    let mut client = bench.client();
    client.admit("web", target("b", backends[1].address), TOKEN, 60, LIMIT).unwrap();
    client.switch("web", 1, "op", target("c", backends[0].address), LIMIT).unwrap();
    assert_eq!(get(address, "/", &format!("alcedo_preview={TOKEN}")).text(), "a");
}
