//! What a follower knows of a deploy: the fold of the events it heard. For words; decides nothing about the deploy.

use super::table::grouped;
use super::time;
use alcedo_core::Slot;
use alcedo_core::event::{Event, Failure, Outcome, Record};
use alcedo_core::judge::Verdict;
use alcedo_core::plan::Plan;
use alcedo_core::step::{Step, Undo};

/// What is known of a deploy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    /// What it was to do.
    pub(crate) plan: Option<Box<Plan>>,
    /// Who asked for it.
    pub(crate) by: String,
    /// Its first event, RFC 3339.
    pub(crate) started_at: String,
    /// The last event heard.
    pub(crate) at: String,
    /// The last event's number.
    pub(crate) seq: u64,
    /// What is under way.
    pub(crate) going: Option<Going>,
    /// The release is whole and can be deployed again without being built.
    pub(crate) sealed: bool,
    /// The release is on the host.
    pub(crate) fetched: bool,
    /// What the target slot ran before is stopped.
    pub(crate) cleared: bool,
    /// It waits for `promote`.
    pub(crate) at_gate: bool,
    /// The router points at the new slot, or did.
    pub(crate) switched: bool,
    /// The router points at the old slot again.
    pub(crate) back_at: Option<String>,
    /// Publish time, in microseconds.
    pub(crate) switch_us: Option<u64>,
    /// The public answer is the new release's.
    pub(crate) verified: bool,
    /// The public answer is the old release's again.
    pub(crate) back_verified: bool,
    /// When judging began.
    pub(crate) bake_at: Option<String>,
    /// Requests that were seen while it is judged, and of these, failed.
    pub(crate) seen: Option<(u64, u64)>,
    /// The judge's last word.
    pub(crate) verdict: Option<Verdict>,
    /// The first thing that failed, and where.
    pub(crate) failure: Option<(Step, Failure)>,
    /// An undo that failed.
    pub(crate) undo_failure: Option<Failure>,
    /// Somebody gave it up.
    pub(crate) given_up_by: Option<String>,
    /// How it ended.
    pub(crate) outcome: Option<Outcome>,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Going {
    /// Its word.
    pub(crate) phase: &'static str,
    /// Which step, unless something is taken back.
    pub(crate) step: Option<Step>,
    /// Boot clock of its beginning, in milliseconds.
    pub(crate) since_ms: u64,
}

impl Track {
    /// Adds an event.
    pub(crate) fn record(&mut self, record: &Record) {
        if self.started_at.is_empty() {
            self.started_at.clone_from(&record.at);
        }
        self.at.clone_from(&record.at);
        self.seq = record.seq;
        match &record.event {
            Event::Planned { plan, by, .. } => {
                self.plan = Some(plan.clone());
                self.by.clone_from(by);
            }
            Event::StepStarted { step, .. } => self.started(*step, record),
            Event::StepDone { step, took_us, .. } => self.done(*step, *took_us),
            Event::StepFailed { step, failure, .. } => {
                self.failure.get_or_insert_with(|| (*step, failure.clone()));
                self.going = None;
            }
            Event::UndoStarted { undo } => {
                self.going = Some(Going { phase: undo.word(), step: None, since_ms: record.at_ms });
            }
            Event::UndoDone { undo, .. } => self.undone(*undo, record),
            Event::UndoFailed { failure, .. } => {
                self.undo_failure = Some(failure.clone());
                self.going = None;
            }
            Event::AbortAsked { by, .. } => self.given_up_by = Some(by.clone()),
            Event::PromoteAsked { .. } => self.at_gate = false,
            Event::Judged { verdict } => self.verdict = Some(verdict.clone()),
            Event::Ended { outcome, .. } => {
                self.outcome = Some(*outcome);
                self.going = None;
            }
            Event::Observed { observation } => {
                self.seen = Some((observation.requests, observation.errors));
            }
            Event::Notice { .. }
            | Event::Recovered
            | Event::Booted { .. }
            | Event::Retired { .. }
            | Event::RetireFailed { .. }
            | Event::Pruned { .. }
            | Event::Pinned { .. }
            | Event::Resolved { .. }
            | Event::PortsPicked { .. } => {}
        }
    }

