//! Crashes: the simulated host enumerates every one of them; the real daemon is killed at random.

use super::Programs;
use super::lost::{count, kill_daemon_during_deploys};
use super::sheet::{Sheet, Wanted};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    simulated(sheet)?;
    real(programs, sheet)
}

fn simulated(sheet: &mut Sheet) -> Result<()> {
    let mut tests = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tests.args([
        "test",
        "--release",
        "--quiet",
        "-p",
        "alcedo",
        "--bins",
        "every_crash",
        "--",
        "--nocapture",
    ]);
    tests.current_dir(xtask::repository()).stdin(Stdio::null());
    if !sheet.quick {
        tests.env("ALCEDO_SIM_WHOLE", "1");
    }
    sheet.progress("simulated crashes");
    let output = tests.output().context("run the simulation")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let cases = text.lines().filter_map(cases).sum::<u64>();
    let how = "SimHost: a crash at every effect and append × {before, after, torn} × a second crash in recovery, and the n-th effect failing, over deploy, rollback, abort and first deploy; unsynced data and directory entries are lost";
    sheet.put("simulated cases", count(cases), "", Wanted::AtLeast(10_000.0), cases, how);
    let failed = u64::from(!output.status.success());
    sheet.put(
        "simulated scenarios that broke a law",
        count(failed),
        "",
        Wanted::AtMost(0.0),
        cases,
        how,
    );
    Ok(())
}

/// `SimHost: 12345 crash and failure cases ran`.
fn cases(line: &str) -> Option<u64> {
    line.split_once("SimHost: ")?.1.split_whitespace().next()?.parse().ok()
}

fn real(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let kills = u64::from(sheet.rounds(100, 5));
    let outcome = kill_daemon_during_deploys(programs, sheet, kills)?;
    let how = format!(
        "the daemon killed with -9 at random instants during {} deploys under load (64 keep-alive connections)",
        outcome.deploys
    );
    sheet.put(
        "daemon kills",
        count(outcome.kills),
        "",
        Wanted::AtLeast(count(kills)),
        outcome.kills,
        &how,
    );
    let wrong = outcome.deploys - outcome.ended_right;
    let ended = format!(
        "{how}; after each: no deploy under way, router and journal agree, the active release answers"
    );
    sheet.put(
        "deploys that did not end right",
        count(wrong),
        "",
        Wanted::AtMost(0.0),
        outcome.deploys,
        &ended,
    );
    let lost = format!("{how}; lost: {}", outcome.tally.losses_in_words());
    sheet.put(
        "requests lost",
        count(outcome.tally.lost),
        "",
        Wanted::AtMost(0.0),
        outcome.tally.sent,
        &lost,
    );
    let twice = outcome.rig.records()?.twice();
    sheet.put(
        "POSTs that ran twice",
        count(twice),
        "",
        Wanted::AtMost(0.0),
        outcome.tally.posts.len() as u64,
        &how,
    );
    Ok(())
}
