//! `wrk`, the load that everybody knows: as many requests as the proxy takes, 64 keep-alive connections, one thread.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// What one run did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) requests: u64,
    pub(super) per_second: f64,
}

/// Runs it for some seconds; `core` pins it.
pub(super) fn run(url: &str, host: Option<&str>, seconds: u32, core: Option<u32>) -> Result<Done> {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string(), "wrk"]);
            command
        }
        None => Command::new("wrk"),
    };
    command.args(["-t1", "-c64", &format!("-d{seconds}s"), "--timeout", "5s"]);
    if let Some(host) = host {
        command.args(["-H", &format!("Host: {host}")]);
    }
    let output = command.arg(url).output().context("run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "run wrk: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "get only good answers:\n{text}"
    );
    let requests =
        text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let rate =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    Ok(Done {
        requests: requests.context("read wrk's words")?,
        per_second: rate.context("read wrk's words")?,
    })
}
