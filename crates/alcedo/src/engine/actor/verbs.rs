//! Verbs that have no deploy of their own: `resolve`, `retire`, `releases pin`.

use super::{Actor, locked};
use crate::api::{Accepted, Failed, PinCall, VerbCall};
use alcedo_core::Slot;
use alcedo_core::event::{Event, Failure};

impl Actor {
    /// The way out of stuck and of drift: checked, pointed, recorded.
    pub(super) fn resolve(&mut self, call: &VerbCall) -> Result<Accepted, Failed> {
        let slot = call.slot.ok_or_else(|| {
            Failed::usage("say which slot is live: resolve blue, or resolve green")
        })?;
        if self.engine.state.current.is_some() {
            return Err(Failed::new("locked", "a deploy is under way; give it up first", 4)
                .hint("alcedo abort"));
        }
        let record = self.engine.state.slots.get(&slot).cloned();
        let record = record.ok_or_else(|| {
            Failed::usage(format!("nothing was ever started in {slot}")).hint("alcedo status")
        })?;
        self.engine.bring_up(&record.binding).map_err(from_failure)?;
        self.engine.probe_once(&record.binding).map_err(|seen| {
            Failed::new("not-answering", format!("{slot} does not answer: {seen}"), 1)
                .hint(format!("alcedo logs --slot {slot}"))
        })?;
        // It may have lost its file of the app: what does not change with a switch is what was last live in this slot.
        self.engine.configure(&record.config, &record.binding).map_err(Failed::effect)?;
        let effective =
            self.engine.world.router.observe(&self.engine.app).map_err(Failed::effect)?;
        let mut generation = effective.as_ref().map_or(0, |e| e.generation);
        let points = effective.and_then(|e| e.target);
        let mut text = format!("{slot} is live, as the router says");
        if points.as_deref() != Some(record.binding.id.as_str()) {
            let operation = format!("{}/resolve/{}", self.engine.app, call.operation);
            generation =
                self.engine.point(generation, &record.binding, &operation).map_err(from_failure)?.0;
            text = format!("the router points at {slot} now");
        }
        let event = Event::Resolved {
            slot,
            binding: Some(record.binding.id.clone()),
            generation,
            by: call.by.clone(),
        };
        self.engine.append(None, event).map_err(Failed::engine)?;
        self.engine.mark_active();
        Ok(Accepted { deploy: None, since: self.engine.state.seq, text: Some(text) })
    }

    pub(super) fn pin(&mut self, call: &PinCall) -> Result<Accepted, Failed> {
        let config = self.engine.config_of(None)?;
        let root = self.places.root(&self.engine.app, &config);
        let release = self.engine.kept(&call.release, &root)?;
        let text = match (call.pinned, self.engine.state.pinned.contains(&release)) {
            (true, true) => format!("{release} is pinned already"),
            (false, false) => return Err(Failed::usage(format!("{release} is not pinned"))),
            (true, false) => format!("{release} is kept until you unpin it"),
            (false, true) => format!("{release} is kept as any other"),
        };
        let (pinned, by) = (call.pinned, call.by.clone());
        self.engine.append(None, Event::Pinned { release, pinned, by }).map_err(Failed::engine)?;
        Ok(Accepted { deploy: None, since: self.engine.state.seq, text: Some(text) })
    }

    pub(super) fn retire(&mut self, call: &VerbCall) -> Result<Accepted, Failed> {
        if let Some(current) = self.engine.state.current.as_ref() {
            return Err(locked(&self.engine.state, current));
        }
        let slot: Slot = self.engine.state.idle();
        if !self.engine.state.slots.contains_key(&slot) {
            return Err(Failed::usage(format!("{slot} is empty already")));
        }
        let since = self.engine.state.seq;
        self.engine.await_drain(slot);
        self.engine.retire(slot, &call.by).map_err(Failed::engine)?;
        if self.engine.state.slots.contains_key(&slot) {
            return Err(Failed::new(
                "failed",
                format!("{slot} could not be stopped; it is tried again"),
                1,
            )
            .hint("alcedo status"));
        }
        let text = format!("{slot} is stopped; a rollback is a start now");
        Ok(Accepted { deploy: None, since, text: Some(text) })
    }
}

fn from_failure(failure: Failure) -> Failed {
    Failed { hint: failure.hint, ..Failed::new("failed", failure.what, 1) }
}
