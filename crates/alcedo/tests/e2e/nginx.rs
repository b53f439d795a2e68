//! The process runner behind a stock nginx with Debian's layout, found by its pid file: no systemd.

use crate::app::{App, SOON, says, served};
use xtask::home::poll_until;
use xtask::nginx::Nginx;

const FLAG: &str = "router.kind = \"nginx\"";
const INCLUDE: &str = "router.kind = \"nginx\"\nrouter.form = \"include\"";

fn live(nginx: &Nginx, settings: &str) -> App {
    let app = App::behind(nginx);
    app.write("one", "", settings);
    app.deploy();
    app
}

/// S0-13: the posts' reload loses requests; the flag does not.
#[test]
fn two_deploys_and_a_rollback_by_flag_lose_nothing() {
    let nginx = Nginx::start().unwrap();
    let app = live(&nginx, FLAG);
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", FLAG);
    app.deploy();
    let (_, two) = app.active();
    // What nginx keeps open to the old slot for a moment counts as in flight.
    app.until_quiet();
    app.write("three", "", FLAG);
    app.deploy();
    let (slot, three) = app.active();
    let status = app.status();
    assert_eq!(status["router"]["kind"], "nginx", "{status}");
    assert_eq!(status["router"]["target"], slot.as_str(), "{status}");
    app.until_quiet();
    let run = app.alcedo(&["rollback"]);
    says(&run, 0, &["switch", &two]);
    assert_eq!(app.active().1, two);
    let counted = |status: &serde_json::Value| status["slots"][&app.active().0].clone();
    assert!(counted(&app.status()).to_string().contains(&two));
    served(load, &[&one, &two, &three]);
    // One reload for the structure, before there was any load; no switch needed another.
    assert_eq!(nginx.errors().matches("(SIGHUP) received").count(), 1, "{}", nginx.errors());
}

#[test]
fn deploy_that_fails_behind_nginx_leaves_the_live_slot_alone() {
    let nginx = Nginx::start().unwrap();
    let app = live(&nginx, FLAG);
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "--health-status 500", &format!("{FLAG}\nhealth.deadline = \"2s\""));
    says(&app.alcedo(&["deploy"]), 1, &["FAIL", "probe", &format!("Live: {slot} {one}")]);
    served(load, &[&one]);
}

#[test]
fn flag_set_by_hand_is_drift_and_a_deploy_is_refused() {
    let nginx = Nginx::start().unwrap();
    let app = live(&nginx, FLAG);
    assert_eq!(app.active().0, "blue");
    app.write("two", "", FLAG);
    app.deploy();
    app.until_quiet();
    let flag = app.home.path().join("state/router/web/green");
    std::fs::remove_file(&flag).unwrap();
    let status = app.until("drift", |status| status["router"]["drift"] == true);
    assert_eq!(status["router"]["target"], "blue", "{status}");
    app.write("three", "", FLAG);
    says(&app.alcedo(&["deploy"]), 1, &["resolve"]);
    says(&app.alcedo(&["resolve", "green"]), 0, &["green"]);
    assert!(flag.exists());
    app.until_quiet();
    app.deploy();
}

#[test]
fn reload_form_says_what_it_costs_and_wants_it_accepted() {
    let nginx = Nginx::start().unwrap();
    let app = live(&nginx, INCLUDE);
    let (_, one) = app.active();
    app.write("two", "", INCLUDE);
    says(&app.alcedo(&["deploy"]), 2, &["NOT zero-downtime", "router.reload"]);
    assert_eq!(app.active().1, one);
    says(&app.alcedo(&["deploy", "--accept", "router.reload"]), 0, &[]);
    app.until_quiet();
    assert_ne!(app.active().1, one);
    says(&app.alcedo(&["rollback"]), 0, &[&one]);
    assert_eq!(app.active().1, one);
}

#[test]
fn broken_site_of_somebody_else_is_named_and_does_not_stop_a_flag() {
    let nginx = Nginx::start().unwrap();
    let app = App::behind(&nginx);
    let broken = nginx.dir().join("sites-enabled/old");
    std::fs::write(&broken, "server { nonsense; }\n").unwrap();
    app.write("one", "", FLAG);
    says(&app.alcedo(&["deploy"]), 1, &["sites-enabled/old:1 is broken"]);
    std::fs::remove_file(&broken).unwrap();
    app.deploy();
    // No reload is needed any more: what others break later stops no switch.
    std::fs::write(&broken, "server { nonsense; }\n").unwrap();
    let (_, one) = app.active();
    app.write("two", "", FLAG);
    app.deploy();
    assert_ne!(app.active().1, one);
}

#[test]
fn daemon_killed_and_started_anew_asks_nginx_what_is_live() {
    let nginx = Nginx::start().unwrap();
    let app = live(&nginx, FLAG);
    app.write("two", "", FLAG);
    app.deploy();
    let (slot, two) = app.active();
    let load = app.load();
    let daemon = app.home.process("daemon").expect("the daemon runs");
    daemon.kill();
    poll_until(SOON, || (!daemon.runs()).then_some(())).expect("it ends");
    app.until_quiet();
    assert_eq!(app.active(), (slot, two.clone()));
    served(load, &[&two]);
}
