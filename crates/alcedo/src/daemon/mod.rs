//! `alcedo daemon`: engine, journal and API in one process. Killing it at any instant never touches traffic; on start
//! it finishes or undoes what was under way.

mod check;
mod events;
mod host;
mod logs;
mod router;
mod runners;
mod server;
mod status;
mod tables;
mod upload;

use crate::adapters::clock;
use crate::engine::order::chain;
use crate::paths::Paths;
use crate::supervise::{Own, Supervisor};
use host::Host;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Dead shims of daemon and proxy are looked for this often.
const OWN_EVERY: Duration = Duration::from_secs(30);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// There is one already.
    #[error("lock {0}: another daemon runs with this state directory")]
    Locked(PathBuf),
    /// Something of its own could not be made.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Runs until SIGTERM. Deploys under way are not waited for: the next daemon finds them in the journal.
pub(crate) fn run(paths: &Paths) -> Result<(), DaemonError> {
    let _lock = lock(&paths.state)?;
    let host = Host::open(paths);
    watch_own(paths);
    let socket = paths.daemon_socket();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| {
            DaemonError::Io { what: "start the runtime for", path: socket.clone(), source }
        })?;
    let served = runtime.block_on(server::serve(&socket, host.clone()));
    host.stop();
    served.map_err(|source| DaemonError::Io { what: "listen on", path: socket, source })
}

/// Under a shim, the daemon sees to it that its own shim and the proxy's are replaced when they die.
fn watch_own(paths: &Paths) {
    if std::env::var_os(crate::process_table::MARK_SHIM).is_none() {
        return;
    }
    let Ok(exe) = std::env::current_exe() else { return };
    let supervisor = Supervisor::new(paths.clone(), exe);
    let watch = move || {
        loop {
            std::thread::park_timeout(OWN_EVERY);
            let deadline = clock::now().after(OWN_EVERY);
            for own in [Own::Proxy, Own::Daemon] {
                if let Err(error) = supervisor.ensure(own, deadline) {
                    tracing::warn!("failed to look after {}: {}", own.as_str(), chain(&error));
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("own shims".to_owned()).spawn(watch) {
        tracing::warn!("failed to start a thread: {error}");
    }
}

/// One daemon a state directory. Held as long as the file is open.
fn lock(state: &Path) -> Result<std::fs::File, DaemonError> {
    let path = state.join("daemon.lock");
    let io = |source| DaemonError::Io { what: "open", path: path.clone(), source };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(DaemonError::Locked(path)),
    }
}
