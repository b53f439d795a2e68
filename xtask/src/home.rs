//! A private alcedo: everything it has stands in one temporary directory (`ALCEDO_HOME`), and every process that belongs
//! to it ends when the value is dropped. Never touches another home.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Where one alcedo keeps everything.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
    alcedo: PathBuf,
    nginx: Option<PathBuf>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Run {
    /// Exit status; `None`: killed by a signal, or by us after the limit.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// From spawn to end.
    pub took: Duration,
}

/// No command of a test takes longer; it is killed then.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(150);

impl Home {
    /// An empty home for this `alcedo`.
    pub fn new(alcedo: &Path) -> Result<Self> {
        Self::new_in(alcedo, &std::env::temp_dir())
    }

    /// The same below `parent`.
    pub fn new_in(alcedo: &Path, parent: &Path) -> Result<Self> {
        // Short: socket paths have 108 bytes.
        let dir = tempfile::Builder::new().prefix("alc").tempdir_in(parent)?;
        Ok(Self { dir, alcedo: alcedo.to_owned(), nginx: None })
    }

    /// Uses the nginx with this main file, whose workers may pass through the home.
    pub fn with_nginx(mut self, nginx: &crate::nginx::Nginx) -> Result<Self> {
        std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(0o711))?;
        self.nginx = Some(nginx.conf());
        Ok(self)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `alcedo ARGS` in `dir` with this home; not started.
    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.alcedo);
        command.args(args).current_dir(dir).env("ALCEDO_HOME", self.path());
        command.env("NO_COLOR", "1").env_remove("ALCEDO_APP").env_remove("ALCEDO_HOST");
        if let Some(conf) = &self.nginx {
            command.env("ALCEDO_NGINX_CONF", conf);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs `alcedo ARGS` in `dir` to its end, at most [`COMMAND_LIMIT`].
    pub fn run(&self, dir: &Path, args: &[&str]) -> Result<Run> {
        self.wait(self.start(dir, args)?)
    }

    /// Starts `alcedo ARGS` in `dir` with its output going to files of this home.
    pub fn start(&self, dir: &Path, args: &[&str]) -> Result<Started> {
        self.start_with(dir, args, &[])
    }

    /// The same with these variables besides.
    pub fn start_with(
        &self,
        dir: &Path,
        args: &[&str],
        env: &[(String, String)],
    ) -> Result<Started> {
        let stdout = tempfile::NamedTempFile::new_in(self.path())?;
        let stderr = tempfile::NamedTempFile::new_in(self.path())?;
        let mut command = self.command(dir, args);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command.stdout(stdout.reopen()?).stderr(stderr.reopen()?);
        let since = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", self.alcedo.display()))?;
        Ok(Started { child, stdout, stderr, since })
    }

    /// Waits for its end, at most [`COMMAND_LIMIT`].
    pub fn wait(&self, mut started: Started) -> Result<Run> {
        let pid = rustix::process::Pid::from_child(&started.child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let limit = rustix::time::Timespec::try_from(COMMAND_LIMIT)?;
        let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let ended = rustix::event::poll(&mut poll, Some(&limit))? > 0;
        if !ended {
            started.child.kill().ok();
        }
        let status = started.child.wait()?;
        let took = started.since.elapsed();
        let stdout = std::fs::read_to_string(started.stdout.path())?;
        let stderr = std::fs::read_to_string(started.stderr.path())?;
        Ok(Run { code: status.code().filter(|_| ended), stdout, stderr, took })
    }

    /// Processes of this home.
    pub fn processes(&self) -> Vec<Process> {
        processes_of(self.path())
    }

    /// The one process of this home whose command line is `alcedo VERB …`, if it runs.
    pub fn process(&self, verb: &str) -> Option<Process> {
        process_of(self.path(), verb)
    }

    /// Ends every process of this home, at once and for good; at most 10 s.
    pub fn end(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut empty_looks = 0;
        // A process between `fork` and `exec` can look like nobody's: one empty look is not enough.
        while empty_looks < 4 && Instant::now() < deadline {
            if self.freeze(deadline) {
                empty_looks = 0;
            } else {
                empty_looks += 1;
            }
            for process in self.processes() {
                process.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops all of them where they are: they start each other again when one is killed. Whether there were any.
    fn freeze(&self, deadline: Instant) -> bool {
        let mut frozen = BTreeSet::new();
        loop {
            let mut fresh = self.processes();
            fresh.retain(|process| frozen.insert(process.pid));
            for process in &fresh {
                process.signal(rustix::process::Signal::STOP);
            }
            if fresh.is_empty() || Instant::now() > deadline {
                return !frozen.is_empty();
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end();
        make_writable(self.path());
    }
}

/// A command under way.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub child: Child,
    stdout: tempfile::NamedTempFile,
    stderr: tempfile::NamedTempFile,
    since: Instant,
}

impl Started {
    /// What it wrote so far, to stdout and to stderr.
    pub fn output(&self) -> String {
        let read = |file: &tempfile::NamedTempFile| {
            std::fs::read_to_string(file.path()).unwrap_or_default()
        };
        read(&self.stdout) + &read(&self.stderr)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }
}

/// One process as `/proc` shows it.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The argument list.
    pub arguments: Vec<String>,
}

impl Process {
    /// `kill -9`.
    pub fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    /// Whether it owns another process of alcedo or of an app.
    pub fn is_shim(&self) -> bool {
        self.arguments.get(1).is_some_and(|verb| verb == "shim")
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        parse(self.pid).is_some()
    }

    /// CPU time so far, user and system, in microseconds (resolution: a clock tick, 10 ms).
    pub fn cpu_us(&self) -> u64 {
        stat(self.pid).map_or(0, |fields| {
            let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
            (ticks(11) + ticks(12)) * 1_000_000 / rustix::param::clock_ticks_per_second()
        })
    }

    /// Private memory, clean and dirty, in bytes.
    pub fn private_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid));
        let text = text.unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("Private_"));
        let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.sum::<u64>() * 1024
    }

    fn is_alcedo(&self) -> bool {
        self.arguments.first().is_some_and(|word| word.rsplit('/').next() == Some("alcedo"))
    }
}

