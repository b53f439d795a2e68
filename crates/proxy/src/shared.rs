//! What every thread of the process sees: the table, the clock, and the counts of connections.

use crate::options::Options;
use crate::table::Table;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

/// The process, for its threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) workers: usize,
    pub(crate) started: Instant,
    table: ArcSwap<Table>,
    table_epoch: AtomicU64,
    /// Open connections of each worker.
    connections: Box<[AtomicU64]>,
    refused: AtomicU64,
    is_stopping: AtomicBool,
    log: Option<SyncSender<Vec<u8>>>,
    log_lines_dropped: AtomicU64,
}

/// One client connection; the count goes down when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    worker: usize,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        workers: usize,
        log: Option<SyncSender<Vec<u8>>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            workers,
            started: Instant::now(),
            table: ArcSwap::default(),
            table_epoch: AtomicU64::new(1),
            connections: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            refused: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            log,
            log_lines_dropped: AtomicU64::new(0),
        })
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// The same for a time already read.
    pub(crate) fn ms_at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// The table as it is now, and its epoch read before.
    pub(crate) fn table(&self) -> (u64, Arc<Table>) {
        let epoch = self.table_epoch();
        (epoch, self.table.load_full())
    }

    /// Changes with every [`Self::set_table`].
    pub(crate) fn table_epoch(&self) -> u64 {
        self.table_epoch.load(Ordering::SeqCst)
    }

    /// From when this returns, no request begins with the old table.
    pub(crate) fn set_table(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.table_epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a connection in on the worker with the fewest, beginning at `first` among equals; `None`: too many.
    pub(crate) fn admit(self: &Arc<Self>, first: usize) -> Option<Permit> {
        let count = |worker: usize| self.connections[worker].load(Ordering::Relaxed);
        let workers = (first..self.workers).chain(0..first);
        let worker = workers.min_by_key(|worker| count(*worker))?;
        if self.connection_counts().0 >= self.options.max_connections as u64 {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.connections[worker].fetch_add(1, Ordering::Relaxed);
        Some(Permit { shared: self.clone(), worker })
    }

    /// Connections open, and connections refused so far.
    pub(crate) fn connection_counts(&self) -> (u64, u64) {
        let open = self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        (open, self.refused.load(Ordering::Relaxed))
    }

    /// Whether the process comes to its end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// It does.
    pub(crate) fn set_stopping(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    /// Whether requests are logged.
    pub(crate) fn logs(&self) -> bool {
        self.log.is_some()
    }

    /// Hands lines to the writer, or drops and counts them.
    pub(crate) fn log(&self, block: Vec<u8>) {
        let Some(log) = &self.log else { return };
        if let Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) =
            log.try_send(block)
        {
            let lines = block.iter().filter(|byte| **byte == b'\n').count();
            self.log_lines_dropped.fetch_add(lines as u64, Ordering::Relaxed);
        }
    }

    /// Lines dropped so far.
    pub(crate) fn log_lines_dropped(&self) -> u64 {
        self.log_lines_dropped.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// The worker it counts on.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.connections[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}
