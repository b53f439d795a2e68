//! Commands that go away, and two at the same time: nothing on the client changes what is live.

use crate::app::{App, SOON, says, served};
use rustix::process::Signal;
use xtask::home::poll_until;

#[test]
fn second_deploy_at_the_same_time_is_told_who_has_the_lock() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "--late-ms 3000", "");
    let first = app.home.start(&app.dir, &["deploy"]).unwrap();
    app.until("a deploy under way", |status| !status["deploy"].is_null());
    let second = app.alcedo(&["deploy"]);
    says(&second, 4, &["--wait-lock"]);
    let first = app.home.wait(first).unwrap();
    says(&first, 0, &["Live:"]);
    let (_, two) = app.active();
    served(load, &[&one, &two]);
}

#[test]
fn ctrl_c_before_the_switch_gives_the_deploy_up() {
    let app = App::live();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "--never-listen", "health.deadline = \"60s\"");
    let deploy = app.home.start(&app.dir, &["deploy"]).unwrap();
    poll_until(SOON, || app.has_process("--never-listen").then_some(()))
        .expect("the new release starts");
    deploy.signal(Signal::INT).unwrap();
    let run = app.home.wait(deploy).unwrap();
    says(&run, 130, &[&format!("Live: {slot} {one}")]);
    app.until_quiet();
    poll_until(SOON, || (!app.has_process("--never-listen")).then_some(()))
        .expect("the new release is stopped");
    assert_eq!(app.active(), (slot, one.clone()));
    served(load, &[&one]);
}

#[test]
fn ctrl_c_after_the_switch_stops_only_the_watching() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", "bake.time = \"4s\"");
    let deploy = app.home.start(&app.dir, &["deploy", "--wait", "bake"]).unwrap();
    let judged = app.until("the bake", |status| status["deploy"]["phase"] == "bake");
    deploy.signal(Signal::INT).unwrap();
    let run = app.home.wait(deploy).unwrap();
    says(&run, 130, &["Live:"]);
    app.until_quiet();
    let (slot, two) = app.active();
    assert_eq!(judged["active"], slot.as_str());
    served(load, &[&one, &two]);
}

#[test]
fn killed_command_does_not_stop_its_deploy() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "--late-ms 2000", "");
    let deploy = app.home.start(&app.dir, &["deploy"]).unwrap();
    poll_until(SOON, || app.has_process("--late-ms").then_some(()))
        .expect("the new release starts");
    deploy.signal(Signal::KILL).unwrap();
    app.home.wait(deploy).unwrap();
    app.until("the new release live", |status| {
        let slot = status["active"].as_str().unwrap_or_default();
        status["slots"][slot]["release"] != one.as_str()
    });
    let (_, two) = app.active();
    served(load, &[&one, &two]);
}

#[test]
fn staged_release_gets_traffic_only_when_promoted() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", "");
    says(&app.alcedo(&["deploy", "--stage"]), 75, &["alcedo promote"]);
    assert_eq!(app.active().1, one);
    says(&app.alcedo(&["promote"]), 0, &["Live:"]);
    let (_, two) = app.active();
    assert_ne!(one, two);
    app.until_quiet();
    app.write("three", "", "");
    says(&app.alcedo(&["deploy", "--stage"]), 75, &[]);
    says(&app.alcedo(&["abort"]), 0, &["Live:", &two]);
    served(load, &[&one, &two]);
}

#[test]
fn broken_configuration_is_shown_with_file_and_line() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    let text = std::fs::read_to_string(app.toml()).unwrap() + "release.prepar = \"make\"\n";
    std::fs::write(app.toml(), text).unwrap();
    says(
        &app.alcedo(&["deploy"]),
        2,
        &["alcedo.toml:", "release.prepar", "nearest known key: `prepare`"],
    );
    served(load, &[&one]);
}
