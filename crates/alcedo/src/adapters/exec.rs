//! The only file that starts programs: with an argument list, a limit, and an output that cannot grow without end.
//!
//! Never builds a shell string; a user's own command is theirs and is handed to `sh` as it is ([`shell`]).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the one file that starts programs"
)]

mod capture;
mod piped;

use crate::adapters::clock;
use crate::engine::ports::{Call, Cancel, EffectError};
use crate::process_table::{self, Identity, Tree};
use capture::Sink;
use command_fds::{CommandFdExt, FdMapping};
pub(crate) use piped::{Piped, Pipes, start_piped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Marks what [`run`] started: `<pid>-<start of the caller>-<number>`.
const MARK_TASK: &str = "ALCEDO_TASK";
/// For the allocator of our own processes: huge pages would triple their private memory for nothing.
pub(crate) const SMALL_HEAP: (&str, &str) = ("MIMALLOC_ALLOW_THP", "0");
/// How often deadline and cancel flag are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a killed tree may take to vanish.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A program to run to its end.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Program and arguments, at least one.
    pub(crate) argv: Vec<String>,
    /// What it finds in its environment.
    pub(crate) env: Environment,
    /// Where it runs.
    pub(crate) dir: PathBuf,
    /// Where its output goes.
    pub(crate) output: Output,
}

/// A program's environment.
#[derive(Debug, Clone)]
pub(crate) enum Environment {
    /// What this process has.
    Inherited,
    /// This and nothing else.
    Exactly(BTreeMap<String, String>),
}

/// Where stdout and stderr go, in the order in which they were written.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// The last bytes are kept in memory.
    Kept {
        /// How many.
        limit_bytes: usize,
    },
    /// The first bytes are appended to a file (a line says when something was left out), the last 4 KiB also kept.
    File {
        /// Its directory is made.
        path: PathBuf,
        /// How many.
        limit_bytes: u64,
    },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself.
    Status(i32),
    /// By a signal.
    Signal(i32),
    /// Nobody saw it.
    Unseen,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unseen,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match signal_hook::low_level::signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::Unseen => write!(f, "ended while nobody watched, exit status unknown"),
        }
    }
}

/// What came of [`run`].
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) exit: Exit,
    /// The last bytes of its output.
    pub(crate) output: Vec<u8>,
}

