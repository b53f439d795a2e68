//! What the host knows of an app: the fold of its whole journal.
//!
//! One mutator, [`AppState::apply`]. What is *live* is the router's to say; this is what was recorded.

mod records;

pub use records::{Due, DueAction, Past, Stuck, WayBack};

use crate::binding::{Binding, BindingId};
use crate::config::{Config, Ports};
use crate::deploy::{Deploy, IllegalEvent};
use crate::event::{Event, Outcome, Record};
use crate::names::{DeployId, ReleaseId, ServiceName};
use crate::plan::Purpose;
use crate::release::Guarded;
use crate::slot::Slot;
use crate::step::{Step, Undo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tries of a failed housekeeping action are this far apart, in milliseconds.
const RETRY_MS: u64 = 60_000;

/// Calls remembered, so that a repeated one is recognized.
const OPERATIONS_MAX: usize = 100;

/// Everything recorded about one app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppState {
    /// Sequence number of the last record.
    pub seq: u64,
    /// Number of the last deploy.
    pub last_deploy: u64,
    /// The deploy that is not over.
    pub current: Option<Deploy>,
    /// What each slot holds.
    pub slots: BTreeMap<Slot, SlotRecord>,
    /// The slot that traffic was last recorded to go to.
    pub active: Option<Slot>,
    /// The router's generation as last recorded.
    pub generation: u64,
    /// Bindings that passed, oldest first: what abort and rollback return to.
    pub stables: Vec<BindingId>,
    /// Every release that was ever planned.
    pub releases: BTreeMap<ReleaseId, ReleaseRecord>,
    /// Releases that a person keeps.
    pub pinned: BTreeSet<ReleaseId>,
    /// Ports picked for services.
    pub ports: BTreeMap<ServiceName, Ports>,
    /// What housekeeping will do.
    pub due: Vec<Due>,
    /// Why nothing happens by itself any more.
    pub stuck: Option<Stuck>,
    /// Deploys that are over, oldest first.
    pub history: Vec<Past>,
    /// Boot id that deadlines count in.
    pub boot: Option<String>,
    /// Today's configuration: that of the last deploy forward whose switch took effect and was not taken back. Before
    /// anything was ever live, that of the first try.
    pub config: Option<Arc<Config>>,
    /// What it was before the deploy under way switched.
    config_before: Option<Arc<Config>>,
    /// Calls and the deploys they made, newest last.
    pub operations: Vec<(String, DeployId)>,
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotRecord {
    /// Its binding.
    pub binding: Binding,
    /// Whether it should run.
    pub desired: Desired,
    /// When it was started, RFC 3339 UTC.
    pub since: String,
    /// When it last got the traffic, RFC 3339 UTC.
    pub traffic_since: Option<String>,
    /// It passed its checks and got traffic: a warm way back.
    pub proven: bool,
    /// What the router is configured with while the slot is live: of the deploy that last started it or switched to it.
    pub config: Arc<Config>,
}

/// Whether a slot should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// Its processes should run, also after a reboot.
    Up,
    /// It is being stopped.
    Down,
}

/// What is known of a release beside its files.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseRecord {
    /// The configuration it was last deployed with; carries the release's own part.
    pub config: Arc<Config>,
    /// Content hash.
    pub content: String,
    /// It was live and left by rollback.
    pub bad: bool,
    /// It passed.
    pub good: bool,
}

/// The journal does not fit together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StateError {
    /// An event that cannot follow.
    #[error("replay record {seq} of the journal")]
    Illegal {
        /// Its number.
        seq: u64,
        /// Why.
        #[source]
        source: IllegalEvent,
    },
    /// A record is missing or doubled.
    #[error("replay the journal: record {expected} should come next, {found} does")]
    Gap {
        /// The expected number.
        expected: u64,
        /// The found number.
        found: u64,
    },
    /// An event of a deploy without one.
    #[error("replay record {seq} of the journal: it belongs to no deploy under way")]
    Stray {
        /// Its number.
        seq: u64,
    },
}

impl AppState {
    /// Folds a whole journal.
    pub fn replay(records: impl IntoIterator<Item = Record>) -> Result<Self, StateError> {
        let mut state = Self::default();
        for record in records {
            state.apply(&record)?;
        }
        Ok(state)
    }

