//! How long a switch, a rollback and a deploy take.

use super::Programs;
use super::proxy::{LIMIT, Proxy, target};
use super::rig::{Rig, ended};
use super::sheet::{Sheet, Wanted, median, quantile};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xtask::home::{free_port, poll_until};
use xtask::load::{Dialect, Load, Shape, Tally, Target};

/// A request is always under way, and the machine keeps up.
const BUSY: usize = 2;
/// More than two cores can do.
const FULL: usize = 64;

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    switches(programs, sheet)?;
    rollbacks(programs, sheet)?;
    deploys(programs, sheet)
}

fn switches(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let busy = Switches::measure(programs, sheet.rounds(1_000, 100), BUSY)?;
    let full = Switches::measure(programs, sheet.rounds(1_000, 100), FULL)?;
    busy.put_first(sheet, "busy", Wanted::Under(1.0));
    full.put_first(sheet, "full", Wanted::Shown);
    let how = format!("wall time of the control call beside {BUSY} connections");
    let n = busy.first_ms.len() as u64;
    let (median_us, p99_us) = (median(&busy.answer_us), quantile(&busy.answer_us, 0.99));
    sheet.put("command to durable answer, p50", median_us, "µs", Wanted::Shown, n, &how);
    sheet.put("command to durable answer, p99", p99_us, "µs", Wanted::Shown, n, &how);
    let how = "write, fsync, rename, fsync of the directory, as the proxy measured it";
    let durable_us = median(&busy.durable_us);
    sheet.put("of it, making it durable, p50", durable_us, "µs", Wanted::Shown, n, how);
    let how = "the same four calls by this program, in the same directory, between the switches";
    let disk_us = median(&busy.fsync_us);
    sheet.put("the disk's own time for that, p50", disk_us, "µs", Wanted::Shown, n, how);
    for (switches, load) in [(&busy, "busy"), (&full, "full")] {
        let how = format!("during these switches; {}", switches.tally.losses_in_words());
        let (lost, sent) = (as_f64(switches.tally.lost), switches.tally.sent);
        sheet.put(&format!("requests lost, {load}"), lost, "", Wanted::AtMost(0.0), sent, &how);
    }
    Ok(())
}

/// Switches to and fro between two apps under load.
struct Switches {
    connections: usize,
    first_ms: Vec<f64>,
    answer_us: Vec<f64>,
    durable_us: Vec<f64>,
    fsync_us: Vec<f64>,
    tally: Tally,
}

impl Switches {
    fn measure(programs: &Programs, rounds: u32, connections: usize) -> Result<Self> {
        let mut proxy = Proxy::start(programs)?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let apps = [App::start(programs, "zero")?, App::start(programs, "zero")?];
        proxy.serve("bench", listen, None, target("begin", apps[0].address))?;
        let to = Target { address: listen, host: "bench".to_owned(), dialect: Dialect::Kit };
        let load = Load::start(to, Shape::Closed { connections, slow: 0 })?;
        poll_until(LIMIT, || (load.answered() > 1_000).then_some(())).context("see answers")?;
        let (mut first_ms, mut answer_us) = (vec![], vec![]);
        let (mut durable_us, mut fsync_us) = (vec![], vec![]);
        for round in 1..=rounds {
            let label = format!("r{round}");
            let target = target(&label, apps[(round % 2) as usize].address);
            let since = Instant::now();
            let switched = proxy.client.switch("bench", u64::from(round), &label, target, LIMIT)?;
            answer_us.push(since.elapsed().as_secs_f64() * 1e6);
            durable_us.push(as_f64(switched.durable_us));
            let first = poll_until(LIMIT, || load.first_seen(&label))
                .context("see the new target answer")?;
            first_ms.push(as_f64(first.saturating_sub(switched.published_ns)) / 1e6);
            fsync_us.push(one_durable_write(proxy.home.path())?);
        }
        let tally = load.stop()?;
        Ok(Self { connections, first_ms, answer_us, durable_us, fsync_us, tally })
    }

    fn put_first(&self, sheet: &mut Sheet, load: &str, wanted: Wanted) {
        let what = if load == "full" { ": both cores full, so this is the run queue" } else { "" };
        let how = format!(
            "{} connections in closed loop{what}; the app's clock when it got the first request with the new target's label, minus the proxy's when it published the target; one monotonic clock",
            self.connections
        );
        let n = self.first_ms.len() as u64;
        for (name, q, wanted) in [("p99", 0.99, wanted), ("p50", 0.5, Wanted::Shown)] {
            let figure = format!("publish to first request on the new target, {load}, {name}");
            sheet.put(&figure, quantile(&self.first_ms, q), "ms", wanted, n, &how);
        }
    }
}

