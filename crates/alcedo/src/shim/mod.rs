//! The process `alcedo shim DIR`: owns one program, restarts it, and outlives whoever started it.
//!
//! It knows nothing of deploys, opens no network, has one thread, and is meant to stay as it is for years: a newer
//! daemon talks to an older shim. See `docs/design/shim.md` for the protocol.

pub(crate) mod files;
pub(crate) mod protocol;
pub(crate) mod signal;

mod child;
mod log;
mod notify;
mod owner;
mod policy;

use crate::adapters::clock;
use crate::adapters::exec;
use crate::engine::ports::Millis;
use files::{Kind, ShimDir};
use owner::Owner;
use protocol::{AskError, Reply, Verb};
use rustix::event::{PollFd, PollFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The second life of the process, after it has detached.
const DETACHED: &str = "--detached";
/// Only to end what runs.
const STOP: &str = "--stop";

/// `alcedo shim [--stop] DIR`: detaches, then owns the program that `DIR/spec.json` names. One line of JSON on stdout
/// says how it went; after that, stdin, stdout and stderr are `/dev/null`.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let Some(dir) = args.last().map(Path::new).filter(|dir| dir.is_absolute()) else {
        return refuse("usage: alcedo shim [--stop] DIR, with an absolute DIR");
    };
    let done = if has(DETACHED) { own(dir, has(STOP)) } else { detach(&args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

/// Starts the shim for `dir` and returns its first word: how its child is. A shim that is already there answers
/// instead. `exe` is the alcedo binary.
pub(crate) fn launch(
    exe: &Path,
    dir: &Path,
    purpose: Purpose,
    deadline: Millis,
) -> Result<Reply, AskError> {
    let no_answer = |source| AskError::NoAnswer { dir: dir.display().to_string(), source };
    let mut argv = vec![exe.display().to_string(), "shim".to_owned()];
    argv.extend(match purpose {
        Purpose::Own => None,
        Purpose::Stop => Some(STOP.to_owned()),
    });
    argv.push(dir.display().to_string());
    let (reader, writer) = io::pipe().map_err(no_answer)?;
    exec::start_detaching(&argv, writer.into()).map_err(|error| {
        no_answer(io::Error::new(error.kind(), format!("{}: {error}", argv[0])))
    })?;
    let reply = first_word(reader, deadline).map_err(no_answer)?;
    match &reply.error {
        Some(error) if error == OWNED => protocol::ask(dir, Verb::State, clock::left(deadline)),
        Some(_) | None => Ok(reply),
    }
}

/// What a shim is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To own the program.
    Own,
    /// To end what an earlier shim left.
    Stop,
}

/// For a lock that nobody answers for.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// What the second shim of a directory says.
const OWNED: &str = "another shim owns this directory";

fn first_word(reader: io::PipeReader, deadline: Millis) -> io::Result<Reply> {
    while !clock::left(deadline).is_zero() {
        let mut ready = [PollFd::new(&reader, PollFlags::IN)];
        exec::wait_ready(&mut ready, clock::left(deadline).min(Duration::from_secs(1)))?;
        // The line is short and written at once: what is readable is all of it.
        if !ready[0].revents().is_empty() {
            return protocol::read_reply(reader);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Away from whoever started us: this process ends, its copy goes on as nobody's child.
fn detach(args: &[OsString]) -> io::Result<()> {
    let mut again: Vec<OsString> = vec!["shim".into(), DETACHED.into()];
    again.extend_from_slice(args);
    exec::start_self(&again)
}

fn own(path: &Path, stop: bool) -> io::Result<()> {
    // A session of our own without a terminal. It fails only for who leads one already.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let dir = ShimDir::open(path)?;
    let Some(lock) = take_lock(&dir)? else { return Err(io::Error::other(OWNED)) };
    let (spec, stop) = match dir.stopped_spec() {
        Some(spec) => (spec, true),
        None => (dir.spec()?, stop),
    };
    if spec.kind == Kind::App {
        // Orphans of the app come to us, so that its tree stays one.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let mut owner = Owner::new(dir, spec, lock)?;
    owner.take_over(stop);
    say(&owner.reply());
    close_stdio()?;
    owner.run()
}

/// The lock; `None` when another shim has it. One that was just killed may leave it to a child that is being started:
/// nobody answers then, and it is free as soon as that child runs its own program.
fn take_lock(dir: &ShimDir) -> io::Result<Option<File>> {
    let patience = clock::now().after(LOCK_PATIENCE);
    loop {
        let lock = dir.lock()?;
        // Connecting proves nothing: that child has a copy of the socket, too.
        let is_owned = || protocol::ask(dir.path(), Verb::Hello, LOCK_PATIENCE).is_ok();
        if lock.is_some() || is_owned() || clock::left(patience).is_zero() {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn say(reply: &Reply) {
    // Whoever started us may be gone.
    let _ = io::stdout().write_all(&reply.line()).and_then(|()| io::stdout().flush());
}

fn refuse(why: &str) -> ExitCode {
    say(&Reply::new(None, Some(why.to_owned())));
    ExitCode::FAILURE
}

fn close_stdio() -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
