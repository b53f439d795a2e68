//! What the engine needs of the world: small, object-safe, blocking traits.
//!
//! Adapters implement them for real tools, `SimHost` for tests. A port does one effect and returns; what to do next
//! is never decided here. Every method that can take long gets a [`Call`].

mod releases;

use alcedo_core::binding::{Address, Binding, BindingId};
use alcedo_core::config::Config;
use alcedo_core::{AppName, ServiceName, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use releases::{
    FetchOrder, Fetched, Instance, PrepareOrder, Releases, Sealed, Sent, Source, StoredRelease,
};

/// Milliseconds of the boot clock (`CLOCK_BOOTTIME`): monotone, counts suspend, never set back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// This point plus `duration`, saturating.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this point, zero when it lies behind.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Set once to ask a running effect to come to its end early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Takes the wish back.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// The flag itself, for a signal handler.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether somebody asked.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Limits of one port call, and where it reports how far it is.
pub(crate) struct Call<'a> {
    /// When it must have returned.
    pub(crate) deadline: Millis,
    /// Polled at least every 100 ms by whatever takes longer.
    pub(crate) cancel: &'a Cancel,
    /// One short line for people, may be lost; called at most a few times a second.
    pub(crate) progress: &'a dyn Fn(&str),
}

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectError {
    /// Somebody asked it to stop.
    #[error("finish: cancelled")]
    Cancelled,
    /// Its deadline passed.
    #[error("{what} within its time limit of {limit_s} s")]
    TimedOut {
        /// A fragment that fits "failed to …".
        what: String,
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// It failed; `detail` says what was seen, `hint` what to type or change.
    #[error("{what}")]
    Failed {
        /// A fragment that fits "failed to …"; names path, port or unit.
        what: String,
        /// What was seen, whole (several lines are fine).
        detail: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl EffectError {
    /// A failure with its cause, without a hint.
    pub(crate) fn failed(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Failed { what: what.into(), detail: cause.to_string(), hint: None }
    }
}

/// Runs slots. Start and stop are idempotent; identity is pid, start time and boot id, never a name.
pub(crate) trait Runner: Send + Sync {
    /// Starts every process of `binding` that does not run yet and returns once all are spawned (not ready). A slot
    /// that still holds another binding is an error: the engine stops it first.
    fn start(&self, binding: &Binding, call: &Call<'_>) -> Result<SlotState, EffectError>;

    /// Stops whatever runs in the slot: the graceful signal to each main process, SIGKILL to its tree after its
    /// `stop.timeout`. Returns when nothing of it runs any more. A slot that is empty is fine. Not cancellable.
    fn stop(&self, app: &AppName, slot: Slot, call: &Call<'_>) -> Result<SlotState, EffectError>;

    /// Replaces supervisors of the binding that died; what was stopped or given up stays so.
    fn ensure(&self, binding: &Binding, call: &Call<'_>) -> Result<(), EffectError>;

    /// What the world has in the slot now.
    fn observe(&self, app: &AppName, slot: Slot) -> Result<SlotState, EffectError>;

    /// The last lines that a process of the slot wrote, at most 20; empty when there are none to be had.
    fn last_words(&self, app: &AppName, slot: Slot, seen: &ProcessState) -> String;
}

/// What runs in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SlotState {
    /// The binding whose processes these are; `None` when nothing was ever started or all is stopped and forgotten.
    pub(crate) binding: Option<BindingId>,
    /// One entry for each process of the binding.
    pub(crate) processes: Vec<ProcessState>,
}

impl SlotState {
    /// Whether it runs whole: each of its processes runs, or is about to be started again.
    pub(crate) fn is_up(&self) -> bool {
        let runs = |p: &ProcessState| matches!(p.phase, Phase::Running | Phase::Restarting);
        !self.processes.is_empty() && self.processes.iter().all(runs)
    }

    /// How often its processes were started again after they ended by themselves.
    pub(crate) fn restarts(&self) -> u32 {
        self.processes.iter().map(|p| p.restarts).sum()
    }
}

/// One process of a slot, as seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessState {
    /// Its name within the slot.
    pub(crate) name: ServiceName,
    /// What it does.
    pub(crate) phase: Phase,
    /// Its main process.
    pub(crate) pid: Option<u32>,
    /// Times it was started again after it ended by itself.
    pub(crate) restarts: u32,
    /// Whom it runs as, where that is a user of the app's own and none that we could look into.
    pub(crate) user: Option<u32>,
    /// Resident memory of its tree, in bytes.
    pub(crate) memory_bytes: u64,
    /// How it ended last: `exit status 1`, `signal 9 (SIGKILL)`, `cannot be started: …`.
    pub(crate) last_exit: Option<String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It runs.
    Running,
    /// It ended by itself and is about to be started again.
    Restarting,
    /// It ended by itself too often (or cannot be started): nobody starts it again.
    GaveUp,
    /// It was stopped.
    Stopped,
}

/// Carries traffic. The generation counts switches; structure changes do not touch it.
pub(crate) trait Router: Send + Sync {
    /// The effective target, asked of the running router, never of a file. `None`: the service is unknown to it.
    fn observe(&self, app: &AppName) -> Result<Option<Effective>, EffectError>;

    /// Sets what does not change with a deploy (domains, limits, where the slots listen). Durable when it returns.
    /// Idempotent.
    fn configure(
        &self,
        app: &AppName,
        config: &Config,
        upstreams: &[alcedo_core::nginx::Upstream],
    ) -> Result<(), EffectError>;

    /// Compare-and-set: points `app` at `binding` when the generation is still `expected` (0: never switched).
    /// Durable, then published, then answered. A repeated `operation` that already took effect answers as before.
    fn switch(
        &self,
        app: &AppName,
        expected: u64,
        binding: &Binding,
        operation: &str,
    ) -> Result<Switched, SwitchError>;

    /// Lets a binding without traffic come to its end: its upgraded connections are closed with 1012 within the
    /// limit, spread over time. Returns at once.
    fn drain(&self, app: &AppName, binding: &BindingId, config: &Config)
    -> Result<(), EffectError>;

    /// Counters for each target that the router still knows.
    fn traffic(&self, app: &AppName) -> Result<Vec<Traffic>, EffectError>;

    /// Lets whoever shows the token reach the binding, though it has no traffic: until the time is over, the next switch,
    /// or the router's end. [`PASS_PATH`] and the token make a cookie of it.
    fn admit(
        &self,
        app: &AppName,
        _binding: &Binding,
        _token: &str,
        _lifetime: Duration,
    ) -> Result<(), EffectError> {
        Err(EffectError::Failed {
            what: format!("make a link to the slot of {app} without traffic"),
            detail: "this router has none in this version".to_owned(),
            hint: Some("alcedo preview --tunnel".to_owned()),
        })
    }

    /// No token is good any more.
    fn end_passes(&self, _app: &AppName) -> Result<(), EffectError> {
        Ok(())
    }

    /// What it has to answer for this app and cannot, because somebody else has it.
    fn entrances_taken(&self, _app: &AppName, _config: &Config) -> Vec<EntranceTaken> {
        Vec::new()
    }

    /// What of its structure waits for `setup`, as names of files. Empty: nothing, or it sees to that by itself.
    fn unprepared(
        &self,
        _app: &AppName,
        _config: &Config,
        _upstreams: &[alcedo_core::nginx::Upstream],
    ) -> Vec<String> {
        Vec::new()
    }

    /// What stands against it on this host, for `check`.
    fn findings(&self, _app: &AppName) -> Vec<alcedo_core::lint::Finding> {
        Vec::new()
    }

    /// The base URL through the router's own listener, for verification: address to connect to and Host to send.
    fn entrance(&self, app: &AppName, config: &Config) -> Result<Entrance, EffectError>;
}

/// Where a token of [`Router::admit`] is made a cookie, on the app's own domains.
pub(crate) const PASS_PATH: &str = "/.alcedo/preview/";

/// An address that an app is to be reached at and that is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntranceTaken {
    /// The address.
    pub(crate) address: std::net::SocketAddr,
    /// The app that has it, for one of the same domains or for every host; `None`: a process that is not the router's.
    pub(crate) app: Option<(String, String)>,
}

/// Where the router points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The target as recorded with the switch, a [`BindingId`] as text; `None`: configured, never switched.
    pub(crate) target: Option<String>,
    /// Counts switches.
    pub(crate) generation: u64,
    /// The operation that made it so.
    pub(crate) operation: Option<String>,
}

/// A switch that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switched {
    /// The new generation.
    pub(crate) generation: u64,
    /// From the command's arrival at the router until the new target was published, in microseconds.
    pub(crate) took_us: u64,
}

/// Why a switch did not take effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// The generation is another one: somebody else switched. Nothing was changed.
    #[error("switch: the router is at another generation than expected")]
    Conflict(Effective),
    /// It did not take effect, or that is not known: ask [`Router::observe`].
    #[error("switch")]
    Effect(#[from] EffectError),
}

/// Counters of one target since it last got traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// The target, a [`BindingId`] as text.
    pub(crate) target: String,
    /// Requests answered or failed.
    pub(crate) requests: u64,
    /// Of these, answered 5xx or not at all because of the target.
    pub(crate) errors: u64,
    /// Requests not yet ended.
    pub(crate) in_flight: u64,
    /// Upgraded connections (WebSockets).
    pub(crate) tunnels: u64,
    /// Median and 95th percentile of the time to the first byte, in microseconds.
    pub p50_us: u64,
    /// See `p50_us`.
    pub p95_us: u64,
    /// Worst paths: method and path with status and count, at most ten.
    pub(crate) worst: Vec<(String, u64)>,
}

