//! When to give up: a deadline on the boot clock and a cancel flag, in a form that threads can share.

use super::FilesError;
use crate::adapters::clock;
use crate::engine::ports::{Call, Cancel, Millis};

/// Asked between two pieces of work.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    deadline: Millis,
    cancel: Cancel,
}

impl Until {
    /// The limits of a port call.
    pub(crate) fn of(call: &Call<'_>) -> Self {
        Self { deadline: call.deadline, cancel: call.cancel.clone() }
    }

    /// Until `cancel` is set, however long that takes: for work that a person waits for and can interrupt.
    pub(crate) fn cancelled(cancel: &Cancel) -> Self {
        Self { deadline: Millis(u64::MAX), cancel: cancel.clone() }
    }

    /// Without a limit, for work whose size is bounded otherwise.
    pub(crate) fn done() -> Self {
        Self::cancelled(&Cancel::default())
    }

    /// Fails when it is time to give up.
    pub(crate) fn check(&self) -> Result<(), FilesError> {
        if self.cancel.is_cancelled() {
            return Err(FilesError::Cancelled);
        }
        if clock::now() >= self.deadline {
            return Err(FilesError::TimedOut);
        }
        Ok(())
    }
}
