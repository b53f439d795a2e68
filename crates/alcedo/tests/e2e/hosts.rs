//! What `check`, `plan`, `history`, `releases` and `logs` say about an app that runs.

use crate::app::{App, SOON, says, served, words};
use xtask::home::poll_until;

#[test]
fn reading_verbs_answer_and_change_nothing() {
    let app = App::live();
    let before = app.active();
    let load = app.load();
    app.write("two", "", "");
    for verb in [
        &["check"][..],
        &["plan"],
        &["history"],
        &["releases"],
        &["logs", "-n", "5"],
        &["config"],
        &["schema"],
    ] {
        let run = app.alcedo(verb);
        assert_eq!(run.code, Some(0), "{verb:?}: {}", words(&run));
        assert!(!run.stdout.trim().is_empty(), "{verb:?} says nothing: {}", words(&run));
    }
    for verb in [
        &["check", "--json"][..],
        &["plan", "--json"],
        &["history", "--json"],
        &["releases", "--json"],
    ] {
        let run = app.alcedo(verb);
        let value: Result<serde_json::Value, _> = serde_json::from_str(&run.stdout);
        assert!(value.is_ok(), "{verb:?}: {}", words(&run));
    }
    assert_eq!(app.active(), before);
    served(load, &[&before.1]);
}

#[test]
fn verbs_with_nothing_to_do_say_so() {
    let app = App::live();
    app.until_quiet();
    says(&app.alcedo(&["abort"]), 2, &[]);
    says(&app.alcedo(&["promote"]), 2, &[]);
    says(&app.alcedo(&["preview"]), 2, &["runs nothing", "alcedo deploy --stage"]);
}

#[test]
fn json_of_a_deploy_ends_with_its_outcome() {
    let app = App::live();
    app.write("two", "", "");
    let run = app.alcedo(&["deploy", "--json"]);
    assert_eq!(run.code, Some(0), "{}", words(&run));
    let last: serde_json::Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["outcome"], &last["exit"]),
        (&"ended".into(), &"live".into(), &0.into())
    );
    assert_eq!(last["release"], app.active().1.as_str());
}

#[test]
fn a_wrong_name_after_a_touches_no_app_and_every_refusal_says_what_is_live() {
    let app = App::live();
    app.write("two", "", "");
    app.deploy();
    app.until_quiet();
    let (slot, two) = app.active();
    let live = format!("Live: {slot} {two}, unchanged");
    says(&app.alcedo(&["rollback", "-a", "Nope_x"]), 2, &["Nothing was done."]);
    assert_eq!(app.active().1, two);
    says(&app.alcedo(&["abort"]), 2, &[&live]);
    let run = app.alcedo(&["promote", "--json"]);
    let last: serde_json::Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["active"], &last["release"]), (&slot.into(), &two.into()), "{}", words(&run));
}

#[test]
fn a_second_rollback_is_refused_with_the_releases_and_not_advertised() {
    let app = App::live();
    let (_, one) = app.active();
    app.write("two", "", "");
    app.deploy();
    app.until_quiet();
    let two = app.active().1;
    says(&app.alcedo(&["rollback"]), 0, &[&one]);
    app.until_quiet();
    says(&app.alcedo(&["rollback"]), 2, &["rollback already", &one, &two, "Live:"]);
    assert!(app.status()["rollback"].is_null(), "{}", app.status());
    assert!(!app.alcedo(&["releases"]).stdout.contains("<- alcedo rollback"));
}

#[test]
fn a_detached_deploy_prints_its_id_and_lost_output_is_an_error() {
    let app = App::live();
    app.write("two", "", "");
    let run = app.alcedo(&["deploy", "--detach"]);
    assert_eq!((run.code, run.stdout.trim()), (Some(0), "d2"), "{}", words(&run));
    app.until_quiet();
    for verb in [&["config"][..], &["schema"], &["status", "--json"]] {
        let mut command = app.home.command(&app.dir, verb);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains("to write to stdout"), "{verb:?}: {said}");
    }
}

#[test]
fn an_abort_returns_when_its_deploy_has_ended() {
    let app = App::live();
    let (slot, one) = app.active();
    app.write("two", "", "");
    let run = app.alcedo(&["deploy", "--stage"]);
    assert_eq!(run.code, Some(75), "{}", words(&run));
    says(&app.alcedo(&["abort"]), 0, &[&format!("Live: {slot} {one}")]);
    app.write("three", "", "");
    app.deploy();
    assert_ne!(app.active().1, one);
}

#[test]
fn user_without_root_takes_everything_back_and_keeps_the_releases() {
    let app = App::live();
    app.until_quiet();
    let (_, one) = app.active();
    let removal = ["setup", "--user", "--remove"];
    says(&app.alcedo(&removal), 2, &["stops web", "alcedo setup --user --remove -y"]);
    let dry = [&removal[..], &["--dry-run"]].concat();
    says(&app.alcedo(&dry), 0, &["web: would be stopped"]);
    assert_eq!(app.active().1, one);
    let really = [&removal[..], &["-y"]].concat();
    says(&app.alcedo(&really), 0, &["web: stopped", "daemon and proxy: stopped", "kept: releases"]);
    let none = || app.home.processes().is_empty().then_some(());
    poll_until(SOON, none).expect("nothing of it runs");
    app.write("two", "", "");
    app.deploy();
    let kept = app.alcedo(&["releases"]).stdout;
    assert!(kept.contains(&one), "{kept}");
}
