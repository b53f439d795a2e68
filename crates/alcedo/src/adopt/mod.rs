//! Taking over a blue-green set-up that somebody made by hand: looked at by `init --adopt` and `check`, taken over and
//! handed back by `setup`.
//!
//! The owner's site stays as it is. Of one file, the one that chose the slot so far, the address is replaced once, by
//! alcedo's proxy; nginx is reloaded once, and that is proved. Until the first switch the proxy leads to the hand-made
//! process. Never stops or starts anything of the owner's.

mod files;
mod look;
mod record;
mod take_over;

pub(crate) use look::{links, listener, listening_pid, look, nginx_files, read_sites, units};
pub(crate) use record::{hand_made, waits};
pub(crate) use take_over::{Plan, hand_back, plan};

use crate::engine::ports::EffectError;

/// What the owner is told of a change.
fn failed(what: impl Into<String>, detail: impl std::fmt::Display, hint: &str) -> EffectError {
    EffectError::Failed {
        what: what.into(),
        detail: detail.to_string(),
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    }
}
