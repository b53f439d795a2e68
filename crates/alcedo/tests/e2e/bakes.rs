//! What the bake watches, from when on, and what ends it.

use crate::app::{App, SOON, says, served};
use std::io::{Read, Write};
use std::net::TcpStream;
use xtask::home::poll_until;

/// Settings of a release that is judged for long.
const LONG: &str = "bake.time = \"5m\"";

/// An app whose first release nobody judges any more.
fn accepted(settings: &str) -> (App, String) {
    let app = App::live_with("", settings);
    app.until_quiet();
    let (_, one) = app.active();
    (app, one)
}

/// A request that takes so long to answer.
fn slow(app: &App, ms: u64) -> TcpStream {
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET /work?ms={ms} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let arrived = || (app.status()["slots"]["blue"]["in_flight"] == 1).then_some(());
    poll_until(SOON, arrived).expect("the request is in flight");
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn release_that_dies_is_given_back_while_the_old_slot_still_drains() {
    let (app, one) = accepted("");
    let request = slow(&app, 12_000);
    app.write("two", "--exit-at 1", LONG);
    // Its first request ends it, again and again.
    let load = app.load();
    let run = app.alcedo(&["deploy", "--wait", "bake"]);
    says(&run, 3, &["1 request still in flight at blue", &format!("Live: blue {one}")]);
    drop(load);
    assert_eq!(app.status()["slots"]["blue"]["in_flight"], 1, "the old request still runs");
    assert!(rest(request).contains(&one), "it is answered whole");
}

#[test]
fn slot_is_not_stopped_while_it_answers_what_came_before_the_switch() {
    let settings = "bake.keep_warm = \"0s\"";
    let (app, one) = accepted(settings);
    let request = slow(&app, 3_000);
    app.write("two", "", settings);
    app.deploy();
    assert!(rest(request).contains(&one));
    poll_until(SOON, || (!app.has_process(&one)).then_some(())).expect("the old process ends");
}

#[test]
fn requests_of_alcedos_own_are_not_judged() {
    let (app, _) = accepted("");
    app.write("two", "", LONG);
    app.deploy();
    let status = app.until("a probe of the bake", |status| {
        status["deploy"]["bake"]["probes_good"].as_u64().is_some_and(|good| good > 0)
    });
    assert_eq!(status["deploy"]["bake"]["requests"], 0, "{status}");
}

#[test]
fn what_is_judged_is_given_up_for_no_release_that_could_not_start() {
    let (app, _) = accepted("");
    app.write("two", "", LONG);
    app.deploy();
    let (slot, two) = app.active();
    app.write("three", "", "");
    let text = std::fs::read_to_string(app.toml()).unwrap();
    let without_health = text.lines().filter(|line| !line.starts_with("health."));
    std::fs::write(app.toml(), without_health.collect::<Vec<_>>().join("\n")).unwrap();
    let run = app.alcedo(&["deploy", "--supersede"]);
    says(&run, 2, &["NOT zero-downtime because", "--accept health.none"]);
    let status = app.status();
    assert_eq!(status["deploy"]["release"], two.as_str(), "still judged: {status}");
    assert_eq!(app.active(), (slot, two));
}

#[test]
fn supersede_goes_back_to_stable_and_then_deploys() {
    let (app, one) = accepted("");
    let load = app.load();
    app.write("two", "", LONG);
    app.deploy();
    let (_, two) = app.active();
    app.write("three", "", "");
    says(&app.alcedo(&["deploy"]), 4, &["--supersede"]);
    let run = app.alcedo(&["deploy", "--supersede"]);
    says(&run, 0, &["Live: green"]);
    let (_, three) = app.active();
    served(load, &[&one, &two, &three]);
    let history = app.alcedo(&["history", "--json"]);
    let history: serde_json::Value = serde_json::from_str(&history.stdout).unwrap();
    let outcomes: Vec<_> = history["deploys"].as_array().unwrap().iter().take(2).collect();
    assert_eq!(
        (&outcomes[0]["outcome"], &outcomes[1]["outcome"]),
        (&"live".into(), &"rolled-back".into())
    );
}

#[test]
fn pinned_release_outlives_its_age() {
    let settings = "release.keep = 2\nbake.keep_warm = \"0s\"";
    let (app, one) = accepted(settings);
    says(&app.alcedo(&["releases", "pin", "active"]), 0, &[&one, "is kept until you unpin it"]);
    for version in ["two", "three", "four", "five"] {
        app.write(version, "", settings);
        app.deploy();
        app.until_quiet();
    }
    app.alcedo(&["prune"]);
    let kept = |app: &App| app.alcedo(&["releases"]).stdout;
    assert!(kept(&app).contains(&one), "{}", kept(&app));
    says(&app.alcedo(&["releases", "unpin", &one]), 0, &[&one]);
    says(&app.alcedo(&["releases", "unpin", &one]), 2, &["is not pinned"]);
    app.alcedo(&["prune"]);
    assert!(!kept(&app).contains(&one), "{}", kept(&app));
}

#[test]
fn smoke_checks_know_the_slots_address_and_requests_are_asked_in_public_too() {
    let smoke = "[[smoke]]\npath = \"/healthz\"\nexpect = { json = { \"/status\" = \"ok\" } }\n\
                 [[smoke]]\ncommand = \"printf '%s' {url} | grep -E '^http://127[.]0[.]0[.]1:[0-9]+$'\"";
    let (app, one) = accepted("");
    app.write("two", "", smoke);
    let run = app.alcedo(&["deploy"]);
    says(&run, 0, &["2 of 2 passed against green", "1 smoke check passed there"]);
    app.write("three", "", &smoke.replace("grep -E", "grep -v -E"));
    says(&app.alcedo(&["deploy"]), 1, &["the smoke check", "failed"]);
    assert_ne!(app.active().1, one);
}
