//! The deploy machine: a fold of journal events and one question, "what now?".
//!
//! [`Deploy::record`] is the only mutator; recovery runs it over the journal and is the same code as running live.
//! It never performs anything and never reads a clock.

use crate::event::{Event, Failure, Outcome};
use crate::judge::{Bench, Finding, Verdict};
use crate::plan::{Plan, Purpose};
use crate::step::{Step, Undo};

/// One deploy, as far as its events tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Deploy {
    /// What it was to do.
    pub plan: Plan,
    /// Where it stands.
    pub stage: Stage,
    /// Steps that are over, in order.
    done: Vec<Step>,
    /// The router's generation after the switch, once done.
    pub switched: Option<u64>,
    /// Publish time of the switch in microseconds.
    pub switch_us: Option<u64>,
    /// What the bake saw.
    pub bench: Bench,
    /// The judge's last word.
    pub verdict: Option<Verdict>,
    /// Why it is given up.
    pub cause: Option<Failure>,
}

/// Where a deploy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Steps before this index are over; this one is next.
    Ready(usize),
    /// The step is begun and not ended, in this life of the daemon.
    Running(usize),
    /// The step was begun in an earlier life and its end is not known.
    Doubt(usize),
    /// Waits at the gate for `promote`.
    AtGate(usize),
    /// Holds after an inconclusive bake until a person decides.
    Held,
    /// Gives up: these are still to be undone, the first one next.
    Unwinding(Vec<Undo>),
    /// An undo is begun.
    Undoing(Vec<Undo>),
    /// An undo was begun in an earlier life.
    UndoDoubt(Vec<Undo>),
    /// Everything is done but the last word.
    Concluding(Outcome),
    /// Over.
    Ended(Outcome),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make the intent durable, then do it.
    Perform(Work),
    /// Observe the live release for a while, then record what was seen.
    Observe,
    /// Nothing, until a person or a message changes something.
    Wait,
    /// Append [`Event::Ended`].
    Conclude(Outcome),
    /// It is over.
    Ended(Outcome),
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A step.
    Do(Step),
    /// Ask the world whether the step has happened; then record its end (or its failure).
    Inspect(Step),
    /// Take back.
    Undo(Undo),
}

/// An event that cannot follow what was recorded before.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("accept {event} while the deploy is {stage}")]
pub struct IllegalEvent {
    /// The event.
    pub event: String,
    /// Where the deploy stood.
    pub stage: String,
}

