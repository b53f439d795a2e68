//! Tables and pages, from fixed JSON.

use super::*;
use crate::views::{HistoryView, PlanView, PruneView, ReleasesView, StatusView};

fn view<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn status_view() -> StatusView {
    view(serde_json::json!({
        "format": 1, "at": "2026-11-20T19:18:24Z", "host": "shop-1", "alcedo": "0.1.0",
        "apps": [{
            "app": "shop", "environment": "production", "url": "https://shop.example", "healthy": true, "why": null,
            "active": "green", "stable_release": OLD,
            "router": { "kind": "embedded", "target": "green", "drift": false, "drift_detail": null },
            "slots": {
                "blue": { "role": "idle", "state": "warm", "release": OLD, "started_at": "2026-11-19T17:02:20Z",
                    "since": "2026-11-19T17:02:30Z", "memory_bytes": 214_958_080, "requests": 90_000, "errors": 20,
                    "in_flight": 0, "tunnels": 3, "p50_ms": 41.0, "p95_ms": 180.2, "processes": [] },
                "green": { "role": "active", "state": "ready", "release": NEW, "started_at": "2026-11-20T19:15:02Z",
                    "since": "2026-11-20T19:15:02Z", "memory_bytes": 222_298_112, "requests": 1_204, "errors": 2,
                    "in_flight": 6, "tunnels": 41, "p50_ms": 4.31, "p95_ms": 176.0,
                    "processes": [{ "name": "web", "kind": "web", "pid": 12, "restarts": 1, "last_exit": "exit status 3" }] }
            },
            "deploy": { "id": "d43", "phase": "bake", "verdict": "pending", "release": NEW, "to": "green", "gate": null, "held": false, "by": "ana",
                "bake": { "until": "2026-11-20T19:25:02Z", "requests": 1_204, "errors": 2, "baseline_error_rate": null,
                    "observed_ms": 202_000, "length_ms": 600_000, "probes_good": 202, "probes_failed": 0,
                    "evidence": { "errors": 0.03, "slow50": null, "slow95": null }, "error_rate_below": 0.006 } },
            "rollback": { "release": OLD, "kind": "flip", "available_for_s": 2_196, "available_until": "2026-11-20T19:55:00Z", "expected_ms": 100 },
            "next": [{ "action": "verdict", "at": "2026-11-20T19:25:02Z" }, { "action": "blue stops", "at": "2026-11-20T19:55:00Z" }],
            "lock": { "by": "ana", "reason": "d43", "since": "2026-11-20T19:14:05Z", "until": null }, "stuck": null
        }]
    }))
}