    /// The slot and release that are live now, as far as the events tell.
    pub(crate) fn live(&self) -> Option<(Slot, &str)> {
        let plan = self.plan.as_ref()?;
        let is_new = self.switched && self.back_at.is_none();
        let binding = if is_new { Some(&plan.binding) } else { plan.from.as_ref() };
        binding.map(|b| (b.slot, b.release.as_str()))
    }

    /// The slot and release that it brings.
    pub(crate) fn brings(&self) -> Option<(Slot, &str)> {
        self.plan.as_ref().map(|plan| (plan.to(), plan.binding.release.as_str()))
    }

    /// Whether the release gets a verdict.
    pub(crate) fn is_judged(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.is_judged())
    }

    /// Whether it is a way back.
    pub(crate) fn goes_back(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.purpose.goes_back())
    }

    /// Nothing was live before.
    pub(crate) fn is_first(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.from.is_none())
    }

    /// When the verdict comes at the latest, RFC 3339; `None` without judging.
    pub(crate) fn judged_until(&self) -> Option<String> {
        let plan = self.plan.as_ref().filter(|plan| plan.is_judged() && self.switched)?;
        let begun = self.bake_at.as_ref().unwrap_or(&self.at);
        time::plus_seconds(begun, plan.config.bake.time.as_secs())
    }

    /// `6 min 38 s left; 1,204 requests, 2 failed`.
    pub(crate) fn countdown(&self, now: &str) -> Option<String> {
        let left = time::seconds_between(now, &self.judged_until()?)?;
        let left = time::span(u64::try_from(left).unwrap_or(0));
        let seen = self.seen.map(|(requests, errors)| {
            format!("; {} requests, {} failed", grouped(requests), grouped(errors))
        });
        Some(format!("{left} left{}", seen.unwrap_or_default()))
    }

    /// From its first event to the last one heard, in milliseconds.
    pub(crate) fn duration_ms(&self) -> u64 {
        time::ms_between(&self.started_at, &self.at)
    }

    fn started(&mut self, step: Step, record: &Record) {
        self.going = Some(Going { phase: step.word(), step: Some(step), since_ms: record.at_ms });
        match step {
            Step::Bake => self.bake_at = Some(record.at.clone()),
            // What comes after the fetch means that nothing had to be fetched, or that it is done.
            Step::Clear | Step::Start => self.fetched = true,
            Step::Fetch
            | Step::Prepare
            | Step::Probe
            | Step::Smoke
            | Step::Warm
            | Step::Gate
            | Step::Switch
            | Step::Verify
            | Step::Drain
            | Step::Retire => {}
        }
    }

    fn done(&mut self, step: Step, took_us: u64) {
        self.going = None;
        match step {
            Step::Fetch => self.fetched = true,
            Step::Prepare => self.sealed = true,
            Step::Gate => self.at_gate = true,
            Step::Switch => {
                self.switched = true;
                self.switch_us = Some(took_us);
            }
            Step::Verify => self.verified = true,
            Step::Clear => {
                self.cleared = self.plan.as_ref().is_some_and(|plan| plan.occupant.is_some())
            }
            Step::Start
            | Step::Probe
            | Step::Smoke
            | Step::Warm
            | Step::Drain
            | Step::Bake
            | Step::Retire => {}
        }
    }

    fn undone(&mut self, undo: Undo, record: &Record) {
        self.going = None;
        match undo {
            Undo::SwitchBack => self.back_at = Some(record.at.clone()),
            Undo::VerifyBack => self.back_verified = true,
            Undo::DrainNew | Undo::StopNew | Undo::Discard => {}
        }
    }
}
