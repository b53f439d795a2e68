//! Starts daemon and proxy under shims of their own, where no systemd does it.
//!
//! Idempotent, also when several callers do it at once. Never stops or restarts what runs; [`Supervisor::stop`] and
//! [`Supervisor::restart`] do, when they are asked to.

use crate::adapters::{clock, exec};
use crate::engine::ports::Millis;
use crate::paths::{self, Paths, PathsError};
use crate::process_table::MARK_SHIM;
use crate::shim::files::{
    Kind, LOG_LIMIT_BYTES, Phase, Restart, SPEC, ShimDir, Spec, State, Sync, VERSION,
};
use crate::shim::protocol::{AskError, Reply, Verb, ask};
use crate::shim::{self, Purpose};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For an answer that a shim has at hand.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// One that has run so long and has no socket listens on one that was deleted. Longer than a large journal is read.
const DEAF_AFTER: Duration = Duration::from_secs(30);
/// Started again so often before its socket answered, it will not answer soon.
const RESTARTS_MAX: u32 = 3;
/// Set by shims for their own programs; a daemon must not take itself for part of an app that started it. And what is
/// for the client alone: the key to other machines.
const NOT_INHERITED: [&str; 8] = [
    MARK_SHIM,
    "ALCEDO_BINDING",
    "ALCEDO_HOST",
    "ALCEDO_KNOWN_HOSTS",
    "ALCEDO_RELEASE",
    "ALCEDO_SLOT",
    "ALCEDO_SSH_KEY",
    "ALCEDO_TASK",
];
/// What daemon and proxy take over from whoever started them first, besides `ALCEDO_*`.
const INHERITED: [&str; 12] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "RUST_BACKTRACE",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// One of our own long-running programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// The data plane.
    Proxy,
    /// Engine, journal, API.
    Daemon,
}

impl Own {
    /// Its verb and the name of its shim.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Daemon => "daemon",
        }
    }

    /// What it may take for its graceful end.
    fn stop_timeout(self) -> Duration {
        match self {
            Self::Proxy => Duration::from_secs(60),
            Self::Daemon => Duration::from_secs(10),
        }
    }
}

/// Why daemon or proxy do not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuperviseError {
    /// Its directories cannot be used.
    #[error("prepare the directories of alcedo's own processes")]
    Paths(#[from] PathsError),
    /// A file there cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has been at it all the time.
    #[error("start the daemon: another process has been starting it for {limit_s} s")]
    Busy {
        /// Seconds.
        limit_s: u64,
    },
    /// Its shim does not answer.
    #[error("start the {program}")]
    Shim {
        /// `daemon` or `proxy`.
        program: &'static str,
        /// How it failed.
        source: AskError,
    },
    /// It ended, or does not answer; the reason should stand in its log.
    #[error("start the {program}: {detail}; its log is {}", log.display())]
    NotUp {
        /// `daemon` or `proxy`.
        program: &'static str,
        /// How it ended, or that it does not answer.
        detail: String,
        /// Its log.
        log: PathBuf,
    },
}

/// Keeps daemon and proxy running.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    paths: Paths,
    exe: PathBuf,
    program: fn(&Path, Own) -> Vec<String>,
    env: BTreeMap<String, String>,
    deaf_after: Duration,
}

/// Makes sure that proxy and daemon run, and returns when the daemon answers on its socket. `exe` is this binary.
pub(crate) fn ensure_running(
    paths: &Paths,
    exe: &Path,
    limit: Duration,
) -> Result<(), SuperviseError> {
    Supervisor::new(paths.clone(), exe.to_owned()).ensure_running(limit)
}

impl Supervisor {
    /// For the programs `<exe> proxy` and `<exe> daemon`.
    pub(crate) fn new(paths: Paths, exe: PathBuf) -> Self {
        let program =
            |exe: &Path, own: Own| vec![exe.display().to_string(), own.as_str().to_owned()];
        let mut env: BTreeMap<String, String> =
            env::vars().filter(|(name, _)| is_inherited(name)).collect();
        let (name, value) = exec::SMALL_HEAP;
        env.insert(name.to_owned(), value.to_owned());
        Self { paths, exe, program, env, deaf_after: DEAF_AFTER }
    }

    /// See [`ensure_running`].
    pub(crate) fn ensure_running(&self, limit: Duration) -> Result<(), SuperviseError> {
        if self.answers(Own::Daemon) {
            return Ok(());
        }
        let deadline = clock::now().after(limit);
        let _lock = self.lock(deadline, limit)?;
        // Whoever had the lock before us may have done it all.
        if self.answers(Own::Daemon) {
            return Ok(());
        }
        self.ensure(Own::Proxy, deadline)?;
        self.ensure(Own::Daemon, deadline)?;
        self.wait_for_answer(Own::Daemon, deadline)
    }

