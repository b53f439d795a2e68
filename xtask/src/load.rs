//! Load with an honest client: keep-alive connections, one attempt for every request, answers that are checked. A
//! connection that the server closed while it was idle is noticed before the next request is written, as any real client
//! does; everything else that goes wrong is a loss. Loopback only.

mod closed;
mod connection;
mod open;
mod relay;
mod request;
mod tally;

pub use relay::Relay;
pub use request::Dialect;
pub use tally::{Seen, Tally};

use anyhow::{Result, ensure};
use closed::Keep;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request without a correct answer by then is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(5);

/// Where the requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// A loopback address.
    pub address: SocketAddr,
    /// Host header.
    pub host: String,
    /// What is asked and what must come back.
    pub dialect: Dialect,
}

/// How requests arrive.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Each connection asks again as soon as it is answered.
    Closed {
        /// Connections.
        connections: usize,
        /// Of these, how many ask for answers that take a while, so that they are in flight nearly always.
        slow: usize,
    },
    /// The same, each request on a connection of its own: what `curl` and health checkers are.
    Fresh {
        /// Connections at a time.
        connections: usize,
    },
    /// Poisson arrivals that do not wait for answers; latency counts from the intended time of sending.
    Open {
        /// Mean rate.
        per_second: f64,
        /// Connections at most; arrivals wait for one and the wait counts.
        connections: usize,
    },
}

/// Load that runs in a thread of its own until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    stopping: AtomicBool,
    tally: Mutex<Tally>,
}

impl Shared {
    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Begins.
    pub fn start(target: Target, shape: Shape) -> Result<Self> {
        ensure!(target.address.ip().is_loopback(), "load goes to loopback addresses only");
        let tally = Mutex::new(Tally::default());
        let shared = Arc::new(Shared { target, stopping: AtomicBool::new(false), tally });
        let inner = shared.clone();
        let thread = std::thread::Builder::new().name("load".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = tokio::task::LocalSet::new();
            match shape {
                Shape::Closed { connections, slow } => {
                    local.block_on(&runtime, closed::run(inner, connections, slow, Keep::Alive))
                }
                Shape::Fresh { connections } => {
                    local.block_on(&runtime, closed::run(inner, connections, 0, Keep::Nothing))
                }
                Shape::Open { per_second, connections } => {
                    local.block_on(&runtime, open::run(inner, per_second, connections))
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The numbers so far.
    pub fn so_far(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Requests answered correctly so far.
    pub fn answered(&self) -> u64 {
        self.shared.tally().ok
    }

    /// Requests lost so far.
    pub fn lost(&self) -> u64 {
        self.shared.tally().lost
    }

    /// When the release was first seen in an answer, by the app's own clock in nanoseconds.
    pub fn first_seen(&self, release: &str) -> Option<u64> {
        self.shared.tally().releases.get(release).map(|seen| seen.first_at_ns)
    }

    /// Sends no more, waits for what is in flight, and gives the numbers.
    pub fn stop(mut self) -> Result<Tally> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
        }
        Ok(self.shared.tally().clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
