//! What goes wrong once a release has the traffic, and how the old one ends.

use crate::app::{App, SOON, says, served, words};
use xtask::home::poll_until;

#[test]
fn release_that_exits_after_the_switch_is_given_back() {
    let app = App::live_with("", "bake.time = \"30s\"\nbake.max_failed_requests = 20");
    app.alcedo(&["promote", "--now"]);
    app.until_quiet();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "--exit-at 40", "bake.time = \"30s\"\nbake.max_failed_requests = 20");
    let run = app.alcedo(&["deploy", "--wait", "bake"]);
    says(&run, 3, &["undo", &format!("Live: {slot} {one}")]);
    assert_eq!(app.active(), (slot, one.clone()));
    drop(load);
    served(app.load(), &[&one]);
}

#[test]
fn release_that_answers_errors_is_given_back_and_marked_bad() {
    let app = App::live_with("", "bake.time = \"30s\"\nbake.max_error_rate = 0.05");
    app.alcedo(&["promote", "--now"]);
    app.until_quiet();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "--fail-every 3", "bake.time = \"30s\"\nbake.max_error_rate = 0.05");
    let run = app.alcedo(&["deploy", "--wait", "bake"]);
    says(&run, 3, &["bad", &format!("Live: {slot} {one}")]);
    let tally = load.stop().unwrap();
    assert!(tally.losses.keys().all(|kind| kind == "status 500"), "{}", tally.losses_in_words());
    served(app.load(), &[&one]);
    let again = app.alcedo(&["deploy"]);
    assert_ne!(
        again.code,
        Some(0),
        "the same content again wants --retry: {}",
        crate::app::words(&again)
    );
    assert!(format!("{}{}", again.stdout, again.stderr).contains("--retry"));
}

#[test]
fn old_release_that_ignores_term_is_killed_after_its_limit() {
    let app =
        App::live_with("--ignore-term", "web.stop = { timeout = \"1s\" }\nbake.keep_warm = \"0s\"");
    let (_, one) = app.active();
    assert!(app.has_process(&one));
    let load = app.load();
    app.write("two", "", "bake.keep_warm = \"0s\"");
    app.deploy();
    let (_, two) = app.active();
    poll_until(SOON, || (!app.has_process(&one)).then_some(())).expect("the old process ends");
    served(load, &[&one, &two]);
}

#[test]
fn app_that_floods_its_log_fills_no_disk_and_is_replaced() {
    let app = App::live_with("--flood", "");
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", "");
    app.deploy();
    let (_, two) = app.active();
    let bytes = bytes_under(app.home.path());
    assert!(bytes < 120 << 20, "{bytes} bytes after a flood of output");
    served(load, &[&one, &two]);
}

#[test]
fn rollback_is_a_flip_to_the_same_process() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", "");
    app.deploy();
    let (_, two) = app.active();
    let run = app.alcedo(&["rollback"]);
    says(&run, 0, &["switch", &one]);
    assert_eq!(app.active().1, one);
    says(&app.alcedo(&["rollback"]), 2, &[]);
    assert_eq!(app.active().1, one);
    served(load, &[&one, &two]);
}

#[test]
fn rollback_to_what_is_not_kept_or_live_already_ends_no_bake() {
    let app = App::live();
    app.write("two", "", "bake.time = \"10m\"");
    app.deploy();
    let (slot, two) = app.active();
    for name in ["zzzz", "20", "active", two.as_str()] {
        let run = app.alcedo(&["rollback", name]);
        assert_eq!(run.code, Some(2), "{name}: {}", words(&run));
        let status = app.status();
        assert_eq!(status["deploy"]["phase"], "bake", "{name}: {status}");
        assert_eq!(app.active(), (slot.clone(), two.clone()), "{name}");
    }
    says(&app.alcedo(&["rollback", "stable"]), 0, &["switch"]);
    assert_ne!(app.active().1, two);
}

#[test]
fn release_that_is_live_again_is_not_bad() {
    let app = App::live();
    let (_, one) = app.active();
    says(&app.alcedo(&["deploy", "active", "--wait-lock", "1m"]), 0, &[]);
    app.until_quiet();
    app.write("one", "", "bake.time = \"10m\"");
    app.alcedo(&["deploy", "active"]);
    says(&app.alcedo(&["abort"]), 0, &[]);
    app.until_quiet();
    assert_eq!(app.active().1, one);
    let run = app.alcedo(&["releases", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let release = all["releases"].as_array().unwrap().iter().find(|r| r["release"] == one.as_str());
    assert_eq!(release.unwrap()["bad"], false, "{all}");
}

fn bytes_under(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_under(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |meta| meta.len()),
        Ok(_) | Err(_) => 0,
    };
    entries.map(size).sum()
}
