//! The process runner behind a stock nginx: requests lost over full deploys by flag and, in the same run, by reload; how
//! long a rollback and a deploy take.

use super::Programs;
use super::lost::{self, SETTINGS};
use super::rig::{Rig, ended};
use super::sheet::{Sheet, Wanted, median, quantile};
use anyhow::{Context, Result};
use std::time::Duration;
use xtask::load::{Load, Relay, Shape, Tally, Target};
use xtask::nginx::Nginx;

const CONNECTIONS: usize = 64;
/// Each way.
const RELAY_DELAY: Duration = Duration::from_millis(10);
const OPEN_PER_SECOND: f64 = 900.0;
const FLAG: &str = "router.kind = \"nginx\"\nrouter.form = \"flag\"";
const RELOAD: &str =
    "router.kind = \"nginx\"\nrouter.form = \"include\"\naccept = [\"router.reload\"]";

/// `lost-nginx`.
pub(super) fn lost(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let deploys = sheet.rounds(100, 4);
    let (rig, tally, _nginx) = under(programs, sheet, FLAG, deploys, Rate::Full)?;
    let how = format!(
        "{deploys} full deploys by `alcedo deploy`, process runner, nginx by flag, closed loop, {CONNECTIONS} keep-alive connections, GET and POST, one attempt each"
    );
    lost::put(sheet, ", flag, full rate", &rig, &tally, &how)?;
    drop(rig);
    let (rig, tally, _nginx) = under(programs, sheet, FLAG, deploys, Rate::RoundTrip)?;
    let how = format!(
        "{deploys} full deploys, nginx by flag, open loop at {OPEN_PER_SECOND:.0} requests/s through a relay with 20 ms round trip, {CONNECTIONS} keep-alive connections, GET and POST, one attempt each"
    );
    lost::put(sheet, ", flag, 20 ms", &rig, &tally, &how)?;
    drop(rig);
    let deploys = sheet.rounds(20, 3);
    for (rate, words) in [(Rate::Full, "full rate"), (Rate::RoundTrip, "20 ms")] {
        let (_rig, tally, _nginx) = under(programs, sheet, RELOAD, deploys, rate)?;
        let how = format!(
            "{deploys} full deploys, the same load, nginx by include file and reload; lost: {}",
            tally.losses_in_words()
        );
        let lost = lost::count(tally.lost);
        sheet.put(
            &format!("requests lost, reload, {words}"),
            lost,
            "",
            Wanted::Shown,
            tally.sent,
            &how,
        );
        sheet.put(
            &format!("requests lost per deploy, reload, {words}"),
            lost / f64::from(deploys),
            "",
            Wanted::Shown,
            u64::from(deploys),
            &how,
        );
    }
    Ok(())
}

/// `rollback-nginx`.
pub(super) fn rollback(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    rollbacks(programs, sheet, FLAG, "flag", Wanted::Under(100.0))?;
    rollbacks(programs, sheet, RELOAD, "reload", Wanted::Shown)?;
    deploys(programs, sheet)
}

#[derive(Clone, Copy)]
enum Rate {
    Full,
    RoundTrip,
}

/// Deploys while that load runs. The first deploy, with the reload that brings the site, comes before.
fn under(
    programs: &Programs,
    sheet: &Sheet,
    router: &str,
    deploys: u32,
    rate: Rate,
) -> Result<(Rig, Tally, Nginx)> {
    let nginx = Nginx::start()?;
    let mut rig = Rig::behind(programs, &nginx, &format!("{router}\n{SETTINGS}"))?;
    rig.deploy(&[])?;
    let (relay, shape) = match rate {
        Rate::Full => (None, Shape::Closed { connections: CONNECTIONS, slow: 8 }),
        Rate::RoundTrip => {
            let relay = Relay::start(rig.address, RELAY_DELAY)?;
            (Some(relay), Shape::Open { per_second: OPEN_PER_SECOND, connections: CONNECTIONS })
        }
    };
    let address = relay.as_ref().map_or(rig.address, |relay| relay.address);
    let load = Load::start(Target { address, ..rig.target() }, shape)?;
    lost::deploy_under(&mut rig, sheet, &load, deploys)?;
    let tally = load.stop()?;
    Ok((rig, tally, nginx))
}

fn rollbacks(
    programs: &Programs,
    sheet: &mut Sheet,
    router: &str,
    form: &str,
    wanted: Wanted,
) -> Result<()> {
    let rounds = sheet.rounds(50, 5);
    let nginx = Nginx::start()?;
    let settings = format!("{router}\nbake.time = \"10m\"\nbake.keep_warm = \"30m\"");
    let mut rig = Rig::behind(programs, &nginx, &settings)?;
    let took_ms = super::switch::rollback_times_ms(&mut rig, rounds)?;
    let how = format!(
        "`alcedo rollback` to a warm slot, nginx by {form}, from spawn of the command to its exit, verification included; a deploy before each; the posts: 3 s"
    );
    let n = u64::from(rounds);
    let name = |quantile: &str| format!("rollback by {form}, whole command, {quantile}");
    sheet.put(&name("p95"), quantile(&took_ms, 0.95), "ms", wanted, n, &how);
    sheet.put(&name("p50"), median(&took_ms), "ms", Wanted::Shown, n, &how);
    Ok(())
}

fn deploys(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let rounds = sheet.rounds(50, 5);
    let nginx = Nginx::start()?;
    let mut rig = Rig::behind(programs, &nginx, &format!("{FLAG}\n{SETTINGS}"))?;
    rig.deploy(&[])?;
    let (mut own_ms, mut whole_ms) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let run = rig.deploy(&[])?;
        let release = ended(&run)?["release"].as_str().context("read the release")?.to_owned();
        let start_ns =
            *rig.records()?.start_ns.get(&release).context("find the app's own record")?;
        let whole = run.took.as_secs_f64() * 1e3;
        whole_ms.push(whole);
        own_ms.push(whole - lost::count(start_ns) / 1e6);
        rig.settle(Duration::from_secs(60))?;
    }
    let how = "`alcedo deploy`, nginx by flag, healthy_after = 1, health.interval = 20 ms, no bake, from spawn of the command to its exit, minus the app's own time from main to its first health answer; the posts: 2.5 s";
    let n = u64::from(rounds);
    let wanted = Wanted::Under(500.0);
    sheet.put("deploy by flag minus its start, p95", quantile(&own_ms, 0.95), "ms", wanted, n, how);
    sheet.put("deploy by flag minus its start, p50", median(&own_ms), "ms", Wanted::Shown, n, how);
    let whole = median(&whole_ms);
    sheet.put("deploy by flag, whole command, p50", whole, "ms", Wanted::Shown, n, how);
    Ok(())
}
