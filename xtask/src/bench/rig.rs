//! A whole alcedo in a private home with one app, deployed by the command as a user types it.

use super::Programs;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use xtask::home::{Home, Run, free_port, poll_until};
use xtask::load::{Dialect, Target};
use xtask::nginx::Nginx;

/// The app, its settings, and where it keeps its records.
pub(super) struct Rig {
    pub(super) home: Home,
    pub(super) app: PathBuf,
    pub(super) records: PathBuf,
    pub(super) address: SocketAddr,
    builds: u64,
}

/// What the processes of the app wrote down.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Processes that were started.
    pub(super) processes: u64,
    /// How often each POST was run.
    pub(super) posts: BTreeMap<u64, u64>,
    /// Requests in flight when the processes got their TERM.
    pub(super) in_flight_at_term: u64,
    /// Processes that got a TERM.
    pub(super) terms: u64,
    /// From `main` to the first health answer, by release, in nanoseconds.
    pub(super) start_ns: BTreeMap<String, u64>,
}

impl Rig {
    /// An app of which no release is live yet; `settings` are further lines of `alcedo.toml`.
    pub(super) fn new(programs: &Programs, settings: &str) -> Result<Self> {
        Self::in_home(programs, Home::new(&programs.alcedo)?, settings)
    }

    /// The same behind a private nginx.
    pub(super) fn behind(programs: &Programs, nginx: &Nginx, settings: &str) -> Result<Self> {
        Self::in_home(programs, Home::new(&programs.alcedo)?.with_nginx(nginx)?, settings)
    }

    fn in_home(programs: &Programs, home: Home, settings: &str) -> Result<Self> {
        let app = home.path().join("bench");
        let records = home.path().join("records");
        std::fs::create_dir_all(app.join("src"))?;
        std::fs::create_dir_all(&records)?;
        std::fs::copy(&programs.xtask, app.join("src/xtask"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let text = format!(
            "app = \"bench\"
release.source = \"src\"
web.command = \"./xtask app --port {{port}} --release {{release}}\"
env.APP_LOG_DIR = \"{records}\"
health.path = \"/healthz\"
health.release = \"json:/release\"
health.healthy_after = 1
health.interval = \"20ms\"
router.listen = [\"{address}\"]
{settings}
",
            records = records.display()
        );
        std::fs::write(app.join("alcedo.toml"), text)?;
        Ok(Self { home, app, records, address, builds: 0 })
    }

    /// Where the load goes.
    pub(super) fn target(&self) -> Target {
        Target { address: self.address, host: self.address.to_string(), dialect: Dialect::Kit }
    }

    /// New content to deploy, as a build makes it.
    pub(super) fn build(&mut self) -> Result<()> {
        self.builds += 1;
        Ok(std::fs::write(self.app.join("src/build"), format!("{}\n", self.builds))?)
    }

    /// `alcedo ARGS`, whatever comes of it.
    pub(super) fn try_alcedo(&self, args: &[&str]) -> Result<Run> {
        self.home.run(&self.app, args)
    }

    /// `alcedo ARGS`, which has to end with 0.
    pub(super) fn alcedo(&self, args: &[&str]) -> Result<Run> {
        let run = self.try_alcedo(args)?;
        ensure!(
            run.code == Some(0),
            "run alcedo {}: exit {:?}\n{}{}",
            args.join(" "),
            run.code,
            run.stdout,
            run.stderr
        );
        Ok(run)
    }

    /// Builds and deploys; returns the run with `--json`.
    pub(super) fn deploy(&mut self, more: &[&str]) -> Result<Run> {
        self.build()?;
        self.alcedo(&[&["deploy", "--json", "-y", "--wait-lock", "2m"], more].concat())
    }

    /// The app's part of `status --json`.
    pub(super) fn status(&self) -> Result<Value> {
        let run = self.try_alcedo(&["status", "--json"])?;
        let all: Value = serde_json::from_str(&run.stdout)
            .with_context(|| format!("read the status: {}{}", run.stdout, run.stderr))?;
        let apps = all["apps"].as_array().context("find apps in the status")?;
        apps.iter().find(|app| app["app"] == "bench").cloned().context("find the app in the status")
    }

    /// Waits until no deploy is under way and the other slot is empty; returns the status then.
    pub(super) fn settle(&self, limit: Duration) -> Result<Value> {
        let mut last = None;
        let settled = poll_until(limit, || {
            let status = self.status().ok()?;
            last = Some(status.clone());
            let is_idle_stopped = ["blue", "green"].iter().all(|slot| {
                let slot = &status["slots"][slot];
                slot["role"] == "active"
                    || matches!(slot["state"].as_str(), Some("empty" | "stopped" | "failed"))
            });
            (status["deploy"].is_null() && is_idle_stopped).then_some(status)
        });
        settled.with_context(|| format!("see it settle within {limit:?}: {last:?}"))
    }

    /// Reads what the app's processes wrote down.
    pub(super) fn records(&self) -> Result<Records> {
        let mut records = Records::default();
        for entry in std::fs::read_dir(&self.records)? {
            records.add(&std::fs::read_to_string(entry?.path())?);
        }
        Ok(records)
    }
}

impl Records {
    /// POSTs that ran more than once.
    pub(super) fn twice(&self) -> u64 {
        self.posts.values().filter(|times| **times > 1).count() as u64
    }

    /// POSTs that were answered and never ran.
    pub(super) fn missing(&self, answered: &[u64]) -> u64 {
        let answered: BTreeSet<&u64> = answered.iter().collect();
        answered.into_iter().filter(|id| !self.posts.contains_key(id)).count() as u64
    }

    fn add(&mut self, text: &str) {
        let mut spawned = (0, String::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number =
                |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            match words[0] {
                "spawned" => {
                    self.processes += 1;
                    spawned = (number(1), words.get(2).copied().unwrap_or_default().to_owned());
                }
                "healthy" => {
                    self.start_ns
                        .entry(spawned.1.clone())
                        .or_insert(number(1).saturating_sub(spawned.0));
                }
                "post" => *self.posts.entry(number(1)).or_default() += 1,
                "term" => {
                    self.terms += 1;
                    self.in_flight_at_term += number(2);
                }
                _ => {}
            }
        }
    }
}

/// The last line of a `--json` run: `{"event":"ended",…}`.
pub(super) fn ended(run: &Run) -> Result<Value> {
    let last =
        run.stdout.lines().rfind(|line| !line.trim().is_empty()).context("read the last line")?;
    let value: Value = serde_json::from_str(last).with_context(|| format!("read {last}"))?;
    if value["event"] != "ended" {
        bail!("find the end of the deploy, found {last}");
    }
    Ok(value)
}