    /// The only mutator. On error nothing is changed but what the machine had accepted before.
    pub fn apply(&mut self, record: &Record) -> Result<(), StateError> {
        if record.seq != self.seq + 1 {
            return Err(StateError::Gap { expected: self.seq + 1, found: record.seq });
        }
        match &record.event {
            Event::Planned { plan, by, note, operation } => {
                self.planned(record, plan, by, note.as_ref())?;
                self.remember(operation.as_ref(), plan);
            }
            Event::Booted { boot } => self.booted(record, boot),
            Event::Retired { slot, .. } => self.emptied(*slot),
            Event::RetireFailed { slot, .. } => {
                self.schedule(DueAction::Retire(*slot), record.at_ms, Some(RETRY_MS))
            }
            Event::Pruned { releases } => self.pruned(releases),
            Event::Pinned { release, pinned: true, .. } => {
                self.pinned.insert(release.clone());
            }
            Event::Pinned { release, pinned: false, .. } => {
                self.pinned.remove(release);
            }
            Event::Resolved { slot, binding, generation, .. } => {
                self.resolved(*slot, binding.as_ref(), *generation)
            }
            Event::PortsPicked { ports } => self.ports.extend(ports.clone()),
            Event::StepStarted { .. }
            | Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoStarted { .. }
            | Event::UndoDone { .. }
            | Event::UndoFailed { .. }
            | Event::Notice { .. }
            | Event::AbortAsked { .. }
            | Event::PromoteAsked { .. }
            | Event::Recovered
            | Event::Observed { .. }
            | Event::Judged { .. }
            | Event::Ended { .. } => self.deploy_event(record)?,
        }
        self.seq = record.seq;
        Ok(())
    }

    /// The binding that traffic was last recorded to go to.
    pub fn active_binding(&self) -> Option<&Binding> {
        self.slots.get(&self.active?).map(|slot| &slot.binding)
    }

    /// The slot that a deploy goes to; blue when nothing was ever live.
    pub fn idle(&self) -> Slot {
        self.active.map_or(Slot::Blue, Slot::other)
    }

    /// The release that `rollback` without argument returns to, and whether that is a flip.
    pub fn way_back(&self) -> Option<WayBack> {
        let active = self.active_binding()?;
        let warm =
            self.slots.get(&active.slot.other()).filter(|s| s.proven && s.desired == Desired::Up);
        if let Some(slot) = warm.filter(|s| !self.is_bad(&s.binding.release)) {
            return Some(WayBack::Flip(slot.binding.clone()));
        }
        let good = self.stables.iter().rev().filter_map(|id| self.history_release(id));
        good.into_iter()
            .find(|r| *r != active.release && !self.is_bad(r) && self.releases.contains_key(r))
            .map(WayBack::Return)
    }

    /// The last release that passed its bake.
    pub fn stable(&self) -> Option<ReleaseId> {
        self.stables.last().and_then(|id| self.history_release(id))
    }

    /// Whether the text can mean only a kept release that is not live: its id, or a part that no other has.
    pub fn names_another_release(&self, text: &str) -> bool {
        let live = self.active_binding().map(|binding| &binding.release);
        let fits: Vec<_> = match self.releases.keys().find(|id| id.as_str() == text) {
            Some(id) => vec![id],
            None => self.releases.keys().filter(|id| id.as_str().contains(text)).collect(),
        };
        matches!(fits.as_slice(), [one] if Some(*one) != live)
    }

    /// Whether the last thing that happened was a way back, by hand or by the judge.
    pub fn just_went_back(&self) -> bool {
        self.history
            .iter()
            .rev()
            .find(|p| p.outcome != Outcome::Unchanged)
            .is_some_and(|p| p.outcome == Outcome::RolledBack || p.purpose.goes_back())
    }

    /// Whether the release was left by rollback.
    pub fn is_bad(&self, release: &ReleaseId) -> bool {
        self.releases.get(release).is_some_and(|r| r.bad)
    }

    /// A bad release with the same content.
    pub fn bad_with_content(&self, content: &str) -> Option<&ReleaseId> {
        self.releases
            .iter()
            .find(|(_, r)| r.bad && !content.is_empty() && r.content == content)
            .map(|(id, _)| id)
    }