/// How to ask through the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// Where to connect.
    pub(crate) address: Address,
    /// The Host header.
    pub(crate) host: String,
    /// As people type it: `http://127.0.0.1:8080`.
    pub(crate) url: String,
    /// Whether answers name their release (`X-Alcedo-Release`), or their slot alone.
    pub(crate) names_release: bool,
}

/// Asks slots and the public address. No retries: policy is core's.
pub(crate) trait Probe: Send + Sync {
    /// One `GET`; redirects are not followed. The body is cut at 64 KiB.
    fn get(&self, request: &Get, call: &Call<'_>) -> Result<Answer, String>;

    /// Connects and closes.
    fn connect(&self, address: &Address, call: &Call<'_>) -> Result<(), String>;

    /// Runs a shell command of the user's in the release; `Ok` is exit status 0, `Err` the last lines it wrote.
    fn command(&self, command: &str, binding: &Binding, call: &Call<'_>) -> Result<(), String>;

    /// Who listens on the address; empty: nobody (or another user's process that cannot be looked into).
    fn listeners(&self, address: &Address) -> Result<Vec<Listener>, EffectError>;
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Get {
    /// Where to connect.
    pub(crate) address: Address,
    /// Path and query.
    pub(crate) path: String,
    /// Host header.
    pub(crate) host: String,
    /// Further headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// For the whole request.
    pub(crate) timeout: Duration,
    /// The document root of a pool of php-fpm, which is asked in FastCGI; absent: HTTP.
    pub(crate) root: Option<PathBuf>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers, lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    /// The first 64 KiB of its body.
    pub(crate) body: Vec<u8>,
}

/// A process that listens on an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Its id; `None`: it cannot be looked into.
    pub(crate) pid: Option<u32>,
    /// The user who opened the socket, where the kernel says so.
    pub(crate) user: Option<u32>,
    /// Its command line, cut at 200 bytes.
    pub(crate) command: String,
    /// Its executable.
    pub(crate) exe: Option<PathBuf>,
    /// Its working directory.
    pub(crate) cwd: Option<PathBuf>,
    /// True when it listens on every address, not only on loopback.
    pub(crate) public: bool,
}

impl Listener {
    /// Whether its program or its working directory lies in the instance. The system tells both by their real paths, so
    /// a root that is a symlink is followed.
    pub(crate) fn runs_from(&self, instance: &std::path::Path) -> bool {
        let instance = instance.canonicalize().unwrap_or_else(|_| instance.to_owned());
        [&self.exe, &self.cwd].into_iter().flatten().any(|path| path.starts_with(&instance))
    }
}

/// The journal. After `append` returned, the record survives a power cut; a failed append left nothing behind.
pub(crate) trait Journal: Send + Sync {
    /// Appends one record; its `seq` must follow the last one of the app.
    fn append(&self, app: &AppName, record: &alcedo_core::event::Record)
    -> Result<(), EffectError>;

    /// Every record of the app, in order.
    fn read(&self, app: &AppName) -> Result<Vec<alcedo_core::event::Record>, EffectError>;

    /// Apps with a journal.
    fn apps(&self) -> Result<Vec<AppName>, EffectError>;
}

/// Time, and the only way to let it pass.
pub(crate) trait Clock: Send + Sync {
    /// The boot clock.
    fn now(&self) -> Millis;

    /// Wall clock, RFC 3339 UTC with milliseconds: for people, never for decisions.
    fn wall(&self) -> String;

    /// The wall clock as it will be, for people.
    fn wall_in(&self, from_now: Duration) -> String {
        let now: Result<jiff::Timestamp, _> = self.wall().parse();
        let later = now
            .ok()
            .and_then(|now| now.checked_add(jiff::SignedDuration::try_from(from_now).ok()?).ok());
        later.map_or_else(String::new, |at| at.to_string())
    }

    /// The boot that the boot clock counts in.
    fn boot(&self) -> String;

    /// Returns at `until`, or early when cancelled.
    fn sleep_until(&self, until: Millis, cancel: &Cancel);
}

/// What the machine has.
pub(crate) trait Machine: Send + Sync {
    /// Memory that could be used without swapping, in bytes.
    fn memory_available_bytes(&self) -> u64;

    /// Free bytes for this user on the file system of `path` (or its nearest existing parent).
    fn disk_available_bytes(&self, path: &std::path::Path) -> u64;

    /// 128 random bits in letters and digits, that nobody can guess.
    fn token(&self) -> Result<String, EffectError>;

    /// The php-fpm of this version, or the newest; `None`: there is none.
    fn php_fpm(&self, _version: Option<&str>) -> Option<PathBuf> {
        None
    }

    /// What of the configuration waits for `setup`: names of units that are not as it wants them. Empty: nothing.
    fn unprepared(&self, _app: &AppName, _config: &Config) -> Vec<String> {
        Vec::new()
    }

    /// Sets the files that tell apps which slot is active (`ALCEDO_ACTIVE_FILE`).
    fn mark_active(&self, app: &AppName, active: Option<Slot>) -> Result<(), EffectError>;
}

/// Everything outside, as the engine sees it.
#[derive(Clone)]
pub(crate) struct World {
    /// Runs slots.
    pub(crate) runner: Arc<dyn Runner>,
    /// Carries traffic.
    pub(crate) router: Arc<dyn Router>,
    /// Asks.
    pub(crate) probe: Arc<dyn Probe>,
    /// Keeps releases.
    pub(crate) releases: Arc<dyn Releases>,
    /// Keeps the journal.
    pub(crate) journal: Arc<dyn Journal>,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells what there is room for.
    pub(crate) machine: Arc<dyn Machine>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_behind_a_symlink_is_the_same_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let real = dir.path().canonicalize().expect("a real path");
        std::fs::create_dir_all(real.join("disk/releases/one")).expect("a release");
        std::os::unix::fs::symlink(real.join("disk"), real.join("srv")).expect("a symlink");
        let cwd = Some(real.join("disk/releases/one"));
        let command = "app".to_owned();
        let listener =
            Listener { pid: Some(1), command, exe: None, cwd, user: None, public: false };
        assert!(listener.runs_from(&real.join("srv/releases/one")));
        assert!(!listener.runs_from(&real.join("srv/releases/two")));
    }
}
