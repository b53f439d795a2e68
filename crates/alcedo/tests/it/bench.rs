//! A shim's directory with everything a test does to it: the protocol as any other version would speak it, from its
//! description and not from the code.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use xtask::home::poll_until;

pub(crate) const ALCEDO: &str = env!("CARGO_BIN_EXE_alcedo");

pub(crate) struct Bench {
    _root: TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) spec: Value,
}

impl Bench {
    /// For a program that is run by `sh`.
    pub(crate) fn shell(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    pub(crate) fn new(argv: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("shop/green/web");
        fs::create_dir_all(&dir).unwrap();
        let log = root.path().join("logs/web.log");
        let spec = json!({
            "version": 1,
            "kind": "app",
            "binding": "d1-green",
            "argv": argv,
            "env": {"PATH": "/usr/bin:/bin", "DIR": root.path()},
            "dir": root.path(),
            "log": log,
            "log_limit_bytes": 16 << 20,
            "stop_signal": "SIGTERM",
            "stop_timeout_ms": 10_000,
            "restart": {"first_ms": 20, "max_ms": 100, "stable_ms": 30_000,
                        "give_up_exits": 5, "give_up_within_ms": 60_000},
        });
        Self { _root: root, dir, log, spec }
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.spec[key] = value.into();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self._root.path().join(name)
    }

    /// Starts a shim and gives its first word.
    pub(crate) fn launch(&self) -> Value {
        fs::write(self.dir.join("spec.json"), self.spec.to_string()).unwrap();
        self.launch_again(&[])
    }

    /// The same without writing the spec.
    pub(crate) fn launch_again(&self, flags: &[&str]) -> Value {
        let mut starter = Command::new(ALCEDO)
            .arg("shim")
            .args(flags)
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).unwrap();
        starter.wait().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    /// `None` when nobody listens.
    pub(crate) fn try_ask(&self, verb: &str) -> Option<Value> {
        let mut stream = UnixStream::connect(self.dir.join("ctl.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        writeln!(stream, "{{\"verb\":\"{verb}\"}}").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub(crate) fn ask(&self, verb: &str) -> Value {
        self.try_ask(verb).expect("the shim answers")
    }

    /// Asks until `wanted` holds for the state.
    pub(crate) fn state_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait(what, || {
            last = match self.try_ask("state") {
                Some(reply) => reply["state"].clone(),
                None => self.state_on_disk(),
            };
            wanted(&last)
        });
        last
    }

    pub(crate) fn state_on_disk(&self) -> Value {
        let text = fs::read_to_string(self.dir.join("state.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the app has written a line that starts with `prefix`; what follows it.
    pub(crate) fn line(&self, prefix: &str) -> String {
        let mut found = String::new();
        wait(prefix, || {
            let text = self.log_text();
            let line = text.lines().rev().find_map(|l| l.strip_prefix(prefix)).map(str::to_owned);
            found = line.unwrap_or_default();
            text.lines().any(|l| l.starts_with(prefix)) && text.ends_with('\n')
        });
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.try_ask("stop").is_none() {
            self.launch_again(&["--stop"]);
            self.try_ask("stop");
        }
    }
}

/// Polls until it holds; a test that waits longer than this has failed.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let held = poll_until(Duration::from_secs(20), || holds().then_some(()));
    assert!(held.is_some(), "waited too long until: {what}");
}

pub(crate) fn pid(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or_else(|| panic!("no pid: {value}"))).unwrap()
}

/// Whether a process with this pid runs (a zombie does not).
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let status = Command::new("/bin/kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Private memory in KiB: what would be free if the process were not there.
pub(crate) fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"));
    rollup
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("Private_")?.split_ascii_whitespace().nth(1))
        .map(|kib| kib.parse::<u64>().unwrap())
        .sum()
}