    /// Releases that must not be removed.
    pub fn guarded(&self) -> Guarded {
        let mut in_use: BTreeSet<ReleaseId> =
            self.slots.values().map(|slot| slot.binding.release.clone()).collect();
        in_use.extend(self.current.as_ref().map(|deploy| deploy.plan.binding.release.clone()));
        Guarded {
            active: self.active_binding().map(|binding| binding.release.clone()),
            previous: self.way_back().map(|way| match way {
                WayBack::Flip(binding) => binding.release,
                WayBack::Return(release) => release,
            }),
            stable: self.stable(),
            in_use,
            pinned: self.pinned.clone(),
        }
    }

    fn remember(&mut self, operation: Option<&String>, plan: &crate::plan::Plan) {
        if self.config.is_none() {
            self.config = Some(Arc::new(plan.config.clone()));
        }
        if let Some(operation) = operation {
            self.operations.push((operation.clone(), plan.deploy));
        }
        if self.operations.len() > OPERATIONS_MAX {
            self.operations.remove(0);
        }
    }

    fn history_release(&self, id: &BindingId) -> Option<ReleaseId> {
        let of = |p: &Past| BindingId::new(p.deploy, p.to) == *id;
        self.history.iter().rev().find(|p| of(p)).map(|p| p.release.clone())
    }

    fn planned(
        &mut self,
        record: &Record,
        plan: &crate::plan::Plan,
        by: &str,
        note: Option<&String>,
    ) -> Result<(), StateError> {
        if self.current.is_some() || record.deploy != Some(plan.deploy) {
            return Err(StateError::Stray { seq: record.seq });
        }
        let known = self.releases.get(&plan.binding.release);
        let (bad, good) = known.map_or((false, false), |r| (r.bad, r.good));
        let entry = ReleaseRecord {
            config: Arc::new(plan.config.clone()),
            content: plan.content.clone(),
            bad,
            good,
        };
        self.releases.insert(plan.binding.release.clone(), entry);
        self.last_deploy = plan.deploy.0;
        self.history.push(Past {
            deploy: plan.deploy,
            purpose: plan.purpose,
            release: plan.binding.release.clone(),
            from: plan.from_slot(),
            to: plan.to(),
            outcome: Outcome::Unchanged,
            verdict: None,
            cause: None,
            failed_at: None,
            by: by.to_owned(),
            note: note.cloned(),
            started_at: record.at.clone(),
            started_ms: record.at_ms,
            duration_ms: 0,
            verified_ms: None,
            switch_us: None,
        });
        self.current = Some(Deploy::new(plan.clone()));
        Ok(())
    }

    fn deploy_event(&mut self, record: &Record) -> Result<(), StateError> {
        let deploy = self.current.as_mut().filter(|d| record.deploy == Some(d.plan.deploy));
        let Some(deploy) = deploy else { return Err(StateError::Stray { seq: record.seq }) };
        deploy
            .record(&record.event)
            .map_err(|source| StateError::Illegal { seq: record.seq, source })?;
        let (plan, has_switched) = (deploy.plan.clone(), deploy.has_switched());
        match &record.event {
            Event::StepStarted { step, .. } => self.step_started(*step, &plan, record),
            Event::StepDone { step, .. } => self.step_done(*step, &plan, record),
            Event::StepFailed { step, .. } => self.step_failed(*step, &plan, record, has_switched),
            Event::UndoStarted { undo: Undo::StopNew } => {
                self.set_desired(plan.to(), Desired::Down)
            }
            Event::UndoDone { undo, .. } => self.undo_done(*undo, &plan),
            Event::Ended { outcome, .. } => self.ended(*outcome, record),
            Event::UndoStarted { .. }
            | Event::UndoFailed { .. }
            | Event::Notice { .. }
            | Event::AbortAsked { .. }
            | Event::PromoteAsked { .. }
            | Event::Recovered
            | Event::Observed { .. }
            | Event::Judged { .. }
            | Event::Planned { .. }
            | Event::Booted { .. }
            | Event::Retired { .. }
            | Event::RetireFailed { .. }
            | Event::Pruned { .. }
            | Event::Pinned { .. }
            | Event::Resolved { .. }
            | Event::PortsPicked { .. } => {}
        }
        Ok(())
    }

