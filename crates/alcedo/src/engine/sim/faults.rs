//! Where the simulated host crashes or fails: at the n-th effect, before it, after it or in its middle.

use std::sync::{Arc, Mutex, MutexGuard};

/// A kind of effect, for messages and for choosing faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Append,
    Write,
    SyncFile,
    Rename,
    SyncDir,
    Remove,
    Start,
    Stop,
    Publish,
    Configure,
    Fetch,
    Prepare,
    Seal,
    RemoveRelease,
}

/// What happens at the chosen effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The crash comes before it.
    Before,
    /// It is half done.
    Torn,
    /// It is done and nobody was told.
    After,
    /// It fails, and the engine is told.
    Fails,
}

/// The payload of a simulated crash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash;

#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    count: usize,
    armed: Option<(usize, When)>,
    hit: Option<Op>,
}

impl Faults {
    /// From now on, the effect number `at` (from 0) is hit.
    pub(super) fn arm(&self, at: usize, when: When) {
        *self.lock() = Inner { count: 0, armed: Some((at, when)), hit: None };
    }

    /// From now on nothing is hit.
    pub(super) fn disarm(&self) {
        *self.lock() = Inner::default();
    }

    /// The effect that was hit.
    pub(super) fn hit(&self) -> Option<Op> {
        self.lock().hit
    }

    /// An effect begins: crashes when it is to crash before it.
    pub(super) fn enter(&self, op: Op) -> Point {
        let mut inner = self.lock();
        let number = inner.count;
        inner.count += 1;
        let when = inner.armed.filter(|(at, _)| *at == number).map(|(_, when)| when);
        if when.is_some() {
            inner.hit = Some(op);
        }
        drop(inner);
        if when == Some(When::Before) {
            crash();
        }
        Point { when, op }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An effect under way.
pub(super) struct Point {
    when: Option<When>,
    op: Op,
}

impl Point {
    /// The error it must report, without having happened.
    pub(super) fn fault(&self) -> Option<String> {
        (self.when == Some(When::Fails))
            .then(|| format!("simulated failure of {:?}: No space left on device", self.op))
    }

    pub(super) fn is_torn(&self) -> bool {
        self.when == Some(When::Torn)
    }

    pub(super) fn crash(&self) -> ! {
        crash()
    }

    /// It is done; crashes when it is to crash after it (or in its middle, where there is none).
    pub(super) fn leave(self) {
        if matches!(self.when, Some(When::After | When::Torn)) {
            crash();
        }
    }
}

fn crash() -> ! {
    // Not `panic!`: the hook would print ten thousand backtraces.
    std::panic::resume_unwind(Box::new(Crash))
}
