//! What stands in a shim's directory: `spec.json` (written by the runner, never by the shim), `state.json` (the other
//! way round), `lock`, `ctl.sock` and, for supervised programs, `notify.sock`.
//!
//! Frozen as version 1, because shims outlive the alcedo that started them: readers ignore fields they do not know,
//! fields are only added, with a default; a higher version is refused.

use crate::process_table::Identity;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Of the files and of the protocol.
pub(crate) const VERSION: u32 = 1;
/// What to run.
pub(crate) const SPEC: &str = "spec.json";
/// What became of it.
pub(crate) const STATE: &str = "state.json";
/// A spec that must not be started any more.
const STOPPED: &str = "stopped.json";
/// Default of [`Spec::log_limit_bytes`]; as much again is kept of what was before.
pub(crate) const LOG_LIMIT_BYTES: u64 = 16 << 20;

/// What to run and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// An app's process, or one of our own.
    pub(crate) kind: Kind,
    /// The binding it belongs to; `daemon` or `proxy` for our own.
    pub(crate) binding: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory.
    pub(crate) dir: PathBuf,
    /// Where stdout and stderr go.
    pub(crate) log: PathBuf,
    /// From here on it is cut.
    pub(crate) log_limit_bytes: u64,
    /// Unix sockets it binds: removed before each start, since most servers refuse an address that exists.
    #[serde(default)]
    pub(crate) sockets: Vec<PathBuf>,
    /// `SIGTERM` and the like, for the main process.
    pub(crate) stop_signal: String,
    /// From the signal until the tree is killed.
    pub(crate) stop_timeout_ms: u64,
    /// What happens when it ends by itself.
    pub(crate) restart: Restart,
}

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An app's. Everything it starts is its tree.
    App,
    /// Daemon or proxy. They may send descriptors to keep (`NOTIFY_SOCKET`, `FDSTORE=1`).
    Supervised,
}

/// When it is started again after it ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// Wait before the first restart; doubled each time.
    pub(crate) first_ms: u64,
    /// Upper limit of the wait.
    pub(crate) max_ms: u64,
    /// A run this long counts as a good one: waits and counts begin anew.
    pub(crate) stable_ms: u64,
    /// Given up after so many short runs …
    pub(crate) give_up_exits: Option<u32>,
    /// … within this time.
    pub(crate) give_up_within_ms: u64,
}

impl Restart {
    /// For apps: 0.2 s doubling to 10 s; given up after 5 ends within 60 s without a run of 30 s.
    pub(crate) const APP: Self = Self {
        first_ms: 200,
        max_ms: 10_000,
        stable_ms: 30_000,
        give_up_exits: Some(5),
        give_up_within_ms: 60_000,
    };
    /// For daemon and proxy: at once, then 0.1 s doubling to 2 s, for ever.
    pub(crate) const SUPERVISED: Self = Self {
        first_ms: 0,
        max_ms: 2_000,
        stable_ms: 10_000,
        give_up_exits: None,
        give_up_within_ms: 0,
    };
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// See [`Spec::binding`].
    pub(crate) binding: String,
    /// The boot in which this was written.
    pub(crate) boot_id: String,
    /// What it does.
    pub(crate) phase: Phase,
    /// The main process, while there is one.
    pub(crate) child: Option<Identity>,
    /// Boot clock at the last start.
    #[serde(default)]
    pub(crate) started_ms: u64,
    /// Times it was started again after it ended by itself.
    #[serde(default)]
    pub(crate) restarts: u32,
    /// Boot clock at the ends of the last short runs.
    #[serde(default)]
    pub(crate) short_runs_ms: Vec<u64>,
    /// How it ended last.
    #[serde(default)]
    pub(crate) last_exit: Option<String>,
    /// It said `READY=1` (supervised only).
    #[serde(default)]
    pub(crate) ready: bool,
}

/// What a shim's child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// About to be started: a child may exist that is not written down yet.
    Starting,
    /// It runs.
    Running,
    /// It ended by itself and is started again after a wait.
    Restarting,
    /// Somebody wants it stopped: it is never started again.
    Stopping,
    /// Nothing of it runs.
    Stopped,
    /// It ended too often, or cannot be started: it is not started again.
    GaveUp,
}

/// A shim's directory, opened. Files are reached through the descriptor, so that a socket's path stays below 108 bytes
/// and the directory cannot be exchanged underneath.
#[derive(Debug)]
pub(crate) struct ShimDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl ShimDir {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        Ok(Self { path: path.to_owned(), dir: open(path, flags, Mode::empty())? })
    }

    /// As it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A short name for a file in it, valid in this process.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }

    /// The spec, checked to be of a version that we know.
    pub(crate) fn spec(&self) -> io::Result<Spec> {
        let spec: Spec = self.read(SPEC)?;
        if spec.version > VERSION {
            let text = format!("spec.json has version {}, this shim knows {VERSION}", spec.version);
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(spec)
    }

    /// The spec of a program that was stopped when there was no room to write the state; see [`Self::forbid_start`].
    pub(crate) fn stopped_spec(&self) -> Option<Spec> {
        self.read(STOPPED).ok()
    }

    /// Whether something was ever ordered, readable or not.
    pub(crate) fn has_order(&self) -> bool {
        let is_gone = |name| {
            let found = fs::symlink_metadata(self.file(name));
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        !(is_gone(SPEC) && is_gone(STOPPED))
    }

    /// Leaves nothing that a replacement could start. Renaming needs no room on the disk.
    pub(crate) fn forbid_start(&self) -> io::Result<()> {
        fs::rename(self.file(SPEC), self.file(STOPPED))
    }

    /// Clears away what an earlier order left, before a new one is written.
    pub(crate) fn forget(&self) -> io::Result<()> {
        for name in [STATE, STOPPED] {
            match fs::remove_file(self.file(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The state; `None` when there is none or it is damaged.
    pub(crate) fn state(&self) -> Option<State> {
        self.read(STATE).ok()
    }

    /// Replaces a file whole: readers see the old or the new one.
    pub(crate) fn write(&self, name: &str, value: &impl Serialize, sync: Sync) -> io::Result<()> {
        let temporary = self.file(&format!(".{name}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
        match sync {
            Sync::No => {}
            Sync::Data => file.sync_data()?,
        }
        fs::rename(&temporary, self.file(name))
    }

    /// The lock that a shim holds as long as it lives, if nobody has it. A child between fork and exec still holds its
    /// dead shim's: once the lock is free, every child is visible in `/proc` under its own name and environment.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        let file = File::options().create(true).append(true).open(self.file("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        serde_json::from_slice(&fs::read(self.file(name))?).map_err(io::Error::other)
    }
}

/// Whether a write has to survive a power cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sync {
    /// After one, this boot's processes are gone anyway.
    No,
    /// A stop that was asked for stays asked for.
    Data,
}