fn with_reader<T>(width: usize, flags: &str, read: impl FnOnce(&Reader<'_>) -> T) -> T {
    let zone = Zone::named("Europe/Berlin");
    read(&Reader { zone: &zone, width, flags })
}

#[test]
fn status_of_an_app_that_is_being_judged() {
    let view = status_view();
    let lines = with_reader(80, " -a shop", |reader| status::app(&view.apps[0], &view, reader));
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    assert_snapshot!(lines.join("\n"), @r#"
    shop · production · shop-1                         Fri 20 Nov 2026, 20:18:24 CET
    Healthy. The new release is being judged: 6 min 38 s left, verdict at 20:25:02
    CET.

       slot   state   release                   age     memory  requests  errors
       blue   warm    r20261119-170211-9f3c21a  26 h   205 MiB         -  -
     > green  active  r20261120-191405-4be1c07  3 min  212 MiB     1,204  2 (0.17 %)

      Way back  blue is warm: alcedo rollback -a shop takes under 1 s, until 20:55
                CET at least
      Next      20:25 verdict · 20:55 blue stops
      Processes web was started again once, last: exit status 3
      Router    embedded points at green, as recorded
      Address   https://shop.example
    "#);
}

#[test]
fn status_of_an_app_with_drift_and_of_one_that_is_stuck() {
    let mut view = status_view();
    let app = &mut view.apps[0];
    app.deploy = None;
    app.healthy = false;
    app.why = Some("the router points at blue, the journal says green".to_owned());
    app.router.drift = true;
    app.router.drift_detail = app.why.clone();
    app.lock = None;
    let drift = with_reader(80, "", |reader| status::app(&view.apps[0], &view, reader));
    view.apps[0].stuck = view_stuck();
    let stuck = with_reader(80, "", |reader| status::health(&view.apps[0], &view, reader));
    assert_snapshot!(format!("{}\n\n{stuck}", drift.join("\n")), @r#"
    shop · production · shop-1                         Fri 20 Nov 2026, 20:18:24 CET
    NOT healthy: the router points at blue, the journal says green.

       slot   state   release                   age     memory  requests  errors
       blue   warm    r20261119-170211-9f3c21a  26 h   205 MiB         -  -
     > green  active  r20261120-191405-4be1c07  3 min  212 MiB     1,204  2 (0.17 %)

      Way back  blue is warm: alcedo rollback takes under 1 s, until 20:55 CET at
                least
      Next      20:25 verdict · 20:55 blue stops
      Processes web was started again once, last: exit status 3
      Router    the router points at blue, the journal says green. Nothing is
                changed until you choose: alcedo resolve blue, or alcedo resolve
                green
      Address   https://shop.example

    Stuck since d42: green could not be stopped within 90 s. Nothing happens by itself: alcedo resolve blue
    "#);
}

fn view_stuck() -> Option<crate::views::StuckView> {
    view(
        serde_json::json!({ "deploy": "d42", "what": "green could not be stopped within 90 s", "hint": "alcedo resolve blue" }),
    )
}

#[test]
fn status_of_a_host_lists_every_app() {
    let mut view = status_view();
    let mut sick = view.apps[0].clone();
    sick.app = "api".to_owned();
    sick.environment = "staging".to_owned();
    sick.healthy = false;
    sick.deploy = None;
    sick.rollback =
        self::view(serde_json::json!({ "release": OLD, "kind": "deploy", "expected_ms": 1_900 }));
    view.apps.insert(0, sick);
    let empty = StatusView { apps: Vec::new(), ..view.clone() };
    let lines = [status::apps(&view, 80), status::apps(&empty, 80)].concat();
    assert_snapshot!(lines.join("\n"), @r#"
      app          live                             since  state        way back
      api-staging  green  r20261120-191405-4be1c07  3 min  NOT HEALTHY  blue, about 2 s
      shop         green  r20261120-191405-4be1c07  3 min  judging      blue, warm for 36 min
    1 of 2 apps is not healthy: alcedo status -a api-staging
    No app on shop-1 yet: `alcedo deploy` in a directory with an alcedo.toml.
    "#);
}

#[test]
fn status_watch_shows_both_slots_side_by_side() {
    let now = status_view();
    let mut before = now.clone();
    before.at = "2026-11-20T19:18:23Z".to_owned();
    before.apps[0].slots.get_mut(&Slot::Green).unwrap().requests = Some(1_198);
    let page = with_reader(93, "", |reader| watch::page(&now.apps[0], &now, Some(&before), reader));
    let line = with_reader(93, "", |reader| watch::line(&now.apps[0], &now, reader));
    assert_snapshot!(format!("{}\n\n{line}", page.join("\n")), @r#"
    shop · production · shop-1                                                       20:18:24 CET
    green is being judged: 3 min 22 s of 10 min  [#######-------------]  verdict at 20:25:02 CET

                      blue, warm                      > green, live
      release         r20261119-170211-9f3c21a        r20261120-191405-4be1c07
      age             26 h                            3 min
      requests/s      0.0                             6.0
      errors          0.02 %   20 of 90,000           0.17 %   2 of 1,204
      p50             41 ms                           4.3 ms
      p95             180 ms                          176 ms
      memory          205 MiB                         212 MiB
      in flight       0                               6
      open sockets    3                               41
      probe, 1/s      -                               202 of 202 good

      Evidence that green is worse (given back at 100 %)
      errors          [#-------------------]   3 %
      So far: green's error rate is below 0.60 % (95 % sure). A slow leak would not show.

      B  go back now     P  accept now     q  stop watching; the deploy goes on

    green r20261120-191405-4be1c07; healthy; judged until 20:25 CET, 2 of 1,204 requests failed
    "#);
}

#[test]
fn history_and_releases_are_tables() {
    let past = |id: &str, outcome: &str, verdict: Option<&str>, failed_at: Option<&str>| {
        serde_json::json!({ "id": id, "app": "shop", "environment": "production", "release": NEW, "from": "blue", "to": "green",
            "outcome": outcome, "by": "ana", "note": "faster checkout\nmore", "started_at": "2026-11-20T19:14:05Z",
            "duration_ms": 50_400, "switch_ms": 0.4, "verdict": verdict, "failed_at": failed_at })
    };
    let history: HistoryView = view(serde_json::json!({ "deploys": [
        past("d43", "under-way", None, None), past("d42", "rolled-back", Some("fail"), None),
        past("d41", "live", Some("pass"), None), past("d40", "unchanged", None, Some("probe")),
    ] }));
    let releases: ReleasesView = view(serde_json::json!({ "releases": [
        { "release": NEW, "commit": "4be1c07", "created_at": null, "size_bytes": 222_298_112, "state": "active", "bad": false, "pinned": false,
          "rollback": { "kind": null, "expected_ms": null, "refused": "live" } },
        { "release": "r20261120-150201-c01d9aa", "size_bytes": 221_298_112, "state": "kept", "bad": true, "rollback": { "kind": "deploy", "expected_ms": 5_900 } },
        { "release": OLD, "size_bytes": 220_298_112, "state": "warm", "bad": false, "rollback": { "kind": "flip", "expected_ms": 100 } },
        { "release": "r20261117-081500-51ac003", "size_bytes": 220_298_112, "state": "kept", "bad": false, "rollback": { "kind": "deploy", "expected_ms": 5_900 } },
    ] }));
    let status = status_view();
    let past = with_reader(80, " -a shop", |reader| history::history(&history, reader));
    let kept = |r: &Reader<'_>| history::releases(&releases, status.apps.first(), r);
    let lines = [past, with_reader(80, "", kept)].concat();
    assert_snapshot!(lines.join("\n"), @r#"
    id   when              release                   outcome      took  verdict
    d43  20 Nov 20:14 CET  r20261120-191405-4be1c07  under way    51 s  pending
    d42  20 Nov 20:14 CET  r20261120-191405-4be1c07  rolled back  51 s  fail
    d41  20 Nov 20:14 CET  r20261120-191405-4be1c07  live         51 s  pass
    d40  20 Nov 20:14 CET  r20261120-191405-4be1c07  unchanged    51 s  failed at probe
    d43 ana: faster checkout · d42 ana: faster checkout
    more: alcedo history d43 -a shop
    release                    state              size   way back
    r20261120-191405-4be1c07   active, green   212 MiB   (live)
    r20261120-150201-c01d9aa   kept, bad       211 MiB   only by name
    r20261119-170211-9f3c21a   warm, blue      210 MiB   under 1 s  <- alcedo rollback
    r20261117-081500-51ac003   kept            210 MiB   about 6 s
    "#);
}

#[test]
fn prune_says_what_would_go() {
    let pruned: PruneView = view(
        serde_json::json!({ "removed": [{ "release": OLD, "size_bytes": 220_298_112 }], "kept": [{ "release": NEW, "reason": "active" }] }),
    );
    let lines = [
        history::prune(&pruned, true, 80),
        history::prune(&pruned, false, 80),
        history::prune(&PruneView::default(), false, 80),
    ]
    .concat();
    assert_snapshot!(lines.join("\n"), @r#"
      release                                      size
      r20261119-170211-9f3c21a   would go       210 MiB
      r20261120-191405-4be1c07   kept: active         -
    1 release, 210 MiB would be freed. Nothing was changed.
      release                                      size
      r20261119-170211-9f3c21a   removed        210 MiB
      r20261120-191405-4be1c07   kept: active         -
    1 release, 210 MiB freed.
    Nothing to remove.
    "#);
}

#[test]
fn a_plan_names_every_step_budget_change_and_caveat() {
    let plan: PlanView = view(serde_json::json!({
        "plan": "p7f3a", "app": "shop", "environment": "production", "from": "blue", "to": "green", "release": NEW, "from_release": OLD, "basis": "7f3a",
        "steps": [
            { "step": "fetch", "text": format!("{NEW} into /srv/shop/releases/{NEW}"), "expected_ms": null },
            { "step": "prepare", "text": "php artisan optimize", "expected_ms": 1_100 },
            { "step": "switch", "text": "embedded router, per request: no request and no connection is cut", "expected_ms": null },
        ],
        "budget": {
            "memory": { "needed_bytes": 450_887_680, "available_bytes": 1_174_405_120, "fits": true },
            "disk": { "needed_bytes": 0, "available_bytes": 15_247_000_000_u64, "fits": true },
            "ports": { "web": "127.0.0.1:20111" },
        },
        "changes": [{ "area": "env", "key": "FEATURE_CHECKOUT", "old": null, "new": "on" }, { "area": "bake", "key": "time", "old": "10m", "new": "5m" }],
        "not_zero_downtime": [
            { "id": "slot.draining", "reason": "green still serves 3 WebSockets of the last switch: they would be cut", "fix": "deploy later, when they have ended", "accepted": false },
            { "id": "health.none", "reason": "there is no [health]", "fix": "health.path = \"/healthz\"", "accepted": true },
        ],
    }));
    let lines = plan::plan(&plan, 80, " -e staging");
    assert_snapshot!(lines.join("\n"), @r#"
    r20261120-191405-4be1c07 would go to green. blue stays live with
    r20261119-170211-9f3c21a until the switch.

      fetch      r20261120-191405-4be1c07 into
                 /srv/shop/releases/r20261120-191405-4be1c07
      prepare    php artisan optimize (about 1.1 s)
      switch     embedded router, per request: no request and no connection is cut

      Memory     two copies need about 430 MiB; 1,120 MiB are free: fits
      Disk       14.2 GiB are free; what is needed is not known yet
      Settings   + env FEATURE_CHECKOUT = "on"
                 ~ bake time = "5m", was "10m"

      NOT zero-downtime because green still serves 3 WebSockets of the last switch:
      they would be cut.
        deploy later, when they have ended, or: --accept slot.draining -e staging

      NOT zero-downtime because there is no [health]. (accepted)

    Nothing was changed. Do exactly this: alcedo deploy --plan p7f3a -e staging
    "#);
}

#[test]
fn check_lists_findings_and_adds_them_up() {
    let mut bad = config();
    bad.bake.max_error_rate = None;
    bad.shared.files = vec!["data/app.sqlite".into()];
    let findings = alcedo_core::lint::lint(&bad);
    assert!(!check::ok(&findings));
    let lines = [check::check(&findings, 80), check::check(&[], 80)].concat();
    assert_snapshot!(lines.join("\n"), @r#"
    error    shared.sqlite   shared.files = ["data/app.sqlite"]
             files are copied into each slot: a database there would be two, and its
             -wal beside it is not shared
             fix: shared.dirs = ["data"], with the database inside it
    info     bake.no-limit   bake
             no limit on errors: only failed probes and crashes give a release back
             fix: bake.max_error_rate = 0.05

    1 error, 0 warnings, 1 note. Mend what is at error before the next deploy.
    Everything is in order.
    "#);
}