impl Ended {
    /// Its last `count` lines, as text.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let text = String::from_utf8_lossy(&self.output);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Why a program did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// It is missing, may not be run, or its directory is missing.
    #[error("start `{program}`")]
    Start {
        /// As given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its output file cannot be opened.
    #[error("open the output file {}", path.display())]
    OutputFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It and all it had started were killed.
    #[error("finish `{program}` within its time limit of {limit_s} s")]
    TimedOut {
        /// As given.
        program: String,
        /// Seconds.
        limit_s: u64,
        /// The last lines it wrote.
        tail: String,
    },
    /// It and all it had started were killed.
    #[error("finish `{program}`: cancelled")]
    Cancelled {
        /// As given.
        program: String,
    },
    /// The system let us down.
    #[error("watch `{program}`")]
    Watch {
        /// As given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<ExecError> for EffectError {
    fn from(error: ExecError) -> Self {
        let what = error.to_string();
        match error {
            ExecError::Cancelled { .. } => Self::Cancelled,
            ExecError::TimedOut { tail, .. } => Self::Failed { what, detail: tail, hint: None },
            ExecError::Start { source, .. }
            | ExecError::OutputFile { source, .. }
            | ExecError::Watch { source, .. } => Self::failed(what, source),
        }
    }
}

/// The argument list that runs a user's own command line, failing at the first failing part.
pub(crate) fn shell(command: &str) -> Vec<String> {
    ["sh", "-eu", "-c", command].map(str::to_owned).into()
}

/// Runs a program of the system's with our environment, from `/`; its output is kept.
pub(crate) fn run_simply(argv: Vec<String>, limit: Duration) -> Result<Ended, ExecError> {
    let program = Program {
        argv,
        env: Environment::Inherited,
        dir: PathBuf::from("/"),
        output: Output::Kept { limit_bytes: 1 << 20 },
    };
    let deadline = clock::now().after(limit);
    run(&program, &Call { deadline, cancel: &Cancel::default(), progress: &|_| {} })
}

/// Runs a program to its end. At the deadline, or when cancelled, it and everything it started is killed; what it left
/// in the background is killed as well when it ends by itself.
pub(crate) fn run(program: &Program, call: &Call<'_>) -> Result<Ended, ExecError> {
    let name = program.argv.first().map_or("", String::as_str).to_owned();
    let limit_s = clock::left(call.deadline).as_millis().div_ceil(1000) as u64;
    let mut sink = Sink::open(&program.output)?;
    let watch = |source| ExecError::Watch { program: name.clone(), source };
    let (reader, writer) = io::pipe().map_err(watch)?;
    let task = task_mark();
    let mut child = start(program, &task, writer)?;
    let tree = Tree { main: Some(child.id()), mark: Some(task), ..Tree::default() };
    let outcome = watch_until_end(&child, reader, &mut sink, call);
    end_tree(&tree);
    let status = child.wait().map_err(watch)?;
    let tail = sink.finish();
    match outcome.map_err(watch)? {
        Watched::Ended => Ok(Ended { exit: status.into(), output: tail }),
        Watched::Cancelled => Err(ExecError::Cancelled { program: name }),
        Watched::TimedOut => Err(ExecError::TimedOut {
            program: name,
            limit_s,
            tail: Ended { exit: status.into(), output: tail }.last_lines(20),
        }),
    }
}

/// Kills what an earlier life of this program started with [`run`] and did not live to see end.
pub(crate) fn end_leftovers() {
    let orphans = process_table::task_owners(MARK_TASK)
        .into_iter()
        .filter(|(_, owner)| !is_living_owner(owner))
        .filter(|(process, _)| process.signal(Signal::KILL))
        .count();
    if orphans > 0 {
        tracing::warn!(orphans, "killed programs that an earlier daemon had left behind");
    }
}

/// A program that outlives its starter: started and let go. Reaping is the caller's.
#[derive(Debug)]
pub(crate) struct Lasting<'a> {
    /// Program and arguments, at least one.
    pub(crate) argv: &'a [String],
    /// The whole environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// Where it runs.
    pub(crate) dir: &'a Path,
    /// Its stdout and stderr, written to directly: no pipe that could break or fill up.
    pub(crate) output: File,
    /// Listening descriptors with their names, passed by systemd's protocol.
    pub(crate) descriptors: Vec<(String, OwnedFd)>,
}

/// Starts it in a process group of its own and returns its pid. `LISTEN_PID` is left out: it would have to be known
/// before the process exists, and the `listenfd` crate takes its absence for "meant for you".
pub(crate) fn start_lasting(program: Lasting<'_>) -> io::Result<u32> {
    let mut command = command(program.argv, program.dir)?;
    command.env_clear().envs(program.env);
    command.stdout(program.output.try_clone()?).stderr(program.output);
    if !program.descriptors.is_empty() {
        let (names, fds): (Vec<_>, Vec<_>) = program.descriptors.into_iter().unzip();
        command.env("LISTEN_FDS", fds.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let mappings =
            (3..).zip(fds).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    }
    Ok(command.spawn()?.id())
}

/// Becomes the program, with what this process has in its environment and `env` over it. Returns only when that fails.
pub(crate) fn replace(argv: &[String], env: &BTreeMap<String, String>, dir: &Path) -> io::Error {
    let Some((program, args)) = argv.split_first() else {
        return io::Error::other("the argument list is empty");
    };
    let error = Command::new(program).args(args).envs(env).current_dir(dir).exec();
    explain_missing_dir(error, dir)
}

/// Starts a program that detaches itself and ends at once, with `stdout` to tell how it went, and waits for that end.
/// It gets no environment but [`SMALL_HEAP`]: what it starts later must not inherit ours.
pub(crate) fn start_detaching(argv: &[String], stdout: OwnedFd) -> io::Result<Exit> {
    let mut command = command(argv, Path::new("/"))?;
    let (name, value) = SMALL_HEAP;
    command.env_clear().env(name, value).stdout(stdout).stderr(Stdio::null());
    Ok(command.spawn()?.wait()?.into())
}

/// The second half of it, from inside: starts our own program again, which keeps our stdout, and does not wait.
pub(crate) fn start_self(args: &[std::ffi::OsString]) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("alcedo").args(args).stdin(Stdio::null()).current_dir("/");
    command.spawn().map(drop)
}

fn command(argv: &[String], dir: &Path) -> io::Result<Command> {
    let (program, args) =
        argv.split_first().ok_or_else(|| io::Error::other("the argument list is empty"))?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null()).process_group(0);
    Ok(command)
}