    fn step_started(&mut self, step: Step, plan: &crate::plan::Plan, record: &Record) {
        match step {
            Step::Clear => {
                self.set_desired(plan.to(), Desired::Down);
                self.unschedule(DueAction::Retire(plan.to()));
            }
            Step::Start => {
                let slot = SlotRecord {
                    binding: plan.binding.clone(),
                    desired: Desired::Up,
                    since: record.at.clone(),
                    traffic_since: None,
                    proven: false,
                    config: Arc::new(plan.config.clone()),
                };
                self.slots.insert(plan.to(), slot);
            }
            Step::Retire => {
                if let Some(from) = plan.from_slot() {
                    self.set_desired(from, Desired::Down);
                }
            }
            Step::Fetch
            | Step::Prepare
            | Step::Probe
            | Step::Smoke
            | Step::Warm
            | Step::Gate
            | Step::Switch
            | Step::Verify
            | Step::Drain
            | Step::Bake => {}
        }
    }

    fn step_done(&mut self, step: Step, plan: &crate::plan::Plan, record: &Record) {
        match step {
            Step::Clear => self.emptied(plan.to()),
            Step::Switch => self.switched(plan, record),
            Step::Retire => {
                if let Some(from) = plan.from_slot() {
                    self.emptied(from);
                }
            }
            Step::Fetch
            | Step::Prepare
            | Step::Start
            | Step::Probe
            | Step::Smoke
            | Step::Warm
            | Step::Gate
            | Step::Drain
            | Step::Bake => {}
            Step::Verify => {
                let waited = plan.steps.contains(&Step::Gate);
                if let Some(past) = self.history.last_mut().filter(|_| !waited) {
                    past.verified_ms = Some(record.at_ms.saturating_sub(past.started_ms));
                }
            }
        }
    }

    fn step_failed(
        &mut self,
        step: Step,
        plan: &crate::plan::Plan,
        record: &Record,
        has_switched: bool,
    ) {
        if let Some(past) = self.history.last_mut() {
            past.failed_at.get_or_insert(step);
        }
        if let (Step::Retire, Some(from)) = (step, plan.from_slot()) {
            self.schedule(DueAction::Retire(from), record.at_ms, Some(RETRY_MS));
        }
        // The slot was asked to stop and may run still: it is tried again, and never counts as a way back.
        if step == Step::Clear && !has_switched && self.slots.contains_key(&plan.to()) {
            self.schedule(DueAction::Retire(plan.to()), record.at_ms, Some(RETRY_MS));
        }
    }

    fn undo_done(&mut self, undo: Undo, plan: &crate::plan::Plan) {
        match undo {
            Undo::SwitchBack => {
                self.active = plan.from_slot();
                self.config = self.config_before.take().or(self.config.take());
                self.generation =
                    self.current.as_ref().and_then(|d| d.switched).unwrap_or(self.generation);
            }
            Undo::StopNew => self.emptied(plan.to()),
            // A release that was never on this host before is forgotten with its files.
            Undo::Discard
                if self.history.iter().filter(|p| p.release == plan.binding.release).count()
                    <= 1 =>
            {
                self.releases.remove(&plan.binding.release);
            }
            Undo::Discard => {}
            Undo::VerifyBack | Undo::DrainNew => {}
        }
    }

    fn switched(&mut self, plan: &crate::plan::Plan, record: &Record) {
        let to = plan.to();
        self.active = Some(to);
        self.generation =
            self.current.as_ref().and_then(|d| d.switched).unwrap_or(self.generation + 1);
        self.unschedule(DueAction::Retire(to));
        let config = Arc::new(plan.config.clone());
        if let Some(slot) = self.slots.get_mut(&to) {
            slot.proven = true;
            slot.traffic_since = Some(record.at.clone());
            slot.config = config.clone();
        }
        // A way back brings an older release's part with it, which is not today's.
        if plan.purpose == Purpose::Deploy {
            self.config_before = self.config.replace(config);
        }
    }

