//! The loop: ask the machine what now, make the intent durable, do it, make the result durable, show it.

use super::feed::Feed;
use super::ports::{Call, Cancel, EffectError, FetchOrder, Millis, World};
use alcedo_core::AppName;
use alcedo_core::deploy::{Next, Work};
use alcedo_core::event::{Event, Failure, Record};
use alcedo_core::names::DeployId;
use alcedo_core::plan::Plan;
use alcedo_core::state::{AppState, StateError};
use alcedo_core::step::Step;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The engine of one app: its recorded state, its world and what it tells.
pub(crate) struct Engine {
    pub(crate) app: AppName,
    pub(crate) state: Arc<AppState>,
    pub(crate) world: World,
    pub(crate) feed: Feed,
    /// Set by whoever wants the effect under way to end early.
    pub(crate) cancel: Cancel,
    /// Set while a message waits, so that observing comes back to read it.
    pub(crate) mail: Cancel,
    /// Where the files of the deploy under way come from. Not journalled: before the seal a crash undoes.
    pub(crate) order: Option<FetchOrder>,
    /// Results of what was done that are not durable yet: a full disk must not make us do it again.
    owed: VecDeque<(DeployId, Event)>,
}

/// What happened while driving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// There is no deploy under way (any more).
    Idle,
    /// A message is wanted before anything else happens.
    Waiting,
    /// One stretch was observed; drive again.
    Observed,
    /// One thing was done; drive again.
    Worked,
}

