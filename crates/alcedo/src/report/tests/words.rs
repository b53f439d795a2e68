//! The last words of deploys, their exit codes, and errors.

use super::*;

#[test]
fn a_first_deploy_has_nobody_to_go_back_to() {
    let events = vec![
        planned(Purpose::Deploy, true),
        started(Step::Switch),
        done(Step::Switch, "green is live", 400),
        done(Step::Verify, "it answers", 1),
        ended(Outcome::Live),
    ];
    assert_snapshot!(last_words(events, Stop::Over, Asked::Deploy, "", &[]), @r#"
    Nobody judges a first release: there is no older one to go back to.
    Next: alcedo status --watch
    Live: green r20261120-191405-4be1c07, https://api.example.com, after 4.0 s
    (exit 0)
    "#);
}

#[test]
fn after_the_switch_the_words_say_until_when_it_is_judged() {
    assert_snapshot!(last_words(to_verified(), Stop::Enough, Asked::Deploy, " -a api", &[]), @r#"
    Judged until 20:24 CET (10 min); given back by itself when it crashes or its probes fail (bake.max_error_rate adds errors).
    Next: alcedo status --watch -a api
    Live: green r20261120-191405-4be1c07, https://api.example.com, after 12.0 s
    (exit 0)
    "#);
}

#[test]
fn while_it_is_judged_the_time_that_is_left_counts_down() {
    let mut events = to_verified();
    events.push(started(Step::Bake));
    let track = track(events);
    assert_eq!(track.countdown("2026-11-20T19:14:23Z").as_deref(), Some("9 min 50 s left"));
    assert_eq!(track.countdown("2026-11-20T20:00:00Z").as_deref(), Some("0 s left"));
}

#[test]
fn a_release_that_never_became_ready_is_told_in_five_parts() {
    let mut events = to_ready();
    events.extend([
        failed(Step::Probe, "GET /up: 500; expected 200, for 60 s, 295 tries", ""),
        undone(Undo::StopNew, "green is stopped; its files and log are kept", 300_000),
        ended(Outcome::Unchanged),
    ]);
    let log =
        ["20:15:03  production.ERROR: Class \"Redis\" not found", "20:15:03  #0 vendor/laravel"];
    assert_snapshot!(last_words(events, Stop::Over, Asked::Deploy, " -a api -e staging", &log), @r#"
      The last 2 lines that green wrote (alcedo logs --release 4be1c07 -a api -e staging):
        20:15:03  production.ERROR: Class "Redis" not found
        20:15:03  #0 vendor/laravel

    The new release never became ready, so no traffic went to it.
    Look:  alcedo logs --release 4be1c07 -a api -e staging  what it wrote
    Again: alcedo deploy 4be1c07 -a api -e staging          the same release, without a build
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 1)
    "#);
}

#[test]
fn a_stopped_way_back_is_said_to_be_one() {
    let Event::Planned { plan, by, note, operation } = planned(Purpose::Deploy, false) else {
        panic!("not planned")
    };
    let plan =
        Box::new(Plan { occupant: Some(BindingId::new(DeployId(40), Slot::Green)), ..*plan });
    let mut events = vec![
        Event::Planned { plan, by, note, operation },
        started(Step::Clear),
        done(Step::Clear, "green stopped", 1),
    ];
    events.extend([
        failed(Step::Start, "failed to start ./api: No such file or directory", ""),
        ended(Outcome::Unchanged),
    ]);
    let words = last_words(events, Stop::Over, Asked::Deploy, "", &[]);
    assert!(words.contains("Stays changed: what green ran before is stopped"), "{words}");
}

#[test]
fn a_failed_prepare_shows_its_own_output_and_no_release_to_repeat() {
    let events = vec![
        planned(Purpose::Deploy, false),
        started(Step::Fetch),
        done(Step::Fetch, "x", 1),
        started(Step::Prepare),
        failed(
            Step::Prepare,
            "failed to run `bin/prepare`: exit status 1",
            "pip: no such package\nerror",
        ),
        ended(Outcome::Unchanged),
    ];
    assert_snapshot!(last_words(events, Stop::Over, Asked::Deploy, "", &[]), @r#"
      The last of what `prepare` wrote:
        pip: no such package
        error

    The release was never finished, so nothing was started.
    Again: alcedo deploy
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 1)
    "#);
}

#[test]
fn a_release_given_back_by_itself_says_what_it_cost() {
    let mut events = to_verified();
    events.extend([
        started(Step::Bake),
        verdict(Finding::Fail),
        undone(Undo::SwitchBack, "blue is live again", 600),
        undone(Undo::VerifyBack, "it answers", 100_000),
        ended(Outcome::RolledBack),
    ]);
    assert_snapshot!(last_words(events, Stop::Over, Asked::Deploy, "", &[]), @r#"
    Rolled back by itself after 21 s; 17 of 281 requests failed in that time.
    What green wrote to the database meanwhile stays there.
    r20261120-191405-4be1c07 is marked bad: shipping the same content again wants --retry.
    Look:  alcedo logs --release 4be1c07     alcedo history d42
    Live: blue r20261119-170211-9f3c21a, https://api.example.com, back since 20:14:15 CET
    (exit 3)
    "#);
}

#[test]
fn a_rollback_by_hand_is_done_and_says_what_is_not_undone() {
    let events = vec![
        planned(Purpose::Flip, false),
        started(Step::Switch),
        done(Step::Switch, "green is live", 600),
        done(Step::Verify, "it answers", 100),
    ];
    assert_snapshot!(last_words(events, Stop::Enough, Asked::GoBack, "", &[]), @r#"
    Not undone: whatever blue wrote to the database.
    Live: green r20261120-191405-4be1c07, https://api.example.com
    (exit 0)
    "#);
}

#[test]
fn ctrl_c_says_which_and_what_is_live() {
    let mut given_up = to_ready();
    given_up.extend([failed(Step::Probe, "given up on request", ""), ended(Outcome::Unchanged)]);
    let before = last_words(given_up, Stop::Interrupted, Asked::Deploy, "", &["a line"]);
    let after = last_words(to_verified(), Stop::Interrupted, Asked::Deploy, "", &[]);
    let elsewhere = last_words(to_ready(), Stop::Interrupted, Asked::Promote, "", &[]);
    assert_snapshot!([before, after, elsewhere].join("\n\n"), @r#"
    Given up before the switch; your users have seen nothing of it.
    Again: alcedo deploy 4be1c07  the same release, without a build
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 130)

    Only the watching stopped: d42 has switched and goes on. Join it: alcedo deploy --follow
    Live: green r20261120-191405-4be1c07, https://api.example.com, after 12.0 s
    (exit 130)

    Only the watching stopped: d42 goes on. Give it up: alcedo abort
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 130)
    "#);
}

#[test]
fn waiting_detached_and_stuck_each_say_what_to_type() {
    let mut staged = to_ready();
    staged.extend([
        done(Step::Probe, "ready", 1),
        started(Step::Gate),
        done(Step::Gate, "green is ready", 1),
    ]);
    let waiting = last_words(staged, Stop::AtGate, Asked::Deploy, "", &[]);
    let detached = last_words(to_ready(), Stop::Detached, Asked::Deploy, "", &[]);
    let mut stuck = to_verified();
    let failure =
        Failure::new("blue does not answer (connection refused), so the traffic stays on green");
    stuck.extend([
        verdict(Finding::Fail),
        Event::UndoFailed {
            undo: Undo::SwitchBack,
            failure: Failure { hint: Some("alcedo resolve green".to_owned()), ..failure },
        },
        ended(Outcome::Stuck),
    ]);
    let stuck = last_words(stuck, Stop::Over, Asked::Deploy, " -a api", &[]);
    assert_snapshot!([waiting, detached, stuck].join("\n\n"), @r#"
    Waiting: green is ready and has no traffic. See it: alcedo preview
    Go: alcedo promote   Give up: alcedo abort
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 75)

    d42 goes on by itself. Join it: alcedo deploy --follow
    Live: blue r20261119-170211-9f3c21a, unchanged
    (exit 0)

    Stuck: blue does not answer (connection refused), so the traffic stays on green.
    Nothing more happens by itself. The way out: alcedo resolve green -a api
    Live: green r20261120-191405-4be1c07, https://api.example.com, after 15.0 s
    (exit 5)
    "#);
}

#[test]
fn exit_codes_follow_what_was_asked_for() {
    let code = |events: Vec<Event>, stop, asked| Ended::of(&track(events), stop, asked).exit;
    let with = |more: Vec<Event>| [to_verified(), more].concat();
    let back = || with(vec![undone(Undo::SwitchBack, "", 1), ended(Outcome::RolledBack)]);
    let unchanged = || [to_ready(), vec![ended(Outcome::Unchanged)]].concat();
    assert_eq!(code(with(vec![ended(Outcome::Live)]), Stop::Over, Asked::Deploy), 0);
    assert_eq!(code(to_verified(), Stop::Enough, Asked::Deploy), 0);
    assert_eq!(code(to_ready(), Stop::Detached, Asked::Deploy), 0);
    assert_eq!(code(unchanged(), Stop::Over, Asked::Deploy), 1);
    assert_eq!(code(unchanged(), Stop::Over, Asked::GiveUp), 0);
    assert_eq!(code(back(), Stop::Over, Asked::Deploy), 3);
    assert_eq!(code(back(), Stop::Over, Asked::GoBack), 0);
    assert_eq!(code(back(), Stop::Over, Asked::GiveUp), 0);
    assert_eq!(code(with(vec![ended(Outcome::Stuck)]), Stop::Over, Asked::GoBack), 5);
    assert_eq!(code(to_ready(), Stop::AtGate, Asked::Deploy), 75);
    assert_eq!(code(unchanged(), Stop::Interrupted, Asked::Deploy), 130);
    assert_eq!(code(to_verified(), Stop::Interrupted, Asked::Deploy), 130);
    assert_eq!(code(back(), Stop::Over, Asked::Replay), 0);
}

#[test]
fn errors_of_every_kind_say_what_to_type() {
    let failures = [
        Failed::new("locked", "locked by ana since 20:14 CET: r1 is being judged", 4)
            .hint("wait for it: --wait-lock 15m"),
        Failed::usage("nothing is under way").hint("alcedo history"),
        Failed::usage("no app called x on this host").hint("alcedo status"),
        Failed::new("not-in-this-version", "`alcedo debug` is not in this version", 2),
    ];
    let text: Vec<String> =
        failures.iter().map(|failed| error::lines(failed, " -a x").join("\n")).collect();
    let json = error::json(&failures[0]);
    assert_snapshot!(format!("{}\n{json}", text.join("\n")), @r#"
    Locked by ana since 20:14 CET: r1 is being judged
    Hint:  wait for it: --wait-lock 15m
    Nothing is under way
    Hint:  alcedo history -a x
    No app called x on this host
    Hint:  alcedo status
    `alcedo debug` is not in this version
    {"error":{"code":"locked","file":null,"hint":"wait for it: --wait-lock 15m","line":null,"message":"locked by ana since 20:14 CET: r1 is being judged"}}
    "#);
}

#[test]
fn a_config_error_keeps_its_underlined_text_and_its_line() {
    let text = "app = \"shop\"\nweb.command = \"x\"\nrelease.prepar = \"php artisan optimize\"\n";
    let errors = config::load(Input { text, file: "alcedo.toml", environment: None }).unwrap_err();
    let failed = error::failed(&errors.into());
    assert_eq!((failed.exit, failed.line), (2, Some(3)));
    assert_snapshot!(error::lines(&failed, " -a x").join("\n"), @r#"
    alcedo.toml:3: unknown key `release.prepar`
      3 | release.prepar = "php artisan optimize"
        |         ^^^^^^ nearest known key: `prepare`
    "#);
}