/// A port on 127.0.0.1 that nobody listens on now and that this process gives out once; below the ephemeral range, so
/// no client takes it meanwhile, and outside the range that alcedo picks from.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Two test programs at the same time begin at different places.
        let begin = u16::try_from(std::process::id() % u32::from(PORTS))?;
        let port = 12_000 + (begin + number % PORTS) % PORTS;
        if TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            return Ok(port);
        }
    }
    bail!("find a free port")
}

const PORTS: u16 = 7_000;

/// Asks until the answer is there; `None` after `limit`.
pub fn poll_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes of the home at `home`: those that have it in their environment, run from it, or descend from one that does.
pub fn processes_of(home: &Path) -> Vec<Process> {
    let all = all_processes();
    let mut ours: BTreeSet<i32> = all.iter().filter(|p| owns(home, p)).map(|p| p.pid).collect();
    loop {
        let before = ours.len();
        let children = all.iter().filter(|p| ours.contains(&p.parent)).map(|p| p.pid);
        ours.extend(children.collect::<Vec<_>>());
        if ours.len() == before {
            break;
        }
    }
    let me = std::process::id().cast_signed();
    all.into_iter().filter(|p| p.pid != me && ours.contains(&p.pid)).collect()
}

/// The one process of the home at `home` whose command line is `alcedo VERB …`, if it runs.
pub fn process_of(home: &Path, verb: &str) -> Option<Process> {
    let is = |p: &Process| p.arguments.get(1).is_some_and(|word| word == verb);
    processes_of(home).into_iter().find(|p| is(p) && p.is_alcedo())
}

fn owns(home: &Path, process: &Process) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", process.pid));
    let is_under =
        |link: &str| std::fs::read_link(proc.join(link)).is_ok_and(|p| p.starts_with(home));
    let setting = format!("ALCEDO_HOME={}", home.display());
    let environ = std::fs::read(proc.join("environ")).unwrap_or_default();
    // A shim has no environment; its directory is an argument.
    let has_argument = process.arguments.iter().any(|word| Path::new(word).starts_with(home));
    environ.split(|b| *b == 0).any(|line| line == setting.as_bytes())
        || has_argument
        || is_under("cwd")
        || is_under("exe")
}

fn all_processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| parse(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn parse(pid: i32) -> Option<Process> {
    let fields = stat(pid)?;
    if fields.first().is_some_and(|state| state == "Z") {
        return None;
    }
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = arguments.split(|b| *b == 0).filter(|word| !word.is_empty());
    let arguments = arguments.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, arguments })
}

/// Fields of `/proc/PID/stat` from the third (state) on; the second holds the program's name, with any character.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Sealed releases are read-only; without this, nobody but root could remove the directory.
fn make_writable(dir: &Path) {
    let Ok(meta) = std::fs::symlink_metadata(dir) else { return };
    if !meta.is_dir() {
        return;
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).ok();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        make_writable(&entry.path());
    }
}