/// Why the engine cannot go on: nothing is done whose intent is not durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The journal cannot be written or read.
    #[error("write the journal")]
    Journal(#[source] EffectError),
    /// The journal contradicts itself.
    #[error("understand the journal")]
    State(#[from] StateError),
}

impl Engine {
    /// The engine of `app` from its journal. Nothing is done yet: see [`Self::recover`].
    pub(crate) fn open(app: AppName, world: World) -> Result<Self, EngineError> {
        let records = world.journal.read(&app).map_err(EngineError::Journal)?;
        let state = Arc::new(AppState::replay(records.iter().cloned())?);
        let feed = Feed::new(app.clone(), state.clone(), records);
        Ok(Self {
            app,
            state,
            world,
            feed,
            cancel: Cancel::default(),
            mail: Cancel::default(),
            order: None,
            owed: VecDeque::new(),
        })
    }

    /// A new life: says so in the journal when something was under way, and brings slots back that should run.
    pub(crate) fn recover(&mut self) -> Result<(), EngineError> {
        let boot = self.world.clock.boot();
        if self.state.boot.as_deref() != Some(boot.as_str()) {
            self.append(None, Event::Booted { boot })?;
        }
        if let Some(deploy) = self.current_id() {
            self.append(Some(deploy), Event::Recovered)?;
        }
        self.ensure_slots();
        self.mark_active();
        Ok(())
    }

    /// Does one thing of the deploy under way.
    pub(crate) fn drive(&mut self) -> Result<Driven, EngineError> {
        self.pay()?;
        let Some(deploy) = &self.state.current else { return Ok(Driven::Idle) };
        let id = deploy.plan.deploy;
        match deploy.next() {
            Next::Perform(work) => self.work(id, work).map(|()| Driven::Worked),
            Next::Observe => self.observe(id).map(|()| Driven::Observed),
            Next::Wait => Ok(Driven::Waiting),
            Next::Conclude(outcome) => {
                let reason = self
                    .state
                    .current
                    .as_ref()
                    .and_then(|d| d.cause.as_ref())
                    .map(|c| c.what.clone());
                self.append(Some(id), Event::Ended { outcome, reason })?;
                self.order = None;
                Ok(Driven::Worked)
            }
            Next::Ended(_) => Ok(Driven::Idle),
        }
    }

    /// Makes an event durable, folds it into the state, shows it. The only way anything is recorded.
    pub(crate) fn append(
        &mut self,
        deploy: Option<DeployId>,
        event: Event,
    ) -> Result<(), EngineError> {
        self.pay()?;
        self.append_now(deploy, event)
    }

    /// Makes durable what was done and could not be recorded then.
    fn pay(&mut self) -> Result<(), EngineError> {
        while let Some((id, event)) = self.owed.front().cloned() {
            match self.append_now(Some(id), event) {
                Err(error @ EngineError::Journal(_)) => return Err(error),
                paid => {
                    self.owed.pop_front();
                    paid?;
                }
            }
        }
        Ok(())
    }

    fn append_now(&mut self, deploy: Option<DeployId>, event: Event) -> Result<(), EngineError> {
        let clock = &self.world.clock;
        let record = Record {
            seq: self.state.seq + 1,
            at: clock.wall(),
            at_ms: clock.now().0,
            deploy,
            event,
        };
        // An event that the machine refuses must never become durable: the journal could not be replayed.
        let mut after = AppState::clone(&self.state);
        after.apply(&record)?;
        self.world.journal.append(&self.app, &record).map_err(EngineError::Journal)?;
        self.state = Arc::new(after);
        self.feed.publish(record, self.state.clone());
        Ok(())
    }

    /// The deploy under way.
    pub(crate) fn current_id(&self) -> Option<DeployId> {
        self.state.current.as_ref().map(|d| d.plan.deploy)
    }

    /// The plan of the deploy under way.
    pub(crate) fn current_plan(&self) -> Option<Plan> {
        self.state.current.as_ref().map(|d| d.plan.clone())
    }

    /// Runs `effect` with a deadline; progress goes to the feed.
    pub(crate) fn call<T>(&self, limit: Duration, effect: impl FnOnce(&Call<'_>) -> T) -> T {
        let (feed, clock) = (&self.feed, &self.world.clock);
        let progress = |text: &str| feed.progress(text, clock.now());
        effect(&Call {
            deadline: self.now().after(limit),
            cancel: &self.cancel,
            progress: &progress,
        })
    }

    /// The engine's clock.
    pub(crate) fn now(&self) -> Millis {
        self.world.clock.now()
    }

    fn work(&mut self, id: DeployId, work: Work) -> Result<(), EngineError> {
        match work {
            Work::Do(step) => self.do_step(id, step),
            Work::Inspect(step) => self.end_step(id, step, true),
            Work::Undo(undo) => self.undo(id, undo),
        }
    }

    fn do_step(&mut self, id: DeployId, step: Step) -> Result<(), EngineError> {
        let deadline_ms = self
            .current_plan()
            .map_or(0, |plan| self.now().after(super::perform::limit(step, &plan)).0);
        self.append(Some(id), Event::StepStarted { step, deadline_ms })?;
        if step == Step::Bake {
            return Ok(());
        }
        self.end_step(id, step, false)
    }

    fn end_step(&mut self, id: DeployId, step: Step, in_doubt: bool) -> Result<(), EngineError> {
        let Some(plan) = self.current_plan() else { return Ok(()) };
        let begun = self.now();
        let result = if in_doubt { self.inspect(step, &plan) } else { self.perform(step, &plan) };
        let measured_us = micros(self.now().since(begun));
        match result {
            Ok(done) => {
                let notices = done.notices.into_iter();
                self.owed
                    .extend(notices.map(|text| (id, Event::Notice { text, step: Some(step) })));
                let event = Event::StepDone {
                    step,
                    text: done.text,
                    took_us: done.took_us.unwrap_or(measured_us),
                    skipped: done.skipped,
                    generation: done.generation,
                    restarts: done.restarts,
                    own: done.own,
                };
                self.owed.push_back((id, event));
            }
            Err(failure) => {
                let event = Event::StepFailed { step, failure, took_us: measured_us };
                self.owed.push_back((id, event));
            }
        }
        self.pay()?;
        if step == Step::Switch {
            self.mark_active();
        }
        Ok(())
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<EffectError> for Failure {
    fn from(error: EffectError) -> Self {
        let what = format!("failed to {error}");
        match error {
            EffectError::Cancelled => Self::new("given up on request"),
            EffectError::TimedOut { .. } => Self::new(what),
            EffectError::Failed { detail, hint, .. } => Self { what, detail, hint },
        }
    }
}