fn start(
    program: &Program,
    (mark, value): &(String, String),
    output: io::PipeWriter,
) -> Result<Child, ExecError> {
    let name = || program.argv.first().cloned().unwrap_or_default();
    let begin = || {
        let mut command = command(&program.argv, &program.dir)?;
        match &program.env {
            Environment::Inherited => &mut command,
            Environment::Exactly(env) => command.env_clear().envs(env),
        };
        command.env(mark, value).stdout(output.try_clone()?).stderr(output).spawn()
    };
    begin().map_err(|source| ExecError::Start {
        program: name(),
        source: explain_missing_dir(source, &program.dir),
    })
}

/// The system says "no such file" for program and directory alike; people need to know which.
pub(crate) fn explain_missing_dir(error: io::Error, dir: &Path) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound && !dir.is_dir() {
        let text = format!("working directory {}: {error}", dir.display());
        return io::Error::new(io::ErrorKind::NotFound, text);
    }
    error
}

enum Watched {
    Ended,
    Cancelled,
    TimedOut,
}

fn watch_until_end(
    child: &Child,
    reader: io::PipeReader,
    sink: &mut Sink,
    call: &Call<'_>,
) -> io::Result<Watched> {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a pid");
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let flags = rustix::fs::fcntl_getfl(&reader)?;
    rustix::fs::fcntl_setfl(&reader, flags | OFlags::NONBLOCK)?;
    let mut is_open = true;
    loop {
        if call.cancel.is_cancelled() {
            return Ok(Watched::Cancelled);
        }
        let left = clock::left(call.deadline);
        if left.is_zero() {
            return Ok(Watched::TimedOut);
        }
        let mut ready = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if is_open {
            ready.push(PollFd::new(&reader, PollFlags::IN));
        }
        wait_ready(&mut ready, left.min(TICK))?;
        let has_ended = !ready[0].revents().is_empty();
        is_open = is_open && sink.take_from(&reader)?;
        if has_ended {
            return Ok(Watched::Ended);
        }
    }
}

/// Waits until one descriptor is ready or the time is over; a signal in between is not an error.
pub(crate) fn wait_ready(ready: &mut [PollFd<'_>], time: Duration) -> io::Result<()> {
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(ready, Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn end_tree(tree: &Tree) {
    let patience = clock::now().after(KILL_PATIENCE);
    while tree.signal(Signal::KILL) > 0 && !clock::left(patience).is_zero() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn owner_text() -> String {
    let me = std::process::id();
    let start = Identity::of(me).map_or(0, |identity| identity.start_ticks);
    format!("{me}-{start}")
}

fn task_mark() -> (String, String) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    (MARK_TASK.to_owned(), format!("{}-{number}", owner_text()))
}

fn is_living_owner(mark: &str) -> bool {
    let mut parts = mark.split('-').map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(start_ticks))) = (parts.next(), parts.next()) else {
        return true; // Not one of ours: leave it alone.
    };
    u32::try_from(pid)
        .ok()
        .and_then(Identity::of)
        .is_some_and(|identity| identity.start_ticks == start_ticks)
}

#[cfg(test)]
mod tests;