    /// Starts one of them when its shim is not there.
    pub(crate) fn ensure(&self, own: Own, deadline: Millis) -> Result<(), SuperviseError> {
        let dir = self.paths.own_shim(own.as_str());
        if ask(&dir, Verb::Hello, ANSWER).is_ok() {
            return Ok(());
        }
        paths::make_private(&dir)?;
        paths::make_private(&self.paths.state)?;
        self.write_order(own, &dir)?;
        shim::launch(&self.exe, &dir, Purpose::Own, deadline)
            .map(drop)
            .map_err(|source| SuperviseError::Shim { program: own.as_str(), source })
    }

    /// Stops one of them for good; `None` when it did not run.
    pub(crate) fn stop(&self, own: Own) -> Result<Option<Reply>, SuperviseError> {
        self.say(own, Verb::Stop)
    }

    /// Ends one of them gracefully and starts it again from this binary; `None` when it did not run.
    pub(crate) fn restart(&self, own: Own) -> Result<Option<Reply>, SuperviseError> {
        let dir = self.paths.own_shim(own.as_str());
        if dir.exists() {
            self.write_order(own, &dir)?;
        }
        self.say(own, Verb::Restart)
    }

    fn say(&self, own: Own, verb: Verb) -> Result<Option<Reply>, SuperviseError> {
        let limit = own.stop_timeout() + ANSWER;
        match ask(&self.paths.own_shim(own.as_str()), verb, limit) {
            Ok(reply) => Ok(Some(reply)),
            Err(AskError::NoShim(_)) => Ok(None),
            Err(source @ AskError::NoAnswer { .. }) => {
                Err(SuperviseError::Shim { program: own.as_str(), source })
            }
        }
    }

    fn answers(&self, own: Own) -> bool {
        UnixStream::connect(self.socket(own)).is_ok()
    }

    fn is_deaf(&self, own: Own, state: &State) -> bool {
        let since = clock::now().since(Millis(state.started_ms));
        state.phase == Phase::Running && since > self.deaf_after && !self.socket(own).exists()
    }

    fn socket(&self, own: Own) -> PathBuf {
        match own {
            Own::Proxy => self.paths.proxy_socket(),
            Own::Daemon => self.paths.daemon_socket(),
        }
    }

    fn lock(&self, deadline: Millis, limit: Duration) -> Result<File, SuperviseError> {
        paths::make_private(&self.paths.run)?;
        let path = self.paths.run.join("supervise.lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| SuperviseError::Write { path, source })?;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if clock::left(deadline).is_zero() {
                return Err(SuperviseError::Busy { limit_s: limit.as_secs() });
            }
            std::thread::sleep(LOOK);
        }
        Ok(file)
    }

    fn write_order(&self, own: Own, dir: &Path) -> Result<(), SuperviseError> {
        let wrap = |source| SuperviseError::Write { path: dir.join(SPEC), source };
        let opened = ShimDir::open(dir).map_err(wrap)?;
        // A stop that was asked for holds until somebody asks for a start: that is us.
        let is_over = opened.state().is_some_and(|state| match state.phase {
            Phase::Stopping | Phase::Stopped | Phase::GaveUp => true,
            Phase::Starting | Phase::Running | Phase::Restarting => false,
        });
        if is_over || opened.stopped_spec().is_some() {
            opened.forget().map_err(wrap)?;
        }
        opened.write(SPEC, &self.spec(own), Sync::No).map_err(wrap)
    }

    fn spec(&self, own: Own) -> Spec {
        Spec {
            version: VERSION,
            kind: Kind::Supervised,
            binding: own.as_str().to_owned(),
            argv: (self.program)(&self.exe, own),
            env: self.env.clone(),
            dir: PathBuf::from("/"),
            log: self.paths.own_log(own.as_str()),
            log_limit_bytes: LOG_LIMIT_BYTES,
            sockets: Vec::new(),
            stop_signal: "SIGTERM".to_owned(),
            stop_timeout_ms: u64::try_from(own.stop_timeout().as_millis()).unwrap_or(u64::MAX),
            restart: Restart::SUPERVISED,
        }
    }

    fn wait_for_answer(&self, own: Own, deadline: Millis) -> Result<(), SuperviseError> {
        let not_up = |detail: String| SuperviseError::NotUp {
            program: own.as_str(),
            detail,
            log: self.paths.own_log(own.as_str()),
        };
        loop {
            if self.answers(own) {
                return Ok(());
            }
            let reply = ask(&self.paths.own_shim(own.as_str()), Verb::State, ANSWER);
            let state = reply.ok().and_then(|reply| reply.state);
            if state.as_ref().is_some_and(|state| self.is_deaf(own, state)) {
                // Its directory was removed under it: it runs, and nobody can reach it.
                self.restart(own)?;
                continue;
            }
            let exit = state.as_ref().and_then(|state| state.last_exit.clone());
            if state.is_some_and(|state| state.restarts > RESTARTS_MAX) {
                return Err(not_up(exit.unwrap_or_default()));
            }
            if clock::left(deadline).is_zero() {
                return Err(not_up(exit.unwrap_or_else(|| "it does not answer".to_owned())));
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn is_inherited(name: &str) -> bool {
    let is_ours = name.starts_with("ALCEDO_") && !NOT_INHERITED.contains(&name);
    is_ours || INHERITED.contains(&name)
}

#[cfg(test)]
mod tests;
