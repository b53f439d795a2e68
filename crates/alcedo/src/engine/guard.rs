//! What keeps slots running and live slots from being stopped.

use super::drive::{Engine, EngineError};
use super::ports::{EffectError, SlotState};
use alcedo_core::deploy::Stage;
use alcedo_core::event::{Event, Failure};
use alcedo_core::plan::Purpose;
use alcedo_core::release::{KeepReason, prune_plan};
use alcedo_core::state::{Desired, Due, DueAction};
use alcedo_core::{ReleaseId, Slot};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time to stop a slot beyond the longest `stop.timeout` of its processes.
const STOP_SLACK: Duration = Duration::from_secs(15);
/// A slot that still drains when it is due to be stopped is looked at this often.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// Time to spawn the processes of a slot.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Stops what runs in `slot`, unless the router points there: asked of the router at this moment, and when it does
    /// not answer, it is taken to point there.
    pub(crate) fn stop_slot(&self, slot: Slot) -> Result<SlotState, Failure> {
        self.refuse_live(slot)?;
        let longest = self.state.slots.get(&slot).map_or(Duration::from_secs(30), |s| {
            s.binding.processes.iter().map(|p| p.stop.timeout).max().unwrap_or_default()
        });
        let runner = &self.world.runner;
        Ok(self.call(longest + STOP_SLACK, |call| runner.stop(&self.app, slot, call))?)
    }

    /// Brings back every slot that should run: after a reboot, or when a shim died. A slot that a deploy is about to
    /// take back is left alone. Failures are the probes' business to find.
    pub(crate) fn ensure_slots(&self) {
        let current = self
            .state
            .current
            .as_ref()
            .filter(|d| d.is_unwinding() && d.plan.purpose != Purpose::Flip);
        let undone = current.filter(|d| !d.has_switched()).map(|d| &d.plan.binding.id);
        for (slot, record) in &self.state.slots {
            if record.desired == Desired::Up && undone != Some(&record.binding.id) {
                let started =
                    self.call(START_LIMIT, |call| self.world.runner.start(&record.binding, call));
                if let Err(error) = started {
                    tracing::warn!(app = %self.app, slot = %slot, "failed to bring the slot back: {error}");
                }
            }
        }
    }

    /// Replaces dead supervisors of slots that should run, and starts again what gave up in the slot that has the
    /// traffic: while it is judged that is the judge's to see.
    pub(crate) fn mend_slots(&self) {
        let runner = &self.world.runner;
        let judged = self.state.current.as_ref().is_some_and(|d| {
            d.step() == Some(alcedo_core::step::Step::Bake) && d.stage != Stage::Held
        });
        for record in self.state.slots.values().filter(|r| r.desired == Desired::Up) {
            let revive = self.state.active == Some(record.binding.slot) && !judged;
            let mended = self.call(START_LIMIT, |call| {
                if revive {
                    runner.start(&record.binding, call).map(|_| ())
                } else {
                    runner.ensure(&record.binding, call)
                }
            });
            if let Err(error) = mended {
                tracing::warn!(app = %self.app, slot = %record.binding.slot, "failed to mend the slot: {error}");
            }
        }
    }

    /// Tells the apps which slot has the traffic. Derived from the journal, so a failure is only reported.
    pub(crate) fn mark_active(&self) {
        if let Err(error) = self.world.machine.mark_active(&self.app, self.state.active) {
            tracing::warn!(app = %self.app, "failed to set the active file: {error}");
        }
    }

    /// The next deadline of housekeeping.
    pub(crate) fn next_due(&self) -> Option<&Due> {
        self.state.due.iter().filter(|due| due.at_ms.is_some()).min_by_key(|due| due.at_ms)
    }

    /// Works off one deadline that has passed. Only called while no deploy is under way.
    pub(crate) fn housekeep(&mut self) -> Result<bool, EngineError> {
        let now = self.now().0;
        let Some(due) =
            self.next_due().filter(|due| due.at_ms.is_some_and(|at| at <= now)).cloned()
        else {
            return Ok(false);
        };
        match due.action {
            DueAction::Retire(slot)
                if self.still_drains(slot, now.saturating_sub(due.at_ms.unwrap_or(now))) =>
            {
                let next = self.now().after(DRAIN_LOOK);
                self.world.clock.sleep_until(next, &self.mail);
            }
            DueAction::Retire(slot) => self.retire(slot, "keep-warm")?,
            DueAction::Prune => {
                self.prune(false)?;
            }
        }
        Ok(true)
    }

    /// Whether requests or upgraded connections of before the switch go on in `slot`, within their limits: the drain
    /// does not end with the deploy, and `overdue_ms` is what the slot has lived longer for it.
    fn still_drains(&self, slot: Slot, overdue_ms: u64) -> bool {
        let Some(record) = self.state.slots.get(&slot) else { return false };
        let within = |limit: Duration| u128::from(overdue_ms) < limit.as_millis();
        let drain = &record.config.drain;
        let all = self.world.router.traffic(&self.app).unwrap_or_default();
        all.iter().filter(|t| t.target == record.binding.id.as_str()).any(|t| {
            (t.in_flight > 0 && within(drain.requests))
                || (t.tunnels > 0 && within(drain.websockets))
        })
    }

    /// Waits for requests of before the switch to end in `slot`, within their limit.
    pub(crate) fn await_drain(&self, slot: Slot) {
        if let Some(record) = self.state.slots.get(&slot) {
            let (id, limit) = (record.binding.id.as_str(), record.config.drain.requests);
            self.await_quiet(id, limit, |traffic| traffic.in_flight);
        }
    }

    /// Stops the idle slot so that no reboot revives it.
    pub(crate) fn retire(&mut self, slot: Slot, by: &str) -> Result<(), EngineError> {
        let binding = self.state.slots.get(&slot).map(|s| s.binding.id.clone());
        let Some(binding) = binding else { return Ok(()) };
        let event = match self.stop_slot(slot) {
            Ok(_) => Event::Retired { slot, binding, by: by.to_owned() },
            Err(failure) => Event::RetireFailed { slot, failure },
        };
        self.append(None, event)
    }

    fn refuse_live(&self, slot: Slot) -> Result<(), Failure> {
        let effective = self.world.router.observe(&self.app).map_err(|error| {
            let mut failure = Failure::from(error);
            failure.what = format!(
                "{slot} is not stopped: the router does not say where it points ({})",
                failure.what
            );
            failure
        })?;
        let target = effective.and_then(|e| e.target);
        let held = self.world.runner.observe(&self.app, slot).ok().and_then(|s| s.binding);
        let recorded = self.state.slots.get(&slot).map(|s| s.binding.id.clone());
        let points_here = |id: &alcedo_core::BindingId| target.as_deref() == Some(id.as_str());
        // Addresses belong to slots: a target of this slot is this slot, whatever ran in it when it was pointed at.
        let is_this_slot = target
            .as_deref()
            .and_then(alcedo_core::BindingId::parse)
            .is_some_and(|target| target.slot() == slot);
        if is_this_slot || held.iter().chain(recorded.iter()).any(points_here) {
            return Err(Failure::new(format!("{slot} is not stopped: the router points at it")));
        }
        Ok(())
    }

    /// Removes old releases; says what it removed (or would).
    pub(crate) fn prune(&mut self, dry_run: bool) -> Result<Pruned, EngineError> {
        let Some((root, keep)) = self.release_root() else {
            return self.pruned(Pruned::default(), dry_run);
        };
        let stored = match self.world.releases.list(&root) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(app = %self.app, "failed to list releases: {error}");
                Vec::new()
            }
        };
        let guarded = self.state.guarded();
        if !dry_run {
            let mut busy: Vec<_> = guarded.in_use.iter().cloned().collect();
            busy.extend(guarded.previous.clone());
            if let Err(error) = self.world.releases.sweep(&root, &busy) {
                tracing::warn!(app = %self.app, "failed to remove rests: {error}");
            }
        }
        let sizes: BTreeMap<_, _> =
            stored.into_iter().map(|stored| (stored.release, stored.size_bytes)).collect();
        let ids: Vec<_> = sizes.keys().cloned().collect();
        let plan = prune_plan(&ids, keep, &guarded);
        let goes = |release: &ReleaseId| dry_run || self.remove(&root, release);
        let removed = plan.remove.into_iter().filter(goes);
        let removed = removed.map(|release| (release.clone(), sizes[&release])).collect();
        let kept = plan.kept.into_iter().map(|kept| (kept.release, kept.reason)).collect();
        self.pruned(Pruned { removed, kept }, dry_run)
    }

    fn pruned(&mut self, pruned: Pruned, dry_run: bool) -> Result<Pruned, EngineError> {
        if !dry_run {
            let releases = pruned.removed.iter().map(|(id, _)| id.clone()).collect();
            self.append(None, Event::Pruned { releases })?;
        }
        Ok(pruned)
    }

    fn remove(&self, root: &std::path::Path, release: &ReleaseId) -> bool {
        let result: Result<(), EffectError> = self.world.releases.remove(root, release);
        if let Err(error) = &result {
            tracing::warn!(app = %self.app, release = %release, "failed to remove the release: {error}");
        }
        result.is_ok()
    }

    fn release_root(&self) -> Option<(std::path::PathBuf, u32)> {
        let binding = self.state.slots.values().map(|s| &s.binding).next()?;
        // `<root>/releases/<id>`
        let root = binding.instance.parent()?.parent()?.to_owned();
        let keep = self.state.releases.get(&binding.release).map_or(5, |r| r.config.release.keep);
        Some((root, keep))
    }
}

/// What prune removed, with sizes in bytes, and what it kept, with reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) removed: Vec<(ReleaseId, u64)>,
    pub(crate) kept: Vec<(ReleaseId, KeepReason)>,
}
