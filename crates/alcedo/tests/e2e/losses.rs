//! S0-13: what deploys cost, for every runner with every router, on real hosts under the same load.

use crate::app::{says, words};
use crate::systemd::Vps;
use xtask::load::Tally;

const PROCESS: &str = "runner = \"process\"";
const SYSTEMD: &str = "runner = \"systemd\"";
const EMBEDDED: &str = "router.kind = \"embedded\"";
const FLAG: &str = "router.kind = \"nginx\"";
const RELOAD: &str =
    "router.kind = \"nginx\"\nrouter.form = \"symlink\"\naccept = [\"router.reload\"]";
/// Two deploys and a rollback, after the first.
const SWITCHES: u64 = 3;

/// Two more deploys and a rollback under load; `None`: there is no lab here.
fn tally(runner: &str, router: &str) -> Option<Tally> {
    let settings = format!("{runner}\n{router}");
    let vps = Vps::bare(&settings)?;
    if router != EMBEDDED {
        vps.host.must(&["systemctl", "enable", "--quiet", "--now", "nginx"]).unwrap();
    }
    if runner == SYSTEMD {
        let run = vps.host.run(&["/opt/alcedo", "-C", crate::systemd::SOURCE, "setup"]).unwrap();
        assert_eq!(run.code, Some(0), "{}", words(&run));
    } else {
        vps.host.must(&["install", "/opt/alcedo", "/usr/local/bin/alcedo"]).unwrap();
    }
    vps.deploy();
    let load = vps.load();
    for version in ["two", "three"] {
        vps.write(version, "", &settings);
        vps.deploy();
        vps.until("no deploy under way", |status| status["deploy"].is_null());
    }
    says(&vps.alcedo(&["rollback"]), 0, &["switch"]);
    let tally = load.stop().unwrap();
    assert!(tally.ok > 500, "{} requests under the deploys", tally.ok);
    assert_eq!(tally.releases.len(), 3, "each release answered");
    Some(tally)
}

fn loses_nothing(runner: &str, router: &str) {
    let Some(tally) = tally(runner, router) else { return };
    assert_eq!(tally.lost, 0, "lost: {}", tally.losses_in_words());
}

/// A reload closes idle connections: at most the one request that was on its way on each (facts: rate × round trip).
fn loses_at_most_one_for_each_connection_and_reload(runner: &str) {
    let Some(tally) = tally(runner, RELOAD) else { return };
    let most = SWITCHES * crate::systemd::CONNECTIONS;
    assert!(tally.lost <= most, "{} lost: {}", tally.lost, tally.losses_in_words());
}

#[test]
fn process_runner_behind_the_embedded_router_loses_nothing() {
    loses_nothing(PROCESS, EMBEDDED);
}

#[test]
fn process_runner_behind_nginx_by_flag_loses_nothing() {
    loses_nothing(PROCESS, FLAG);
}

#[test]
fn process_runner_behind_nginx_by_reload_loses_what_the_plan_says() {
    loses_at_most_one_for_each_connection_and_reload(PROCESS);
}

#[test]
fn systemd_runner_behind_the_embedded_router_loses_nothing() {
    loses_nothing(SYSTEMD, EMBEDDED);
}

#[test]
fn systemd_runner_behind_nginx_by_flag_loses_nothing() {
    loses_nothing(SYSTEMD, FLAG);
}

#[test]
fn systemd_runner_behind_nginx_by_reload_loses_what_the_plan_says() {
    loses_at_most_one_for_each_connection_and_reload(SYSTEMD);
}
