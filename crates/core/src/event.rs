//! What happened, past tense: the records of the journal. An intent log, not a debug log.
//!
//! Format 1. Old readers refuse records of a newer format; new readers fill absent fields by `#[serde(default)]`.
//! Fields are added, never renamed or reused.

use crate::binding::BindingId;
use crate::judge::{Counts, Observation, Verdict};
use crate::names::{DeployId, ReleaseId};
use crate::plan::Plan;
use crate::slot::Slot;
use crate::step::{Step, Undo};
use serde::{Deserialize, Serialize};

/// The format this code writes.
pub const FORMAT: u32 = 1;

/// One durable line of an app's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts up by one within an app, from 1.
    pub seq: u64,
    /// Wall clock, RFC 3339 UTC: for people, never for decisions.
    pub at: String,
    /// Boot clock in milliseconds: what decisions are made with.
    pub at_ms: u64,
    /// The deploy it belongs to; `None` for housekeeping and operator's acts.
    #[serde(default)]
    pub deploy: Option<DeployId>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A deploy exists.
    Planned {
        /// What will be done.
        plan: Box<Plan>,
        /// Who asked.
        by: String,
        /// Why.
        #[serde(default)]
        note: Option<String>,
        /// Of the call that asked for it; a repeated one is answered with this deploy.
        #[serde(default)]
        operation: Option<String>,
    },
    /// The intent to do a step: durable before its effect begins.
    StepStarted {
        /// The step.
        step: Step,
        /// When it must have ended (boot clock, milliseconds).
        #[serde(default)]
        deadline_ms: u64,
    },
    /// A step is done.
    StepDone {
        /// The step.
        step: Step,
        /// What was seen, in words.
        text: String,
        /// How long it took, in microseconds; for a switch, publish time as the router measured it.
        took_us: u64,
        /// It had nothing to do.
        #[serde(default)]
        skipped: bool,
        /// The router's generation after a switch.
        #[serde(default)]
        generation: Option<u64>,
        /// After a switch: how often the new slot's processes had been started again by then.
        #[serde(default)]
        restarts: u32,
        /// After a verification: requests of alcedo's own that the router counts for the new target.
        #[serde(default)]
        own: Counts,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: Step,
        /// Why.
        failure: Failure,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// The intent to take a step back.
    UndoStarted {
        /// What is undone.
        undo: Undo,
    },
    /// It is taken back.
    UndoDone {
        /// What was undone.
        undo: Undo,
        /// What was seen, in words.
        text: String,
        /// In microseconds.
        took_us: u64,
        /// The router's generation after a switch back.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// It could not be taken back: a person is needed, unless it only leaves files behind.
    UndoFailed {
        /// What was undone.
        undo: Undo,
        /// Why not.
        failure: Failure,
    },
    /// Something worth a line, which changes nothing.
    Notice {
        /// The line.
        text: String,
        /// The step it is about.
        #[serde(default)]
        step: Option<Step>,
    },
    /// Somebody wants it given up, or back.
    AbortAsked {
        /// Who.
        by: String,
        /// Why, in words.
        reason: String,
    },
    /// Somebody passed the gate, or accepted during the bake.
    PromoteAsked {
        /// Who.
        by: String,
    },
    /// The daemon came back and found the deploy unfinished.
    Recovered,
    /// What the bake saw since the last of these.
    Observed {
        /// Added up into the judge.
        observation: Observation,
    },
    /// What the judge says.
    Judged {
        /// The verdict.
        verdict: Verdict,
    },
    /// The deploy is over.
    Ended {
        /// How.
        outcome: Outcome,
        /// One sentence on why, for `history`.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The host booted since the last record: deadlines start anew.
    Booted {
        /// Its boot id.
        boot: String,
    },
    /// Housekeeping stopped a slot (keep-warm over, or by hand).
    Retired {
        /// The slot.
        slot: Slot,
        /// What it ran.
        binding: BindingId,
        /// `keep-warm`, or who asked.
        by: String,
    },
    /// Housekeeping could not; it is tried again.
    RetireFailed {
        /// The slot.
        slot: Slot,
        /// Why.
        failure: Failure,
    },
    /// Releases were removed.
    Pruned {
        /// Which.
        releases: Vec<ReleaseId>,
    },
    /// A person keeps a release from being removed, or no longer.
    Pinned {
        /// Which.
        release: ReleaseId,
        /// Kept from now on; `false`: no longer.
        pinned: bool,
        /// Who.
        by: String,
    },
    /// A person said which slot is live.
    Resolved {
        /// That slot.
        slot: Slot,
        /// What it runs, when known.
        #[serde(default)]
        binding: Option<BindingId>,
        /// The router's generation.
        generation: u64,
        /// Who.
        by: String,
    },
    /// Ports were picked for a service; they are kept from now on.
    PortsPicked {
        /// Service → ports of blue and green.
        ports: std::collections::BTreeMap<crate::names::ServiceName, crate::config::Ports>,
    },
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new release is live.
    Live,
    /// It was live and the traffic was given back.
    RolledBack,
    /// It never got traffic; the active slot was not touched.
    Unchanged,
    /// Nothing more happens by itself.
    Stuck,
}

/// Why something failed, in the order in which it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failure {
    /// One line: what was seen against what was expected.
    pub what: String,
    /// Further lines: output, causes.
    #[serde(default)]
    pub detail: String,
    /// What to type or change.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of one line.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), detail: String::new(), hint: None }
    }
}
