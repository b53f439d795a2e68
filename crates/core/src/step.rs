//! The parts of a deploy. Data only; everything about *how* stands in the [`crate::plan::Plan`] that holds them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One part of a deploy, in the words of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Put the release on disk, at its final path.
    Fetch,
    /// Run the user's `release.prepare`, then seal the release.
    Prepare,
    /// Stop what the target slot still runs. The way back to it is a start from here on.
    Clear,
    /// Start the processes of the new binding.
    Start,
    /// Wait until they are ready, as the expected release.
    Probe,
    /// The user's own checks against the slot without traffic.
    Smoke,
    /// Requests that fill caches.
    Warm,
    /// Wait for `promote`.
    Gate,
    /// The commit point: the router points at the other slot.
    Switch,
    /// Ask through the router's own listener who answers.
    Verify,
    /// Let requests in flight at the slot that lost traffic come to their end.
    Drain,
    /// Observe, then a verdict.
    Bake,
    /// Stop the slot that was left.
    Retire,
}

/// What takes a step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Point the router back, after one probe of its target.
    SwitchBack,
    /// Ask through the router who answers now.
    VerifyBack,
    /// Let requests in flight at the new slot come to their end.
    DrainNew,
    /// Stop the new slot; its files and logs are kept.
    StopNew,
    /// Remove the unsealed rest of the release.
    Discard,
}

impl Step {
    /// The word shown for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Prepare => "prepare",
            Self::Clear | Self::Retire => "retire",
            Self::Start => "start",
            Self::Probe => "probe",
            Self::Smoke => "smoke",
            Self::Warm => "warm",
            Self::Gate => "gate",
            Self::Switch => "switch",
            Self::Verify => "verify",
            Self::Drain => "drain",
            Self::Bake => "bake",
        }
    }

    /// What must be taken back when this step has begun and the deploy is given up before its switch.
    pub fn undo(self) -> Option<Undo> {
        match self {
            Self::Start => Some(Undo::StopNew),
            Self::Fetch => Some(Undo::Discard),
            // The switch has its own, longer way back; the others leave nothing behind.
            Self::Prepare
            | Self::Clear
            | Self::Probe
            | Self::Smoke
            | Self::Warm
            | Self::Gate
            | Self::Switch
            | Self::Verify
            | Self::Drain
            | Self::Bake
            | Self::Retire => None,
        }
    }
}

impl Undo {
    /// The word of the step it takes back.
    pub fn word(self) -> &'static str {
        match self {
            Self::SwitchBack => "switch",
            Self::VerifyBack => "verify",
            Self::DrainNew => "drain",
            Self::StopNew => "start",
            Self::Discard => "fetch",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
