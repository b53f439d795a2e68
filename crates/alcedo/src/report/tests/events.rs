//! Events as lines, as JSON, in GitHub Actions and on a terminal.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one life, told whole")]
fn every_kind_of_event_has_its_line() {
    let mut events = to_verified();
    let skipped = Event::StepDone {
        step: Step::Warm,
        text: "no [warmup]".to_owned(),
        took_us: 3,
        skipped: true,
        generation: None,
        restarts: 0,
        own: alcedo_core::judge::Counts::default(),
    };
    events.extend([
        skipped,
        verdict(Finding::Pass),
        verdict(Finding::Inconclusive),
        verdict(Finding::Fail),
        failed(Step::Probe, "GET /up: 500; expected 200, for 60 s, 295 tries", ""),
        failed(Step::Probe, "given up on request", ""),
        Event::UndoStarted { undo: Undo::SwitchBack },
        undone(Undo::SwitchBack, "blue is live again, the same processes as before", 600),
        undone(
            Undo::VerifyBack,
            "https://api.example.com answers r20261119-170211-9f3c21a",
            100_000,
        ),
        undone(Undo::StopNew, "green is stopped; its files and log are kept", 300_000),
        Event::UndoFailed {
            undo: Undo::StopNew,
            failure: Failure::new("green could not be stopped within 90 s"),
        },
        Event::Notice {
            text: "warm-up: GET /pricing answered 404".to_owned(),
            step: Some(Step::Warm),
        },
        Event::AbortAsked { by: "ana".to_owned(), reason: "given up by hand".to_owned() },
        Event::PromoteAsked { by: "ana".to_owned() },
        Event::Recovered,
        Event::Retired {
            slot: Slot::Blue,
            binding: BindingId::new(DeployId(41), Slot::Blue),
            by: "keep-warm".to_owned(),
        },
        Event::Resolved { slot: Slot::Blue, binding: None, generation: 9, by: "ana".to_owned() },
        Event::Pruned { releases: vec![ReleaseId::new(OLD).unwrap()] },
        ended(Outcome::Live),
    ]);
    assert_snapshot!(shown(events, 93, Script::Utf8), @r#"
    ok    fetch     r20261120-191405-4be1c07: 141 of 9204 files changed, 1.2 MiB of       2.0 s
                    212 MiB copied
    ok    prepare   php artisan optimize; sealed, 212 MiB                                 1.1 s
    ok    start     green on 127.0.0.1:20110, pid 4127                                    0.1 s
    ok    probe     GET /healthz 200, twice in a row, from this release (proved by        0.3 s
                    the process)
    ok    switch    green is live                                                        0.4 ms
    ok    verify    https://api.example.com answers r20261120-191405-4be1c07              0.2 s
    skip  warm      no [warmup]
    ok    bake      pass: 3611 requests, 0 errors; 600 of 600 probes good                21.0 s
                    14 requests: an error rate under 19 % would have gone unnoticed
    warn  bake      inconclusive: 14 requests, 0 errors; 600 of 600 probes good          21.0 s
                    14 requests: an error rate under 19 % would have gone unnoticed
    FAIL  bake      errors 6.0 % (17 of 281); at most 5.0 % are allowed                  21.0 s
    FAIL  probe     GET /up: 500; expected 200, for 60 s, 295 tries                      60.0 s
    undo  probe     given up on request                                                  60.0 s
    undo  switch    blue is live again, the same processes as before                     0.6 ms
    ok    verify    https://api.example.com answers r20261119-170211-9f3c21a              0.1 s
    undo  start     green is stopped; its files and log are kept                          0.3 s
    FAIL  start     green could not be stopped within 90 s
    warn  warm      warm-up: GET /pricing answered 404
    undo            given up by hand (ana)
    ok              promoted by ana
    warn            the daemon was stopped and is back; the deploy is taken up again
    ok    retire    blue is stopped (keep-warm)
    ok              blue is live, says ana
    ok    prune     removed r20261119-170211-9f3c21a
    "#);
}

#[test]
fn lines_fold_at_80_columns_and_never_cut_an_id() {
    let text = shown(to_verified(), 80, Script::Utf8);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains(NEW));
    assert_snapshot!(text, @r#"
    ok    fetch     r20261120-191405-4be1c07: 141 of 9204 files changed,     2.0 s
                    1.2 MiB of 212 MiB copied
    ok    prepare   php artisan optimize; sealed, 212 MiB                    1.1 s
    ok    start     green on 127.0.0.1:20110, pid 4127                       0.1 s
    ok    probe     GET /healthz 200, twice in a row, from this release      0.3 s
                    (proved by the process)
    ok    switch    green is live                                           0.4 ms
    ok    verify    https://api.example.com answers                          0.2 s
                    r20261120-191405-4be1c07
    "#);
}

#[test]
fn without_utf8_lines_are_ascii() {
    let text = shown(vec![done(Step::Prepare, "a · b → c …", 1)], 80, Script::Ascii);
    assert_eq!(
        text,
        "  ok    prepare   a - b -> c ...                                            1 us\n"
    );
}

#[test]
fn the_last_line_of_json_has_every_field() {
    let line = |events, stop| {
        serde_json::to_string(&Ended::of(&track(events), stop, Asked::Deploy)).unwrap()
    };
    let failed =
        [to_ready(), vec![failed(Step::Probe, "x", ""), ended(Outcome::Unchanged)]].concat();
    let refused = serde_json::to_string(&Ended::refused(4)).unwrap();
    assert_snapshot!([line(to_verified(), Stop::Enough), line(failed, Stop::Over), refused].join("\n"), @r#"
    {"event":"ended","outcome":"live","active":"green","release":"r20261120-191405-4be1c07","switch_ms":0.4,"duration_ms":12000,"verdict":"pending","judged_until":"2026-11-20T19:24:12Z","exit":0,"deploy":"d42","deploy_release":"r20261120-191405-4be1c07"}
    {"event":"ended","outcome":"unchanged","active":"blue","release":"r20261119-170211-9f3c21a","switch_ms":null,"duration_ms":9000,"verdict":null,"judged_until":null,"exit":1,"deploy":"d42","deploy_release":"r20261120-191405-4be1c07"}
    {"event":"ended","outcome":"refused","active":null,"release":null,"switch_ms":null,"duration_ms":0,"verdict":null,"judged_until":null,"exit":4,"deploy":null,"deploy_release":null}
    "#);
}

#[test]
fn json_has_one_event_a_line_with_the_names_of_the_interface() {
    let mut events = to_verified();
    events.extend([
        failed(Step::Probe, "GET /up: 500", "a\nb"),
        Event::UndoStarted { undo: Undo::SwitchBack },
        undone(Undo::SwitchBack, "blue is live again", 600),
        verdict(Finding::Fail),
        Event::Recovered,
        ended(Outcome::RolledBack),
    ]);
    let lines: Vec<serde_json::Value> = records(events).iter().map(json::record).collect();
    let known =
        ["planned", "step-started", "progress", "step-done", "step-failed", "notice", "verdict"];
    for line in &lines {
        assert!(known.contains(&line["event"].as_str().unwrap()), "{line}");
        assert!(
            line["seq"].is_u64() && line["at"].is_string() && line["deploy"] == "d42",
            "{line}"
        );
    }
    let text: Vec<String> =
        [0, 8, 10, 13, 15, 16].iter().map(|at| lines[*at].to_string()).collect();
    assert_snapshot!(text.join("\n"), @r#"
    {"app":"api","at":"2026-11-20T19:14:00Z","by":"ana","deploy":"d42","environment":"production","event":"planned","from":"blue","from_release":"r20261119-170211-9f3c21a","judged":true,"note":"faster checkout","plan":"p7f3a90aa","purpose":"deploy","release":"r20261120-191405-4be1c07","seq":1,"steps":["fetch","prepare","start","probe","switch","verify","drain","bake"],"to":"green"}
    {"at":"2026-11-20T19:14:08Z","deploy":"d42","event":"step-done","generation":null,"seq":9,"skipped":false,"step":"probe","text":"GET /healthz 200, twice in a row, from this release (proved by the process)","took_ms":300.0,"took_us":300000}
    {"at":"2026-11-20T19:14:10Z","deploy":"d42","event":"step-done","generation":null,"seq":11,"skipped":false,"step":"switch","text":"green is live","took_ms":0.4,"took_us":400}
    {"at":"2026-11-20T19:14:13Z","deploy":"d42","detail":"a\nb","event":"step-failed","hint":null,"seq":14,"step":"probe","text":"GET /up: 500","took_ms":60000.0,"took_us":60000000}
    {"at":"2026-11-20T19:14:15Z","deploy":"d42","event":"step-done","generation":null,"seq":16,"step":"switch","text":"blue is live again","took_ms":0.6,"took_us":600,"undo":"switch-back"}
    {"at":"2026-11-20T19:14:16Z","deploy":"d42","event":"verdict","finding":"fail","seq":17,"text":"errors 6.0 % (17 of 281); at most 5.0 % are allowed","verdict":{"errors":17,"finding":"fail","not_seen":null,"observed_ms":21000,"requests":281,"text":"errors 6.0 % (17 of 281); at most 5.0 % are allowed"}}
    "#);
}

#[test]
fn the_app_s_environment_is_in_no_event() {
    let line = json::record(&records(vec![planned(Purpose::Deploy, false)])[0]).to_string();
    assert!(!line.contains("ALCEDO_RELEASE") && !line.contains("argv"), "{line}");
}

#[test]
fn github_actions_gets_groups_annotations_and_a_summary() {
    let (mut reporter, _, words) =
        reporter(Form::Actions(actions::Job::default()), 80, Script::Utf8);
    let mut events = to_ready();
    events.push(failed(Step::Probe, "GET /up: 500; expected 200", ""));
    records(events).iter().for_each(|record| reporter.record(record, Millis(0)));
    let error = Failed {
        file: Some("alcedo.toml".to_owned()),
        line: Some(6),
        ..Failed::new("config", "alcedo.toml:6: unknown key\n  6 | x", 2)
    };
    reporter.error(&error, "");
    let file = tempfile::NamedTempFile::new().unwrap();
    let Form::Actions(job) = &reporter.form else { panic!("another form") };
    job.summary("api: r1 to green", "Live: blue r0, unchanged", file.path()).unwrap();
    let summary = std::fs::read_to_string(file.path()).unwrap();
    assert_snapshot!(format!("{}\n{summary}", words.text()), @r#"
    ::group::steps
    19:14:02Z ok fetch r20261120-191405-4be1c07: 141 of 9204 files changed, 1.2 MiB of 212 MiB copied, 2.0 s
    19:14:04Z ok prepare php artisan optimize; sealed, 212 MiB, 1.1 s
    19:14:06Z ok start green on 127.0.0.1:20110, pid 4127, 0.1 s
    19:14:08Z FAIL probe GET /up: 500; expected 200, 60.0 s
    ::error title=probe::GET /up: 500; expected 200
    ::endgroup::
    ::error file=alcedo.toml,line=6::alcedo.toml:6: unknown key%0A  6 | x
    alcedo.toml:6: unknown key
      6 | x

    ### api: r1 to green

    | | step | | took |
    |---|---|---|---:|
    | ok | fetch | r20261120-191405-4be1c07: 141 of 9204 files changed, 1.2 MiB of 212 MiB copied | 2.0 s |
    | ok | prepare | php artisan optimize; sealed, 212 MiB | 1.1 s |
    | ok | start | green on 127.0.0.1:20110, pid 4127 | 0.1 s |
    | FAIL | probe | GET /up: 500; expected 200 | 60.0 s |

    Live: blue r0, unchanged
    "#);
}

#[test]
fn a_terminal_is_redrawn_in_place_and_gets_a_sign_of_life_every_second() {
    let (mut reporter, _, words) =
        reporter(Form::Live(crate::report::live::Block::default()), 80, Script::Utf8);
    reporter.footer(Some("Ctrl-C gives this deploy up."));
    let record = &records(vec![started(Step::Probe)])[0];
    reporter.record(record, Millis(0));
    for ms in [100, 900, 1_000, 1_500, 2_000] {
        reporter.tick(Millis(ms));
    }
    reporter.progress(&Track::default(), "", "GET /up: 503 (4 tries); 56 s left", Millis(2_100));
    reporter.step("", &line::StepLine::new(line::Mark::Ok, "probe", "ready"));
    assert_snapshot!(words.text().replace('\x1b', "ESC").replace('\r', "CR"), @r#"
      ..    probe

      Ctrl-C gives this deploy up.
    ESC[3ACRESC[J  ..    probe                                                              1.0 s

      Ctrl-C gives this deploy up.
    ESC[3ACRESC[J  ..    probe                                                              2.0 s

      Ctrl-C gives this deploy up.
    ESC[3ACRESC[J  ..    probe     GET /up: 503 (4 tries); 56 s left                        2.0 s

      Ctrl-C gives this deploy up.
    ESC[3ACRESC[J  ok    probe     ready
    "#);
}
