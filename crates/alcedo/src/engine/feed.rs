//! What an app's engine tells its readers: durable records "since n", and one line of progress that may be lost.

use super::ports::Millis;
use alcedo_core::AppName;
use alcedo_core::event::Record;
use alcedo_core::judge::{Bench, Observation};
use alcedo_core::state::AppState;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// Records kept in memory for readers that follow; older ones are read from the journal.
const KEPT_RECORDS_MAX: usize = 2_000;

/// Shared between an app's engine and its readers.
#[derive(Clone)]
pub(crate) struct Feed {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

struct Inner {
    app: AppName,
    state: Arc<AppState>,
    records: VecDeque<Record>,
    progress: Option<Progress>,
    stretch: Option<Observation>,
    trouble: Option<String>,
}

/// How far the work under way is; never journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its number, so that a reader sees each line once.
    pub(crate) number: u64,
    /// The line.
    pub(crate) text: String,
    /// When it was said.
    pub(crate) at: Millis,
}

impl Feed {
    /// A feed that starts with what was recorded so far.
    pub(crate) fn new(app: AppName, state: Arc<AppState>, records: Vec<Record>) -> Self {
        let skip = records.len().saturating_sub(KEPT_RECORDS_MAX);
        let records = records.into_iter().skip(skip).collect();
        let inner = Inner { app, state, records, progress: None, stretch: None, trouble: None };
        Self { inner: Arc::new(Mutex::new(inner)), changed: watch::Sender::new(0) }
    }

    /// Shows a record that is durable, with the state after it.
    pub(crate) fn publish(&self, record: Record, state: Arc<AppState>) {
        let mut inner = self.lock();
        inner.state = state;
        inner.progress = None;
        inner.stretch = None;
        inner.trouble = None;
        inner.records.push_back(record);
        if inner.records.len() > KEPT_RECORDS_MAX {
            inner.records.pop_front();
        }
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Says how far the work is.
    pub(crate) fn progress(&self, text: &str, at: Millis) {
        let mut inner = self.lock();
        let number = inner.progress.as_ref().map_or(1, |p| p.number + 1);
        inner.progress = Some(Progress { number, text: text.to_owned(), at });
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Shows what the bake has seen since its last record.
    pub(crate) fn observing(&self, stretch: Observation) {
        self.lock().stretch = Some(stretch);
    }

    /// What a bake saw up to now, what is not recorded yet included.
    pub(crate) fn bench(&self, recorded: &Bench) -> Bench {
        let mut bench = *recorded;
        if let Some(stretch) = &self.lock().stretch {
            bench.add(stretch);
        }
        bench
    }

    /// Says what keeps the engine from going on (a full disk), or that nothing does any more.
    pub(crate) fn trouble(&self, text: Option<String>) {
        self.lock().trouble = text;
        self.changed.send_modify(|n| *n += 1);
    }

    /// The app.
    pub(crate) fn app(&self) -> AppName {
        self.lock().app.clone()
    }

    /// The state after the last record.
    pub(crate) fn state(&self) -> Arc<AppState> {
        self.lock().state.clone()
    }

    /// What keeps the engine from going on.
    pub(crate) fn current_trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Records after `seq`, the last line of progress. `None` for records when some of them are only in the journal.
    pub(crate) fn since(&self, seq: u64) -> (Option<Vec<Record>>, Option<Progress>) {
        let inner = self.lock();
        let complete = inner.records.front().is_none_or(|first| first.seq <= seq + 1);
        let records = inner.records.iter().filter(|r| r.seq > seq).cloned().collect();
        (complete.then_some(records), inner.progress.clone())
    }

    /// Wakes on every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
