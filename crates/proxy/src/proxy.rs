//! The process: starts its threads in order and ends them in order.

use crate::control::server;
use crate::disk::RealDisk;
use crate::hub::Hub;
use crate::listen::{Acceptor, Listeners, Supervisor, prepare_acceptor};
use crate::options::Options;
use crate::shared::Shared;
use crate::{access_log, worker};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Threads that carry traffic, at most, unless more are asked for.
const WORKERS_MAX: usize = 4;
/// How often an address is tried again that could not be listened on.
const RETRY: Duration = Duration::from_secs(5);

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be read.
    #[error("read the state in {path}")]
    State {
        /// `state_dir`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control socket cannot be opened.
    #[error("open the control socket {path}")]
    Control {
        /// `control_socket`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("open the access log {path}")]
    AccessLog {
        /// `access_log`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A descriptor that was passed is no listening socket.
    #[error("use the descriptors passed by the supervisor")]
    Descriptors(#[source] io::Error),
    /// The system refuses a thread or an event loop.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// Runs the proxy until SIGTERM or SIGINT, then lets what is under way end.
pub fn run(options: Options) -> Result<(), Error> {
    // Each thread's first allocation would else take a huge page: 10 MB for what fits into one.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let passed = passed_listeners().map_err(Error::Descriptors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Thread)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Thread)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Thread)?;
        let proxy = Proxy::start_with(options, passed, Supervisor::from_env())?;
        proxy.hub.ready();
        let ended = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::pin!(ended);
        loop {
            match tokio::time::timeout(RETRY, &mut ended).await {
                Ok(()) => break,
                Err(_) => proxy.hub.retry_listening(),
            }
        }
        tracing::info!("stopping");
        proxy.stop();
        Ok(())
    })
}

/// A running proxy.
pub struct Proxy {
    hub: Arc<Hub>,
    control_socket: PathBuf,
    acceptor: Acceptor,
    workers: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts the threads; when it returns, what the state files say is served.
    pub fn start(options: Options) -> Result<Self, Error> {
        Self::start_with(options, Vec::new(), Supervisor::silent())
    }

    /// Accepts no more and returns when what was under way has ended: requests, and after two seconds idle
    /// connections; after 30 seconds whatever is left.
    pub fn stop(self) {
        self.hub.stop();
        self.acceptor.wait_until_obeyed();
        self.hub.stop_workers();
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
        let _ = std::fs::remove_file(&self.control_socket);
    }

    fn start_with(
        options: Options,
        passed: Vec<(Option<String>, TcpListener)>,
        supervisor: Supervisor,
    ) -> Result<Self, Error> {
        let control_socket = options.control_socket.clone();
        let control = server::bind(&control_socket)
            .map_err(|source| Error::Control { path: control_socket.clone(), source })?;
        let log = options.access_log.as_ref().map(|path| {
            access_log::start(path, options.access_log_size_bytes)
                .map_err(|source| Error::AccessLog { path: path.clone(), source })
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = options.workers.unwrap_or_else(|| cores.min(WORKERS_MAX)).max(1);
        let shared = Shared::new(options, workers, log.transpose()?);
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for index in 0..workers {
            let (sender, thread) = worker::start(index, shared.clone()).map_err(Error::Thread)?;
            senders.push(sender);
            threads.push(thread);
        }
        let (acceptor, accepting) =
            prepare_acceptor(shared.clone(), senders.clone()).map_err(Error::Thread)?;
        let listeners = Listeners::new(acceptor.clone(), supervisor, passed);
        let listeners = listeners.map_err(Error::Descriptors)?;
        let path = shared.options.state_dir.clone();
        let hub = Hub::load(shared, Box::new(RealDisk), senders, listeners)
            .map_err(|source| Error::State { path, source })?;
        let hub = Arc::new(hub);
        accepting.start().map_err(Error::Thread)?;
        server::start(control, hub.clone()).map_err(Error::Thread)?;
        Ok(Self { hub, control_socket, acceptor, workers: threads })
    }
}

/// What `LISTEN_FDS` passes, with the names of `LISTEN_FDNAMES`.
fn passed_listeners() -> io::Result<Vec<(Option<String>, TcpListener)>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(|name| (!name.is_empty()).then(|| name.to_owned()));
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..descriptors.len() {
        let name = names.next().flatten();
        if let Some(listener) = descriptors.take_tcp_listener(index)? {
            listeners.push((name, listener));
        }
    }
    Ok(listeners)
}
