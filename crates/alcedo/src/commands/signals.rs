//! Ctrl-C and SIGTERM as data.

use crate::engine::ports::Cancel;
use anyhow::Context;

/// What came since it was last asked.
pub(crate) struct Signals(Cancel);

impl Signals {
    /// From now on Ctrl-C and SIGTERM no longer end this process by themselves.
    ///
    /// # Errors
    /// When the system refuses handlers.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let cancel = Cancel::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, cancel.flag()).context("catch Ctrl-C")?;
        }
        Ok(Self(cancel))
    }

    /// Whether one came; each is told once.
    pub(crate) fn take(&self) -> bool {
        let came = self.0.is_cancelled();
        if came {
            self.0.clear();
        }
        came
    }

    /// For work that ends early when one comes.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.0
    }
}