impl Deploy {
    /// A deploy that was just planned.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            stage: Stage::Ready(0),
            done: Vec::new(),
            switched: None,
            switch_us: None,
            bench: Bench::default(),
            verdict: None,
            cause: None,
        }
    }

    /// Folds the events of one deploy, the first of which is [`Event::Planned`].
    pub fn recover(events: impl IntoIterator<Item = Event>) -> Result<Self, IllegalEvent> {
        let mut events = events.into_iter();
        let Some(Event::Planned { plan, .. }) = events.next() else {
            return Err(IllegalEvent {
                event: "a journal".to_owned(),
                stage: "not planned".to_owned(),
            });
        };
        let mut deploy = Self::new(*plan);
        for event in events {
            deploy.record(&event)?;
        }
        Ok(deploy)
    }

    /// What now? Pure; may be asked as often as wanted.
    pub fn next(&self) -> Next {
        match &self.stage {
            Stage::Ready(at) => self.next_step(*at),
            Stage::Running(at) if self.plan.steps[*at] == Step::Bake => Next::Observe,
            Stage::Running(at) | Stage::Doubt(at) => {
                Next::Perform(Work::Inspect(self.plan.steps[*at]))
            }
            Stage::AtGate(_) => Next::Wait,
            Stage::Held => Next::Observe,
            Stage::Unwinding(undos) => match undos.first() {
                Some(undo) => Next::Perform(Work::Undo(*undo)),
                None => Next::Conclude(self.outcome_of_giving_up()),
            },
            Stage::Undoing(undos) | Stage::UndoDoubt(undos) => {
                Next::Perform(Work::Undo(*undos.first().expect("an undo is under way")))
            }
            Stage::Concluding(outcome) => Next::Conclude(*outcome),
            Stage::Ended(outcome) => Next::Ended(*outcome),
        }
    }

    /// The only mutator.
    pub fn record(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::StepStarted { step, .. } => self.started(*step, event),
            Event::StepDone { step, took_us, generation, restarts, own, .. } => {
                self.done(*step, *took_us, *generation, event)?;
                if *step == Step::Switch {
                    self.bench.restarts_before = *restarts;
                }
                if *step == Step::Verify {
                    self.bench.read = *own;
                }
                Ok(())
            }
            Event::StepFailed { step, failure, .. } => self.failed(*step, failure, event),
            Event::UndoStarted { undo } => self.undo_started(*undo, event),
            Event::UndoDone { undo, generation, .. } => self.undo_done(*undo, *generation, event),
            Event::UndoFailed { undo, failure } => self.undo_failed(*undo, failure, event),
            Event::AbortAsked { reason, .. } => self.abort(Failure::new(reason.clone()), event),
            Event::PromoteAsked { .. } => self.promote(event),
            Event::Recovered => self.recovered(),
            Event::Observed { observation } => self.observed(observation, event),
            Event::Judged { verdict } => self.judged(verdict, event),
            Event::Ended { outcome, .. } => self.ended(*outcome, event),
            Event::Notice { .. } => Ok(()),
            Event::Planned { .. }
            | Event::Booted { .. }
            | Event::Retired { .. }
            | Event::RetireFailed { .. }
            | Event::Pruned { .. }
            | Event::Pinned { .. }
            | Event::Resolved { .. }
            | Event::PortsPicked { .. } => Err(self.illegal(event)),
        }
    }

    /// Whether the new release has, or may have, got traffic.
    pub fn has_switched(&self) -> bool {
        self.switched.is_some()
    }

    /// The step that is under way or next, if any.
    pub fn step(&self) -> Option<Step> {
        match &self.stage {
            Stage::Ready(at) | Stage::Running(at) | Stage::Doubt(at) | Stage::AtGate(at) => {
                self.plan.steps.get(*at).copied()
            }
            Stage::Held => Some(Step::Bake),
            Stage::Unwinding(_)
            | Stage::Undoing(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_)
            | Stage::Ended(_) => None,
        }
    }

    /// Whether it is being given up.
    pub fn is_unwinding(&self) -> bool {
        matches!(self.stage, Stage::Unwinding(_) | Stage::Undoing(_) | Stage::UndoDoubt(_))
    }

    /// Whether only its last word is missing.
    pub fn is_concluding(&self) -> bool {
        matches!(self.stage, Stage::Concluding(_))
    }

    /// Whether it is over.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.stage {
            Stage::Ended(outcome) => Some(outcome),
            Stage::Ready(_)
            | Stage::Running(_)
            | Stage::Doubt(_)
            | Stage::AtGate(_)
            | Stage::Held
            | Stage::Unwinding(_)
            | Stage::Undoing(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_) => None,
        }
    }

    /// Whether the new release is live and nobody judges it any more: the old slot drains and stops, and that is all.
    pub fn only_ends(&self) -> bool {
        let judged = self.plan.is_judged() && self.bench.length_ms(&self.plan.config.bake) > 0;
        let goes_on = matches!(self.stage, Stage::Ready(_) | Stage::Running(_) | Stage::Doubt(_));
        self.has_switched() && goes_on && !judged
    }

    fn next_step(&self, at: usize) -> Next {
        match self.plan.steps.get(at) {
            Some(step) => Next::Perform(Work::Do(*step)),
            None => Next::Conclude(Outcome::Live),
        }
    }

    fn started(&mut self, step: Step, event: &Event) -> Result<(), IllegalEvent> {
        if let Stage::Ready(at) = self.stage
            && self.plan.steps.get(at) == Some(&step)
        {
            self.stage = Stage::Running(at);
            return Ok(());
        }
        Err(self.illegal(event))
    }

    fn done(
        &mut self,
        step: Step,
        took_us: u64,
        generation: Option<u64>,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        let at = self.under_way(step, event)?;
        if step == Step::Switch {
            self.switched = Some(generation.unwrap_or(self.plan.generation + 1));
            self.switch_us = Some(took_us);
        }
        self.done.push(step);
        self.stage = if step == Step::Gate { Stage::AtGate(at) } else { Stage::Ready(at + 1) };
        Ok(())
    }

    fn failed(&mut self, step: Step, failure: &Failure, event: &Event) -> Result<(), IllegalEvent> {
        let at = self.under_way(step, event)?;
        match step {
            // Drain and retire come after the decision: what they leave open, housekeeping works off.
            Step::Drain | Step::Retire => self.stage = Stage::Ready(at + 1),
            // Where nothing was live before, or nobody may go back by itself, there is no way back to take.
            Step::Verify | Step::Bake if !self.plan.is_judged() => {
                self.cause = Some(failure.clone());
                self.stage = Stage::Ready(at + 1);
            }
            Step::Fetch
            | Step::Prepare
            | Step::Clear
            | Step::Start
            | Step::Probe
            | Step::Smoke
            | Step::Warm
            | Step::Gate
            | Step::Switch
            | Step::Verify
            | Step::Bake => self.give_up(failure.clone(), at),
        }
        Ok(())
    }

    fn under_way(&self, step: Step, event: &Event) -> Result<usize, IllegalEvent> {
        if let Stage::Running(at) | Stage::Doubt(at) = self.stage
            && self.plan.steps[at] == step
        {
            return Ok(at);
        }
        Err(self.illegal(event))
    }

    /// Gives up at step `at`, which has begun: undo in reverse what has begun so far.
    fn give_up(&mut self, cause: Failure, at: usize) {
        self.cause.get_or_insert(cause);
        let begun = &self.plan.steps[..=at.min(self.plan.steps.len() - 1)];
        let sealed = self.done.contains(&Step::Prepare);
        let mut undos = Vec::new();
        if self.has_switched() {
            undos.extend([Undo::SwitchBack, Undo::VerifyBack, Undo::DrainNew]);
        }
        undos.extend(
            begun
                .iter()
                .rev()
                .filter_map(|step| step.undo())
                .filter(|undo| *undo != Undo::Discard || !sealed),
        );
        self.stage = Stage::Unwinding(undos);
    }

    fn undo_started(&mut self, undo: Undo, event: &Event) -> Result<(), IllegalEvent> {
        if let Stage::Unwinding(undos) = &self.stage
            && undos.first() == Some(&undo)
        {
            self.stage = Stage::Undoing(undos.clone());
            return Ok(());
        }
        Err(self.illegal(event))
    }

    fn undo_done(
        &mut self,
        undo: Undo,
        generation: Option<u64>,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        let mut rest = self.undoing(undo, event)?;
        rest.remove(0);
        if undo == Undo::SwitchBack {
            self.switched = generation.or(self.switched);
        }
        self.stage = Stage::Unwinding(rest);
        Ok(())
    }

    /// A failed undo ends in stuck, except where it only leaves something to housekeeping or shows a bad answer.
    fn undo_failed(
        &mut self,
        undo: Undo,
        failure: &Failure,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        let mut rest = self.undoing(undo, event)?;
        match undo {
            Undo::SwitchBack | Undo::VerifyBack | Undo::StopNew => {
                self.cause = Some(failure.clone());
                self.stage = Stage::Concluding(Outcome::Stuck);
            }
            Undo::DrainNew | Undo::Discard => {
                rest.remove(0);
                self.stage = Stage::Unwinding(rest);
            }
        }
        Ok(())
    }

    fn undoing(&self, undo: Undo, event: &Event) -> Result<Vec<Undo>, IllegalEvent> {
        if let Stage::Undoing(undos) | Stage::UndoDoubt(undos) = &self.stage
            && undos.first() == Some(&undo)
        {
            return Ok(undos.clone());
        }
        Err(self.illegal(event))
    }

    fn abort(&mut self, cause: Failure, event: &Event) -> Result<(), IllegalEvent> {
        if !self.can_give_up() {
            return Err(self.illegal(event));
        }
        match self.stage {
            // Nothing of step `at` has begun.
            Stage::Ready(0) => {
                self.cause.get_or_insert(cause);
                self.stage = Stage::Unwinding(Vec::new());
            }
            Stage::Ready(at) => self.give_up(cause, at - 1),
            Stage::Running(at) | Stage::Doubt(at) | Stage::AtGate(at) => self.give_up(cause, at),
            Stage::Held => self.give_up(cause, self.plan.steps.len() - 1),
            Stage::Unwinding(_)
            | Stage::Undoing(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_)
            | Stage::Ended(_) => return Err(self.illegal(event)),
        }
        Ok(())
    }

    /// Before the switch always; after it only when there is something to go back to. A switch that is in doubt must be
    /// found out first, and what is given up or over cannot be given up.
    pub fn can_give_up(&self) -> bool {
        match self.stage {
            Stage::Running(at) | Stage::Doubt(at) if self.plan.steps[at] == Step::Switch => false,
            Stage::Ready(_)
            | Stage::Running(_)
            | Stage::Doubt(_)
            | Stage::AtGate(_)
            | Stage::Held => !self.has_switched() || self.plan.is_judged(),
            Stage::Unwinding(_)
            | Stage::Undoing(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_)
            | Stage::Ended(_) => false,
        }
    }

    fn promote(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        if let Stage::AtGate(at) = self.stage {
            self.stage = Stage::Ready(at + 1);
        } else if self.is_observing() {
            self.stage = Stage::Concluding(Outcome::Live);
        } else {
            return Err(self.illegal(event));
        }
        Ok(())
    }

    /// In the bake, or held at its end.
    fn is_observing(&self) -> bool {
        self.stage == Stage::Held
            || matches!(self.stage, Stage::Running(at) if self.plan.steps[at] == Step::Bake)
    }

    /// A new life of the daemon: before the switch recovery undoes, after it recovery resumes.
    fn recovered(&mut self) -> Result<(), IllegalEvent> {
        let cause =
            || Failure::new("the daemon was stopped before the switch; the deploy was given up");
        match self.stage.clone() {
            // A switch in doubt is asked of the router; so is what may have gone to a person.
            Stage::Running(at) | Stage::Doubt(at) if self.plan.steps[at] == Step::Switch => {
                self.stage = Stage::Doubt(at)
            }
            // Nothing is in doubt at the gate, and a person decided to wait there.
            Stage::AtGate(_) => {}
            Stage::Ready(at) if !self.has_switched() && self.done.last() == Some(&Step::Gate) => {
                self.stage = Stage::AtGate(at - 1)
            }
            Stage::Ready(at) if !self.has_switched() && at > 0 => self.give_up(cause(), at - 1),
            Stage::Ready(_) if !self.has_switched() => {
                self.cause = Some(cause());
                self.stage = Stage::Unwinding(Vec::new());
            }
            Stage::Running(at) | Stage::Doubt(at) if !self.has_switched() => {
                self.give_up(cause(), at)
            }
            Stage::Running(at) if self.plan.steps[at] == Step::Bake => {}
            Stage::Running(at) => self.stage = Stage::Doubt(at),
            Stage::Undoing(undos) => self.stage = Stage::UndoDoubt(undos),
            Stage::Ready(_)
            | Stage::Doubt(_)
            | Stage::Held
            | Stage::Unwinding(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_)
            | Stage::Ended(_) => {}
        }
        Ok(())
    }

    fn observed(
        &mut self,
        observation: &crate::judge::Observation,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        if !self.is_observing() {
            return Err(self.illegal(event));
        }
        self.bench.add(observation);
        Ok(())
    }

    fn judged(&mut self, verdict: &Verdict, event: &Event) -> Result<(), IllegalEvent> {
        if !self.is_observing() {
            return Err(self.illegal(event));
        }
        let at = self.plan.steps.len() - 1;
        self.verdict = Some(verdict.clone());
        match verdict.finding {
            Finding::Pass => self.stage = Stage::Concluding(Outcome::Live),
            Finding::Fail if self.plan.config.bake.auto_rollback => {
                self.give_up(Failure::new(verdict.text.clone()), at)
            }
            // It may not act: a person sees the verdict.
            Finding::Fail => self.stage = Stage::Held,
            Finding::Inconclusive => self.inconclusive(),
        }
        Ok(())
    }

    /// `accept` and `extend` are for traffic that was too small while probes were fine; anything else holds.
    fn inconclusive(&mut self) {
        use crate::config::OnInconclusive;
        let choice = if self.bench.probes_are_fine() {
            self.plan.config.bake.on_inconclusive
        } else {
            OnInconclusive::Hold
        };
        match choice {
            OnInconclusive::Accept => self.stage = Stage::Concluding(Outcome::Live),
            OnInconclusive::Extend if self.bench.extended == 0 => self.bench.extended = 1,
            OnInconclusive::Extend | OnInconclusive::Hold => self.stage = Stage::Held,
        }
    }

    fn ended(&mut self, outcome: Outcome, event: &Event) -> Result<(), IllegalEvent> {
        match self.next() {
            Next::Conclude(expected) if expected == outcome => {
                self.stage = Stage::Ended(outcome);
                Ok(())
            }
            Next::Conclude(_) | Next::Perform(_) | Next::Observe | Next::Wait | Next::Ended(_) => {
                Err(self.illegal(event))
            }
        }
    }

    fn outcome_of_giving_up(&self) -> Outcome {
        if self.has_switched() { Outcome::RolledBack } else { Outcome::Unchanged }
    }

    fn illegal(&self, event: &Event) -> IllegalEvent {
        let event = serde_json::to_value(event).ok();
        let word = event
            .as_ref()
            .and_then(|e| e.get("event"))
            .and_then(|e| e.as_str())
            .unwrap_or("an event");
        IllegalEvent { event: word.to_owned(), stage: format!("{:?}", self.stage) }
    }
}

impl Purpose {
    /// Whether it goes back to an older release.
    pub fn goes_back(self) -> bool {
        match self {
            Self::Deploy => false,
            Self::Flip | Self::Return => true,
        }
    }
}
