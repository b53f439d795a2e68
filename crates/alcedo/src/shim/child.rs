//! The one program a shim owns: starting it, finding it again after the shim was replaced, seeing how it ended.

use super::files::{Kind, Phase, ShimDir, Spec, State};
use super::log::Log;
use super::notify::Notify;
use crate::adapters::exec::{self, Exit, Lasting};
use crate::process_table::{Entry, Identity, MARK_SHIM, Tree, marked};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, pidfd_send_signal, wait};
use std::io;
use std::os::fd::OwnedFd;

/// A running main process.
#[derive(Debug)]
pub(super) struct Child {
    /// Who it is.
    pub(super) identity: Identity,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
    /// The session that it was started in.
    pub(super) session: u32,
    /// False after an adoption: then nobody tells us its exit status.
    is_ours: bool,
    exit: Option<Exit>,
}

impl Child {
    /// Starts it as the spec says, with what was kept for it.
    pub(super) fn start(
        dir: &ShimDir,
        spec: &Spec,
        log: &mut Log,
        notify: Option<&Notify>,
    ) -> io::Result<Self> {
        let mut env = spec.env.clone();
        env.insert(MARK_SHIM.to_owned(), dir.path().display().to_string());
        if notify.is_some() {
            let socket = dir.path().join("notify.sock");
            env.insert("NOTIFY_SOCKET".to_owned(), socket.display().to_string());
        }
        let pid = exec::start_lasting(Lasting {
            argv: &spec.argv,
            env: &env,
            dir: &spec.dir,
            output: log.output()?,
            descriptors: notify.map_or(Ok(Vec::new()), Notify::kept)?,
        })
        .map_err(|error| exec::explain_missing_dir(error, &spec.dir))?;
        // Not reaped yet, so the pid is its own even when it has already ended.
        let known = Entry::read(pid).map(|entry| Self::known(&entry));
        known.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())).inspect_err(|_| {
            // What cannot be watched must not run.
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        })
    }

    /// The child that an earlier shim of this directory started, if it runs. One that is not written down is looked for
    /// only where a start may have been under way: what else carries the mark are its helpers, which it left behind.
    pub(super) fn find(dir: &ShimDir, state: Option<&State>) -> Option<Self> {
        let written = state.and_then(|state| state.child.clone()).and_then(Self::adopt);
        let may_be_unwritten = match state.map(|state| state.phase) {
            Some(Phase::Starting | Phase::Restarting) | None => true,
            Some(Phase::Running | Phase::Stopping | Phase::Stopped | Phase::GaveUp) => false,
        };
        let unwritten = || oldest_marked(dir).filter(|_| may_be_unwritten).and_then(Self::adopt);
        written.or_else(unwritten)
    }

    fn adopt(identity: Identity) -> Option<Self> {
        // Compares after the descriptor has pinned the pid.
        let pidfd = identity.open()?;
        let session = Entry::read(identity.pid).filter(Entry::runs)?.session;
        Some(Self { identity, pidfd, session, is_ours: false, exit: None })
    }

    /// One that this shim has just started and not reaped: its pid is nobody else's.
    fn known(entry: &Entry) -> io::Result<Self> {
        let pid = Pid::from_raw(entry.pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let (identity, session) = (entry.identity(), entry.session);
        Ok(Self { identity, pidfd, session, is_ours: true, exit: None })
    }

    /// Sends it a signal; it may be gone.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// How it ended; `None` while it runs. To be asked after [`reap`].
    pub(super) fn ended(&self) -> Option<Exit> {
        let is_gone = || !self.is_ours && !self.identity.is_alive();
        self.exit.or_else(|| is_gone().then_some(Exit::Unseen))
    }
}

/// Takes the exit status of everything that ended: of the child, and of orphans that came to us as their subreaper.
pub(super) fn reap(mut child: Option<&mut Child>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let is_it = |c: &&mut Child| c.identity.pid.cast_signed() == pid.as_raw_nonzero().get();
        if let Some(child) = child.as_mut().filter(|c| c.is_ours && is_it(c)) {
            child.exit = Some(exit(status));
        }
    }
}

/// Everything that belongs to the program in `dir`.
pub(super) fn tree(dir: &ShimDir, kind: Kind, child: Option<&Child>, session: Option<u32>) -> Tree {
    let mark = match kind {
        Kind::App => Some((MARK_SHIM.to_owned(), dir.path().display().to_string())),
        // What a daemon starts and lets go is meant to stay.
        Kind::Supervised => None,
    };
    Tree {
        main: child.map(|child| child.identity.pid),
        reaper: Some(std::process::id()),
        session,
        mark,
    }
}

fn oldest_marked(dir: &ShimDir) -> Option<Identity> {
    let found = marked(MARK_SHIM, &dir.path().display().to_string());
    found.into_iter().min_by_key(|identity| (identity.start_ticks, identity.pid))
}

fn exit(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unseen,
    }
}
