//! Requests lost over full deploys: a new process is started, the old one drained and stopped, while load runs. The app
//! counts too: a POST that ran twice is a failure, and so is one that was answered and never ran.

use super::Programs;
use super::rig::{Records, Rig};
use super::sheet::{Sheet, Wanted};
use anyhow::{Context, Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xtask::home::poll_until;
use xtask::load::{Load, Relay, Shape, Tally, Target};

const CONNECTIONS: usize = 64;
/// Of them, those that ask for answers of 10 to 40 ms: in flight inside the app at any instant.
const SLOW: usize = 40;
/// Each way.
const RELAY_DELAY: Duration = Duration::from_millis(10);
const OPEN_PER_SECOND: f64 = 800.0;
/// The old slot stops as soon as it has drained: nothing is kept warm.
pub(super) const SETTINGS: &str =
    "bake.time = \"0s\"\nbake.keep_warm = \"0s\"\ndrain.requests = \"10s\"";

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    closed(programs, sheet)?;
    open(programs, sheet)?;
    killed(programs, sheet)
}

fn closed(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let deploys = sheet.rounds(200, 8);
    let requests = u64::from(sheet.rounds(1_000_000, 20_000));
    let mut rig = begun(programs)?;
    let load = Load::start(rig.target(), Shape::Closed { connections: CONNECTIONS, slow: SLOW })?;
    deploy_under(&mut rig, sheet, &load, deploys)?;
    let limit = Duration::from_secs(600);
    poll_until(limit, || (load.answered() + load.lost() >= requests).then_some(()))
        .context("send enough requests")?;
    let tally = load.stop()?;
    let how = format!(
        "{deploys} full deploys by `alcedo deploy`, closed loop, {CONNECTIONS} keep-alive connections, GET and POST with bodies, one attempt each, lost = no correct answer within 5 s"
    );
    put(sheet, "", &rig, &tally, &how)?;
    let least = tally.in_flight_min.unwrap_or(0);
    sheet.put(
        "requests sent",
        count(tally.sent),
        "",
        Wanted::AtLeast(count(requests)),
        tally.sent,
        &how,
    );
    let how = "the least number without an answer yet, at every instant from the first full load to the end, so at every switch and stop";
    sheet.put("least in flight", count(least), "", Wanted::AtLeast(32.0), tally.sent, how);
    Ok(())
}

fn open(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let deploys = sheet.rounds(200, 5);
    let mut rig = begun(programs)?;
    let relay = Relay::start(rig.address, RELAY_DELAY)?;
    let target = Target { address: relay.address, ..rig.target() };
    let load = Load::start(target, Shape::Open { per_second: OPEN_PER_SECOND, connections: 256 })?;
    deploy_under(&mut rig, sheet, &load, deploys)?;
    let tally = load.stop()?;
    let how = format!(
        "{deploys} full deploys, open loop at {OPEN_PER_SECOND:.0} requests/s through a relay with 20 ms round trip, GET and POST, one attempt each"
    );
    put(sheet, ", open loop at 20 ms", &rig, &tally, &how)
}

fn killed(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let kills = u64::from(sheet.rounds(100, 5));
    let outcome = kill_daemon_during_deploys(programs, sheet, kills)?;
    let how = format!(
        "{} deploys while the daemon was killed with -9 at random {} times; closed loop, {CONNECTIONS} keep-alive connections",
        outcome.deploys, outcome.kills
    );
    put(sheet, ", daemon killed", &outcome.rig, &outcome.tally, &how)
}

/// What came of killing the daemon.
pub(super) struct Killed {
    pub(super) rig: Rig,
    pub(super) tally: Tally,
    pub(super) deploys: u64,
    pub(super) kills: u64,
    /// Deploys after which no deploy was under way any more and the router's target answered as the active release.
    pub(super) ended_right: u64,
}

