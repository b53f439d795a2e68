//! A host whose power is cut in the middle of a deploy, again and again: what was not synced is gone, and afterwards the
//! right release has to serve and the journal has to say so.

use crate::home::poll_until;
use crate::lab::Host;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

/// Steps at which the power is cut, in their order.
pub const STEPS: [&str; 8] =
    ["fetch", "prepare", "start", "probe", "switch", "verify", "drain", "bake"];
/// A step takes milliseconds: the cut comes somewhere within it, or just behind.
const WITHIN_MS: std::ops::Range<u64> = 0..12;
/// Everything has come to its end by then after a boot.
const SOON: Duration = Duration::from_secs(60);
const SOURCE: &str = "/opt/web";
const CANARY: &str = "/var/tmp/canary";
const URL: &str = "http://127.0.0.1:8080/?n=1";

/// What stands between the world and the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// alcedo's own proxy.
    Embedded,
    /// The host's nginx, by a flag.
    Nginx,
}

/// A prepared host with a live app.
#[derive(Debug)]
pub struct Rig {
    host: Host,
    router: Router,
    version: u32,
    live: String,
}

/// What a cut left, when all is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was live before.
    Undone,
    /// The new release.
    Done,
}

impl Rig {
    /// Boots, prepares and deploys once.
    pub fn new(alcedo: &Path, app: &Path, router: Router) -> Result<Self> {
        let host = Host::boot_with_disk("cut")?;
        host.put(alcedo, "/opt/alcedo", 0o755)?;
        host.put(app, "/opt/xtask", 0o755)?;
        let mut rig = Self { host, router, version: 0, live: String::new() };
        rig.write()?;
        let nginx = if router == Router::Nginx { "enable" } else { "disable" };
        rig.host.must(&["systemctl", nginx, "--quiet", "--now", "nginx"])?;
        rig.host.must(&["/opt/alcedo", "-C", SOURCE, "setup"])?;
        rig.host.must(&["alcedo", "-C", SOURCE, "deploy"])?;
        // What is cut are deploys: the host itself was prepared long ago.
        rig.host.must(&["sync"])?;
        rig.live = rig.settled()?;
        Ok(rig)
    }

    /// One deploy whose power is cut in `step`.
    pub fn cut_in(&mut self, step: &str) -> Result<Outcome> {
        self.write()?;
        let mut command =
            self.host.command(&["alcedo", "-C", SOURCE, "deploy", "--json", "--wait", "bake"])?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = child.stdout.take().context("read what the deploy shows")?;
        let mut lines = BufReader::new(out);
        let mut shown = Shown::default();
        while !shown.has_begun(step) {
            if !shown.read(&mut lines)? {
                bail!("the deploy ended before its step {step}: {}", shown.text);
            }
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(WITHIN_MS)));
        // Nobody syncs this one: a cut that does not lose it is none.
        let canary = format!("{}\n", self.version);
        self.host.write(CANARY, &canary)?;
        let cut = self.host.cut_power();
        child.kill().ok();
        child.wait().ok();
        cut?;
        let kept = std::fs::read_to_string(self.host.path(CANARY)).unwrap_or_default();
        ensure!(kept != canary, "cut the power: what was not synced is still there");
        // What had been shown by then has to be true for ever.
        while shown.read(&mut lines)? {}
        let live = self.settled().with_context(|| format!("after a cut in {step}"))?;
        let outcome = if live == self.live { Outcome::Undone } else { Outcome::Done };
        ensure!(
            outcome == Outcome::Done || !shown.has_ended("switch"),
            "{live} is live, but the switch away from it had been shown: {}",
            shown.text
        );
        ensure!(
            outcome == Outcome::Undone || shown.has_begun("probe"),
            "{live} is live and was never asked whether it works: {}",
            shown.text
        );
        self.live = live;
        Ok(outcome)
    }

    /// The live release, once nothing is under way, everything is healthy, and router, journal and answer agree.
    fn settled(&self) -> Result<String> {
        let mut last = String::new();
        let found = poll_until(SOON, || {
            let run = self.host.run(&["alcedo", "-a", "web", "status", "--json"]).ok()?;
            last = format!("{}{}", run.stdout, run.stderr);
            let status: Value = serde_json::from_str(&run.stdout).ok()?;
            let app = status["apps"][0].clone();
            (app["healthy"] == true && app["deploy"].is_null()).then_some(app)
        });
        let app = found.with_context(|| format!("see a healthy app; status: {last}"))?;
        let active = app["active"].as_str().unwrap_or_default();
        let release = app["slots"][active]["release"].as_str().unwrap_or_default().to_owned();
        ensure!(app["router"]["drift"] == false, "router and journal differ: {app}");
        ensure!(app["router"]["target"] == active, "the router points elsewhere: {app}");
        let answer = self.host.must(&["curl", "-sS", "--max-time", "10", URL])?;
        let said = answer.split_whitespace().next().unwrap_or_default();
        ensure!(said == release, "{said:?} answers, and status says {release}: {app}");
        Ok(release)
    }

    /// The next version. Written from outside, so it may be lost with the power; it is written anew each time.
    fn write(&mut self) -> Result<()> {
        self.version += 1;
        let kind = match self.router {
            Router::Embedded => "embedded",
            Router::Nginx => "nginx",
        };
        let text = format!(
            "app = \"web\"
runner = \"systemd\"
release.source = \"src\"
release.prepare = \"echo prepared > prepared\"
web.command = \"/opt/xtask app --port {{port}} --release {{release}}\"
health.path = \"/healthz\"
health.release = \"json:/release\"
health.interval = \"50ms\"
bake.time = \"500ms\"
router.kind = \"{kind}\"
router.listen = [\"127.0.0.1:8080\"]
"
        );
        self.host.write(&format!("{SOURCE}/alcedo.toml"), &text)?;
        self.host.write(&format!("{SOURCE}/src/version"), &format!("{}\n", self.version))
    }
}

/// What the deploy has shown so far.
#[derive(Debug, Default)]
struct Shown {
    begun: Vec<String>,
    ended: Vec<String>,
    text: String,
}

impl Shown {
    /// One more line; `false`: there is none.
    fn read(&mut self, lines: &mut BufReader<ChildStdout>) -> Result<bool> {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        self.text.push_str(&line);
        let Ok(event) = serde_json::from_str::<Value>(&line) else { return Ok(true) };
        let step = event["step"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("step-started") => self.begun.push(step),
            Some("step-done") => self.ended.push(step),
            _ => {}
        }
        Ok(true)
    }

    fn has_begun(&self, step: &str) -> bool {
        self.begun.iter().any(|begun| begun == step)
    }

    fn has_ended(&self, step: &str) -> bool {
        self.ended.iter().any(|ended| ended == step)
    }
}