    fn ended(&mut self, outcome: Outcome, record: &Record) {
        let Some(deploy) = self.current.take() else { return };
        self.config_before = None;
        if let Some(past) = self.history.last_mut() {
            past.outcome = outcome;
            past.verdict = deploy.verdict.clone();
            past.cause = deploy.cause.clone();
            past.duration_ms = record.at_ms.saturating_sub(past.started_ms);
            past.switch_us = deploy.switch_us;
        }
        match outcome {
            Outcome::Live => self.ended_live(&deploy, record),
            Outcome::RolledBack => {
                let plan = &deploy.plan;
                // The same release in another binding (`deploy active`) is what is live again.
                if plan.from.as_ref().is_none_or(|from| from.release != plan.binding.release) {
                    self.mark_bad(&plan.binding.release);
                }
            }
            Outcome::Unchanged => {}
            Outcome::Stuck => {
                let failure = deploy.cause.clone().unwrap_or_default();
                self.stuck = Some(Stuck { deploy: deploy.plan.deploy, failure });
            }
        }
    }

    fn ended_live(&mut self, deploy: &Deploy, record: &Record) {
        let plan = &deploy.plan;
        self.stables.retain(|id| *id != plan.binding.id);
        self.stables.push(plan.binding.id.clone());
        let content = self.releases.get(&plan.binding.release).map(|r| r.content.clone());
        for (id, release) in &mut self.releases {
            let is_same = *id == plan.binding.release;
            release.good |= is_same;
            // What passed is not bad, under whatever name its content was shipped before.
            release.bad &= !is_same && Some(&release.content) != content.as_ref();
        }
        let Some(from) = &plan.from else { return };
        match plan.purpose {
            Purpose::Deploy => {
                let keep = plan
                    .config
                    .bake
                    .keep_warm
                    .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
                self.schedule(DueAction::Retire(from.slot), record.at_ms, keep);
                self.schedule(DueAction::Prune, record.at_ms, Some(0));
            }
            Purpose::Flip | Purpose::Return => {
                self.stables.retain(|id| *id != from.id);
                if from.release != plan.binding.release {
                    self.mark_bad(&from.release.clone());
                }
            }
        }
    }

    fn mark_bad(&mut self, release: &ReleaseId) {
        if let Some(record) = self.releases.get_mut(release) {
            record.bad = true;
        }
    }

    fn resolved(&mut self, slot: Slot, binding: Option<&BindingId>, generation: u64) {
        let moved = self.active.replace(slot) != Some(slot);
        self.generation = generation;
        self.stuck = None;
        if let Some(record) = self.slots.get_mut(&slot) {
            record.desired = Desired::Up;
            record.proven = true;
            if moved {
                self.config = Some(record.config.clone());
            }
        }
        if let Some(binding) = binding {
            self.stables.retain(|id| id != binding);
            self.stables.push(binding.clone());
        }
    }

    fn pruned(&mut self, releases: &[ReleaseId]) {
        let gone: BTreeSet<_> = releases.iter().collect();
        // A bad mark outlives the files: the same content must not come back unnoticed.
        self.releases.retain(|id, record| record.bad || !gone.contains(id));
        self.unschedule(DueAction::Prune);
    }

    fn booted(&mut self, record: &Record, boot: &str) {
        if self.boot.as_deref() != Some(boot) {
            for due in &mut self.due {
                due.at_ms = due.at_ms.map(|_| record.at_ms.saturating_add(due.length_ms));
            }
        }
        self.boot = Some(boot.to_owned());
    }

    fn emptied(&mut self, slot: Slot) {
        self.slots.remove(&slot);
        self.unschedule(DueAction::Retire(slot));
    }

    fn set_desired(&mut self, slot: Slot, desired: Desired) {
        if let Some(record) = self.slots.get_mut(&slot) {
            record.desired = desired;
        }
    }

    fn schedule(&mut self, action: DueAction, now_ms: u64, after_ms: Option<u64>) {
        self.unschedule(action);
        let at_ms = after_ms.map(|after| now_ms.saturating_add(after));
        self.due.push(Due { action, at_ms, length_ms: after_ms.unwrap_or(0) });
    }

    fn unschedule(&mut self, action: DueAction) {
        self.due.retain(|due| due.action != action);
    }
}