/// Deploys under load until the daemon was killed so often, at random instants. Every deploy has to come to its end.
pub(super) fn kill_daemon_during_deploys(
    programs: &Programs,
    sheet: &Sheet,
    kills: u64,
) -> Result<Killed> {
    let rig = begun(programs)?;
    let load = Load::start(rig.target(), Shape::Closed { connections: CONNECTIONS, slow: SLOW })?;
    let (killed, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (mut deploys, mut ended_right) = (0, 0);
    std::thread::scope(|scope| -> Result<()> {
        let home = &rig.home;
        let (count, stopping) = (killed.clone(), stop.clone());
        // A second handle on the same home: only its processes are looked at.
        let home_path = home.path().to_owned();
        let killer = scope.spawn(move || kill_at_random(&home_path, &count, &stopping, kills));
        let deadline = Instant::now() + Duration::from_secs(1_500);
        while killed.load(Ordering::Relaxed) < kills && Instant::now() < deadline {
            std::fs::write(rig.app.join("src/build"), format!("killed {deploys}\n"))?;
            // Its exit status is not what counts: the command may lose the daemon, the deploy may not.
            rig.try_alcedo(&["deploy", "--json", "-y"])?;
            deploys += 1;
            let status = rig.settle(Duration::from_secs(60))?;
            let active = status["active"].as_str().unwrap_or_default();
            let release =
                status["slots"][active]["release"].as_str().unwrap_or_default().to_owned();
            let answers = poll_until(Duration::from_secs(5), || {
                load.so_far().releases.contains_key(&release).then_some(())
            });
            let is_right = answers.is_some()
                && status["router"]["drift"] == false
                && status["router"]["target"] == active;
            ended_right += u64::from(is_right);
            if !is_right {
                sheet.progress(&format!("not as it should be: {status}"));
            }
        }
        stop.store(true, Ordering::Relaxed);
        killer.join().map_err(|_| anyhow::anyhow!("the killing thread panicked"))
    })?;
    let kills = killed.load(Ordering::Relaxed);
    let tally = load.stop()?;
    Ok(Killed { rig, tally, deploys, kills, ended_right })
}

fn kill_at_random(home: &std::path::Path, count: &AtomicU64, stop: &AtomicBool, kills: u64) {
    while !stop.load(Ordering::Relaxed) && count.load(Ordering::Relaxed) < kills {
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..900)));
        if let Some(daemon) = xtask::home::process_of(home, "daemon") {
            daemon.kill();
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The first release is live.
fn begun(programs: &Programs) -> Result<Rig> {
    let mut rig = Rig::new(programs, SETTINGS)?;
    rig.deploy(&[])?;
    Ok(rig)
}

pub(super) fn deploy_under(rig: &mut Rig, sheet: &Sheet, load: &Load, deploys: u32) -> Result<()> {
    for number in 1..=deploys {
        rig.deploy(&[])?;
        if number.is_multiple_of(10) {
            sheet.progress(&format!(
                "{number} of {deploys} deploys, {} answered, {} lost",
                load.answered(),
                load.lost()
            ));
        }
    }
    rig.settle(Duration::from_secs(60))?;
    Ok(())
}

pub(super) fn put(
    sheet: &mut Sheet,
    suffix: &str,
    rig: &Rig,
    tally: &Tally,
    how: &str,
) -> Result<()> {
    let records: Records = rig.records()?;
    ensure!(records.processes > 1, "find what the app wrote down");
    let lost = format!("{how}; lost: {}", tally.losses_in_words());
    sheet.put(
        &format!("requests lost{suffix}"),
        count(tally.lost),
        "",
        Wanted::AtMost(0.0),
        tally.sent,
        &lost,
    );
    let posts = tally.posts.len() as u64;
    let how = format!(
        "counted by the app in an append-only file for each of its {} processes",
        records.processes
    );
    sheet.put(
        &format!("POSTs that ran twice{suffix}"),
        count(records.twice()),
        "",
        Wanted::AtMost(0.0),
        posts,
        &how,
    );
    let missing = records.missing(&tally.posts);
    sheet.put(
        &format!("POSTs answered that never ran{suffix}"),
        count(missing),
        "",
        Wanted::AtMost(0.0),
        posts,
        &how,
    );
    let how = format!("at TERM of {} processes that were stopped", records.terms);
    let cut = count(records.in_flight_at_term);
    sheet.put(
        &format!("requests in flight in a stopped process{suffix}"),
        cut,
        "",
        Wanted::AtMost(0.0),
        records.terms,
        &how,
    );
    Ok(())
}

/// Counts are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}
