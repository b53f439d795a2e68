//! The control socket's own side: one blocking thread a connection, so that waiting for the disk holds up no request.

use super::wire::{Failure, FailureKind, LINE_BYTES_MAX, Reply, Request, WIRE_VERSION};
use crate::hub::Hub;
use serde::Serialize;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;
/// For a peer to take its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Binds the socket with mode 0600, in place of one that nobody answers on.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another proxy answers on it"));
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // Nobody can connect before the mode is right, because nobody knows this name.
    let mut unknown = path.to_owned().into_os_string();
    unknown.push(".new");
    let _ = fs::remove_file(&unknown);
    let listener = UnixListener::bind(&unknown)?;
    fs::set_permissions(&unknown, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unknown, path)?;
    Ok(listener)
}

/// Serves until the process ends or `hub` is told to stop and one more connection comes.
pub(crate) fn start(listener: UnixListener, hub: Arc<Hub>) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let serve_all = move || {
        for stream in listener.incoming() {
            if hub.is_stopped() {
                return;
            }
            let Ok(stream) = stream else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX || !is_allowed(&stream) {
                continue;
            }
            let place = Place::take(&open);
            let hub = hub.clone();
            let serve = move || {
                let _place = place;
                if let Err(error) = serve(&stream, &hub) {
                    tracing::debug!(%error, "a control connection broke");
                }
            };
            let thread = std::thread::Builder::new().name("control".to_owned());
            if let Err(error) = thread.spawn(serve) {
                tracing::warn!(%error, "cannot serve a control connection");
            }
        }
    };
    std::thread::Builder::new().name("control-accept".to_owned()).spawn(serve_all)?;
    Ok(())
}

/// One of the connections that may be open; given back however its thread ends, or never begins.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same user as ours, or root.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream.as_fd())
        .is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}

fn serve(stream: &UnixStream, hub: &Hub) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(());
        }
        let arrived = Instant::now();
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => obey(hub, request, arrived)?,
            Err(error) => encode(Err::<(), _>(Failure {
                kind: FailureKind::Refused,
                message: format!("understand the request: {error}"),
                effective: None,
            }))?,
        };
        (&*stream).write_all(&reply)?;
    }
}

fn obey(hub: &Hub, request: Request, arrived: Instant) -> io::Result<Vec<u8>> {
    match request {
        Request::Hello { version } if version == WIRE_VERSION => encode(Ok(hub.hello())),
        Request::Hello { version } => encode(Err::<(), _>(Failure {
            kind: FailureKind::Refused,
            message: format!("speak control version {version}: this proxy speaks {WIRE_VERSION}"),
            effective: None,
        })),
        Request::Configure { service, structure } => encode(hub.configure(&service, &structure)),
        Request::Switch { service, expected_generation, operation, target } => {
            encode(hub.switch(arrived, &service, expected_generation, &operation, &target))
        }
        Request::Observe { service } => encode(Ok(hub.observe(&service))),
        Request::List => encode(Ok(hub.list())),
        Request::Traffic { service } => encode(hub.traffic(&service)),
        Request::Drain { service, target, limits } => encode(hub.drain(&service, &target, limits)),
        Request::Admit { service, target, token, lifetime_s } => {
            encode(hub.admit(&service, &target, &token, lifetime_s))
        }
        Request::EndPasses { service } => encode(hub.end_passes(&service)),
        Request::Maintenance { service, on } => encode(hub.maintenance(&service, on)),
        Request::Forget { service } => encode(hub.forget(&service)),
        Request::Status => encode(Ok(hub.status())),
    }
}

fn encode<T: Serialize>(result: Result<T, Failure>) -> io::Result<Vec<u8>> {
    let reply = match result {
        Ok(value) => Reply::Ok(value),
        Err(failure) => Reply::Failed(failure),
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    Ok(line)
}