fn rollbacks(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let rounds = sheet.rounds(50, 5);
    let mut rig = Rig::new(programs, "bake.time = \"10m\"\nbake.keep_warm = \"30m\"")?;
    let took_ms = rollback_times_ms(&mut rig, rounds)?;
    let how = "`alcedo rollback` to a warm slot, from spawn of the command to its exit, verification included; a deploy before each";
    sheet.put(
        "rollback to a warm slot, whole command, p95",
        quantile(&took_ms, 0.95),
        "ms",
        Wanted::Under(100.0),
        u64::from(rounds),
        how,
    );
    sheet.put(
        "rollback to a warm slot, whole command, p50",
        median(&took_ms),
        "ms",
        Wanted::Shown,
        u64::from(rounds),
        how,
    );
    Ok(())
}

/// `alcedo rollback` to a warm slot, a deploy before each: from spawn of the command to its exit.
pub(super) fn rollback_times_ms(rig: &mut Rig, rounds: u32) -> Result<Vec<f64>> {
    rig.deploy(&[])?;
    let mut took_ms = Vec::new();
    for _ in 0..rounds {
        rig.deploy(&[])?;
        let run = rig.alcedo(&["rollback"])?;
        took_ms.push(run.took.as_secs_f64() * 1e3);
        rig.settle(Duration::from_secs(60))?;
    }
    Ok(took_ms)
}

fn deploys(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let rounds = sheet.rounds(50, 5);
    let mut rig = Rig::new(programs, super::lost::SETTINGS)?;
    pad_to_5_mb(&rig.app.join("src/xtask"))?;
    rig.deploy(&[])?;
    let (mut own_ms, mut whole_ms) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        renew(&rig.app.join("src/xtask"))?;
        let run = rig.deploy(&[])?;
        let release = ended(&run)?["release"].as_str().context("read the release")?.to_owned();
        let start_ns =
            *rig.records()?.start_ns.get(&release).context("find the app's own record")?;
        whole_ms.push(run.took.as_secs_f64() * 1e3);
        own_ms.push(run.took.as_secs_f64() * 1e3 - as_f64(start_ns) / 1e6);
        rig.settle(Duration::from_secs(60))?;
    }
    let n = u64::from(rounds);
    let how = "`alcedo deploy` of a directory with a binary of 5 MB that changed, healthy_after = 1, health.interval = 20 ms, from spawn of the command to its exit (switch verified), minus the app's own time from main to its first health answer";
    sheet.put(
        "deploy of a 5 MB binary minus its start, p95",
        quantile(&own_ms, 0.95),
        "ms",
        Wanted::Under(300.0),
        n,
        how,
    );
    sheet.put(
        "deploy of a 5 MB binary minus its start, p50",
        median(&own_ms),
        "ms",
        Wanted::Shown,
        n,
        how,
    );
    sheet.put(
        "deploy of a 5 MB binary, whole command, p50",
        median(&whole_ms),
        "ms",
        Wanted::Shown,
        n,
        how,
    );
    Ok(())
}

/// The app under test, outside any deploy.
struct App {
    address: SocketAddr,
    child: Child,
}

impl App {
    fn start(programs: &Programs, release: &str) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(&programs.xtask);
        command.args(["app", "--port", &port.to_string(), "--release", release]);
        let child = command.stdin(Stdio::null()).spawn()?;
        let app = Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), child };
        poll_until(LIMIT, || std::net::TcpStream::connect(app.address).ok())
            .context("reach the app")?;
        Ok(app)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Temporary file, fsync, rename, fsync of the directory: what a durable switch costs at least. In microseconds.
fn one_durable_write(dir: &Path) -> Result<f64> {
    let (temporary, path) = (dir.join("fsync.tmp"), dir.join("fsync"));
    let since = Instant::now();
    let mut file = File::create(&temporary)?;
    file.write_all(&[b'x'; 600])?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(since.elapsed().as_secs_f64() * 1e6)
}

/// Bytes after the end of an ELF file are ignored by whoever starts it.
fn pad_to_5_mb(binary: &Path) -> Result<()> {
    let bytes = std::fs::metadata(binary)?.len();
    let missing = usize::try_from(5_000_000_u64.saturating_sub(bytes))?.max(8);
    let mut file = std::fs::OpenOptions::new().append(true).open(binary)?;
    Ok(file.write_all(&(0..missing).map(|_| fastrand::u8(..)).collect::<Vec<_>>())?)
}

/// The last bytes change, as after a build.
fn renew(binary: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let bytes = std::fs::metadata(binary)?.len();
    let file = std::fs::OpenOptions::new().write(true).open(binary)?;
    Ok(file.write_all_at(&fastrand::u64(..).to_le_bytes(), bytes - 8)?)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
