//! What alcedo itself takes: memory after load, CPU when nothing happens, start and size.

use super::Programs;
use super::rig::Rig;
use super::sheet::{Sheet, Wanted, median};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::home::Process;
use xtask::load::{Load, Shape};

const IDLE: Duration = Duration::from_secs(600);

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    start_and_size(programs, sheet)?;
    let mut rig = Rig::new(programs, "bake.time = \"0s\"\nbake.keep_warm = \"forever\"")?;
    rig.deploy(&[])?;
    let load = Load::start(rig.target(), Shape::Closed { connections: 64, slow: 8 })?;
    for _ in 0..sheet.rounds(5, 2) {
        rig.deploy(&[])?;
    }
    std::thread::sleep(Duration::from_secs(sheet.rounds(30, 5).into()));
    let requests = load.stop()?.ok;
    memory(&rig, sheet, requests)?;
    idle(&rig, sheet)
}

fn memory(rig: &Rig, sheet: &mut Sheet, requests: u64) -> Result<()> {
    let how = format!("Private_* of smaps_rollup after deploys and {requests} requests");
    let daemon = rig.home.process("daemon").context("find the daemon")?.private_bytes();
    let proxy = rig.home.process("proxy").context("find the proxy")?.private_bytes();
    let shims: Vec<f64> = shims(rig).iter().map(|shim| mb(shim.private_bytes())).collect();
    sheet.put(
        "daemon + proxy, private memory",
        mb(daemon + proxy),
        "MB",
        Wanted::Under(20.0),
        1,
        &how,
    );
    sheet.put("daemon, private memory", mb(daemon), "MB", Wanted::Shown, 1, &how);
    sheet.put("proxy, private memory", mb(proxy), "MB", Wanted::Shown, 1, &how);
    let largest = shims.iter().copied().fold(0.0, f64::max);
    sheet.put(
        "largest shim, private memory",
        largest,
        "MB",
        Wanted::Under(2.0),
        shims.len() as u64,
        &how,
    );
    Ok(())
}

fn idle(rig: &Rig, sheet: &mut Sheet) -> Result<()> {
    let span = if sheet.quick { IDLE / 20 } else { IDLE };
    let mut processes = shims(rig);
    processes.extend(rig.home.process("daemon"));
    processes.extend(rig.home.process("proxy"));
    sheet.progress(&format!("{} s without traffic", span.as_secs()));
    let before = nanoseconds(&processes);
    std::thread::sleep(span);
    let used_ms = (nanoseconds(&processes) - before) / 1e6;
    let scale = IDLE.as_secs_f64() / span.as_secs_f64();
    let scaled = if sheet.quick {
        format!(", measured over {} s and multiplied by {scale:.0}", span.as_secs())
    } else {
        String::new()
    };
    let how = format!(
        "schedstat of all threads of daemon, proxy and {} shims, two slots running{scaled}",
        processes.len() - 2
    );
    sheet.put("CPU in ten idle minutes", used_ms * scale, "ms", Wanted::Under(300.0), 1, &how);
    Ok(())
}

fn start_and_size(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let rounds = sheet.rounds(100, 30);
    let mut took_ms = Vec::new();
    for _ in 0..rounds {
        let mut command = Command::new(&programs.alcedo);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null());
        let since = Instant::now();
        command.status()?;
        took_ms.push(since.elapsed().as_secs_f64() * 1e3);
    }
    sheet.put(
        "alcedo --version",
        median(&took_ms),
        "ms",
        Wanted::Under(5.0),
        rounds.into(),
        "from spawn to exit, median",
    );
    let bytes = std::fs::metadata(&programs.alcedo)?.len();
    sheet.put(
        "binary",
        mb(bytes),
        "MB",
        Wanted::Under(20.0),
        1,
        "target/release/alcedo, stripped, linked to the system's libc",
    );
    Ok(())
}

fn shims(rig: &Rig) -> Vec<Process> {
    rig.home.processes().into_iter().filter(Process::is_shim).collect()
}

/// Time on a core, all threads, in nanoseconds: finer than the clock ticks of `/proc/PID/stat`.
fn nanoseconds(processes: &[Process]) -> f64 {
    let mut sum = 0.0;
    for process in processes {
        let threads = std::fs::read_dir(format!("/proc/{}/task", process.pid));
        for thread in threads.into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    sum
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
