//! What an app's state is made of besides its slots: deadlines, why it is stuck, deploys that are over, the way back.

use crate::binding::Binding;
use crate::event::{Failure, Outcome};
use crate::judge::Verdict;
use crate::names::{DeployId, ReleaseId};
use crate::plan::Purpose;
use crate::slot::Slot;
use crate::step::Step;
use serde::Serialize;

/// A persisted deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// What.
    pub action: DueAction,
    /// When, boot clock in milliseconds; `None`: never by itself.
    pub at_ms: Option<u64>,
    /// How long it waits, for a new start after a reboot.
    pub length_ms: u64,
}

/// What housekeeping does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DueAction {
    /// Stop the idle slot: keep-warm is over.
    Retire(Slot),
    /// Remove old releases.
    Prune,
}

/// Why nothing happens by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The deploy that got stuck.
    pub deploy: DeployId,
    /// Why.
    pub failure: Failure,
}

/// A deploy that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Its number.
    pub deploy: DeployId,
    /// Why there was one.
    pub purpose: Purpose,
    /// The release it brought.
    pub release: ReleaseId,
    /// Slot before.
    pub from: Option<Slot>,
    /// Slot it went to.
    pub to: Slot,
    /// How it ended.
    pub outcome: Outcome,
    /// The judge's last word.
    pub verdict: Option<Verdict>,
    /// Why, when it did not end live.
    pub cause: Option<Failure>,
    /// Where it failed.
    pub failed_at: Option<Step>,
    /// Who.
    pub by: String,
    /// Why it was made.
    pub note: Option<String>,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// Boot clock at its start.
    pub started_ms: u64,
    /// Milliseconds in all.
    pub duration_ms: u64,
    /// From the plan to the verified switch, without waiting for a person. `None`: it did not come so far, or waited.
    pub verified_ms: Option<u64>,
    /// Publish time of the switch, microseconds.
    pub switch_us: Option<u64>,
}

/// Where `rollback` without argument goes.
#[derive(Debug, Clone, PartialEq)]
pub enum WayBack {
    /// The warm slot: a flip.
    Flip(Binding),
    /// A kept release that must be started first.
    Return(ReleaseId),
}
