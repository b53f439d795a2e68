//! A program that is spoken with over its stdin and stdout, and ended when nobody speaks with it any more.

use super::Exit;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// One that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Piped {
    child: Child,
}

/// Our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// What it reads.
    pub(crate) stdin: OwnedFd,
    /// What it writes.
    pub(crate) stdout: OwnedFd,
    /// What it complains.
    pub(crate) stderr: OwnedFd,
}

/// Starts it in a process group of its own: Ctrl-C is for us, and the connection is still needed then. It gets our
/// environment without the variables in `secret`.
pub(crate) fn start_piped(argv: &[String], secret: &[&str]) -> io::Result<(Piped, Pipes)> {
    let (program, args) =
        argv.split_first().ok_or_else(|| io::Error::other("the argument list is empty"))?;
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    for name in secret {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = ends else {
        return Err(io::Error::other("its pipes are missing"));
    };
    let pipes = Pipes { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
    Ok((Piped { child }, pipes))
}

impl Piped {
    /// How it ended; `None`: it still runs.
    pub(crate) fn ended(&mut self) -> Option<Exit> {
        match self.child.try_wait() {
            Ok(status) => status.map(Exit::from),
            Err(_) => Some(Exit::Unseen),
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // Its own group: a jump host's `ssh` and the like go with it.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed())
            && self.ended().is_none()
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
