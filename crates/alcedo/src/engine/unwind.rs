//! Taking back: the way to the slot that was live, and out of what was begun.

use super::drive::{Engine, EngineError, micros};
use super::perform::Done;
use alcedo_core::event::{Event, Failure};
use alcedo_core::names::DeployId;
use alcedo_core::plan::Plan;
use alcedo_core::step::Undo;
use std::time::Duration;

/// Pauses before an undo is tried once more; then a person is needed.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

impl Engine {
    /// Takes one thing back: intent durable (unless it already is), effect, result durable.
    pub(crate) fn undo(&mut self, id: DeployId, undo: Undo) -> Result<(), EngineError> {
        use alcedo_core::deploy::Stage;
        let Some(deploy) = &self.state.current else { return Ok(()) };
        let plan = deploy.plan.clone();
        if matches!(deploy.stage, Stage::Unwinding(_)) {
            self.append(Some(id), Event::UndoStarted { undo })?;
        }
        // Whoever cancelled wanted exactly this; the way back itself is never cancelled.
        self.cancel.clear();
        let begun = self.now();
        let result = self.take_back_patiently(undo, &plan);
        let measured_us = micros(self.now().since(begun));
        let event = match result {
            Ok(done) => {
                let (text, generation) = (done.text, done.generation);
                Event::UndoDone {
                    undo,
                    text,
                    took_us: done.took_us.unwrap_or(measured_us),
                    generation,
                }
            }
            Err(failure) => Event::UndoFailed { undo, failure },
        };
        self.append(Some(id), event)?;
        if undo == Undo::SwitchBack {
            self.mark_active();
        }
        Ok(())
    }

    /// A failure that passes by itself (a disk that was full for a moment) must not leave a deploy stuck.
    fn take_back_patiently(&self, undo: Undo, plan: &Plan) -> Result<Done, Failure> {
        let mut result = self.take_back(undo, plan);
        for pause in RETRY_AFTER {
            if result.is_ok() {
                break;
            }
            self.feed.progress(&format!("trying again in {} s", pause.as_secs()), self.now());
            self.world.clock.sleep_until(self.now().after(pause), &super::ports::Cancel::default());
            result = self.take_back(undo, plan);
        }
        result
    }

    fn take_back(&self, undo: Undo, plan: &Plan) -> Result<Done, Failure> {
        let limit = Duration::from_secs(20);
        match undo {
            Undo::SwitchBack => self.switch_back(plan),
            Undo::VerifyBack => self.verify_back(plan, limit),
            Undo::DrainNew => self.drain(plan.to(), &plan.binding.id, plan),
            Undo::StopNew => {
                self.stop_slot(plan.to())?;
                Ok(Done::saw(format!("{} is stopped; its files and log are kept", plan.to())))
            }
            Undo::Discard => {
                let root = plan.binding.instance.parent().and_then(|p| p.parent());
                if let Some(root) = root {
                    self.world.releases.discard(root, &plan.binding.instance)?;
                }
                Ok(Done::saw("what was copied is removed"))
            }
        }
    }

    /// The router's structure as it was, then who answers through it.
    fn verify_back(&self, plan: &Plan, limit: Duration) -> Result<Done, Failure> {
        let Some(from) = &plan.from else { return Ok(Done::default()) };
        let before = self.before(plan);
        let config = before.as_ref().map_or(&plan.config, |(config, _)| config);
        self.configure(config, from)?;
        self.verify(from, config, limit).or_else(|_| {
            self.bring_up(from)?;
            self.verify(from, config, limit)
        })
    }

    /// Law 4: one probe of the target first; a target that does not answer is not switched to.
    fn switch_back(&self, plan: &Plan) -> Result<Done, Failure> {
        let Some(from) = &plan.from else {
            return Err(Failure::new("there is nothing to go back to"));
        };
        let operation = plan.back_operation();
        let live = |generation, took_us| Done {
            text: format!("{} is live again, the same processes as before", from.slot),
            took_us: Some(took_us),
            generation: Some(generation),
            ..Done::default()
        };
        // It may have happened in an earlier life of the daemon.
        if let Some(e) = self.ask_router_patiently()?
            && e.operation.as_deref() == Some(operation.as_str())
        {
            return Ok(live(e.generation, 0));
        }
        // It may be down only because bringing it back after a reboot failed once.
        let answers = self.probe_once(from).or_else(|_| {
            self.bring_up(from).map_err(|failure| failure.what)?;
            self.probe_once(from)
        });
        answers.map_err(|seen| Failure {
            what: format!(
                "{} does not answer ({seen}), so the traffic stays on {}",
                from.slot,
                plan.to()
            ),
            detail: String::new(),
            hint: Some(format!("alcedo resolve {}", plan.to())),
        })?;
        let expected =
            self.state.current.as_ref().and_then(|d| d.switched).unwrap_or(plan.generation);
        let (generation, took_us) = self.point(expected, from, &operation)?;
        Ok(live(generation, took_us))
    }
}
