//! One thread and one inbox per app: everything that changes an app happens here, one thing at a time.

mod verbs;

use super::drive::{Driven, Engine};
use super::guard::Pruned;
use super::order::{Ordered, Places};
use super::ports::{Cancel, Millis};
use crate::api::{
    Accepted, ConfigText, DeployCall, Failed, PinCall, Preview, PreviewCall, RollbackCall, VerbCall,
};
use alcedo_core::AppName;
use alcedo_core::deploy::{Deploy, Stage};
use alcedo_core::event::{Event, Failure};
use alcedo_core::nginx::Upstream;
use alcedo_core::planning;
use alcedo_core::step::Step;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the engine waits before it tries a journal again that could not be written.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// Slots that should run are looked at this often, so that a dead shim is replaced.
const ENSURE_EVERY: Duration = Duration::from_secs(30);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Failed>>;

/// What can be asked of an app's engine.
pub(crate) enum Mail {
    /// What a deploy would do.
    Plan(Box<DeployCall>, Reply<Box<Ordered>>),
    /// Where its processes will be reached, for `setup`.
    Entries(ConfigText, Reply<Vec<Upstream>>),
    /// A new deploy.
    Deploy(Box<DeployCall>, Reply<Accepted>),
    /// The way back.
    Rollback(Box<RollbackCall>, Reply<Accepted>),
    /// Passes the gate, or accepts during the bake.
    Promote(VerbCall, Reply<Accepted>),
    /// Gives up what is under way.
    Abort(VerbCall, Reply<Accepted>),
    /// A person says which slot is live.
    Resolve(VerbCall, Reply<Accepted>),
    /// Stops the idle slot.
    Retire(VerbCall, Reply<Accepted>),
    /// Keeps a release from being removed, or no longer.
    Pin(PinCall, Reply<Accepted>),
    /// A way to the slot without traffic.
    Preview(PreviewCall, Reply<Preview>),
    /// Removes old releases.
    Prune(bool, Reply<Pruned>),
    /// The daemon ends; what is under way is found again by the next one.
    Stop,
}

/// The way to an app's engine.
#[derive(Clone)]
pub(crate) struct Handle {
    inbox: Sender<Mail>,
    mail: Cancel,
    cancel: Cancel,
    pub(crate) feed: super::feed::Feed,
}

impl Handle {
    /// Puts mail into the inbox; a thread that has ended answers nothing, which the reply's receiver sees.
    pub(crate) fn send(&self, mail: Mail) {
        let gives_up = match &mail {
            Mail::Abort(..) => true,
            // A name that is mistyped, or that of what is live, must not end anything.
            Mail::Rollback(call, _) => {
                let state = self.feed.state();
                call.release.as_deref().is_some_and(|name| state.names_another_release(name))
            }
            Mail::Plan(..)
            | Mail::Entries(..)
            | Mail::Deploy(..)
            | Mail::Promote(..)
            | Mail::Resolve(..)
            | Mail::Retire(..)
            | Mail::Pin(..)
            | Mail::Preview(..)
            | Mail::Prune(..)
            | Mail::Stop => false,
        };
        if gives_up && self.may_cancel() {
            self.cancel.cancel();
        }
        self.inbox.send(mail).ok();
        self.mail.cancel();
    }

    /// Only what has not switched is cut short; afterwards effects come to their end.
    fn may_cancel(&self) -> bool {
        self.feed
            .state()
            .current
            .as_ref()
            .is_some_and(|d| !d.has_switched() && d.can_give_up() && !d.is_unwinding())
    }
}

/// Starts the app's thread. `engine` is open and not yet recovered.
pub(crate) fn spawn(engine: Engine, places: Places) -> std::io::Result<Handle> {
    let (inbox, mails) = channel();
    let handle = Handle {
        inbox,
        mail: engine.mail.clone(),
        cancel: engine.cancel.clone(),
        feed: engine.feed.clone(),
    };
    let name = format!("app {}", engine.app);
    let mut actor = Actor {
        engine,
        places,
        mails,
        waiting: VecDeque::new(),
        ensured: Millis(0),
        answered: VecDeque::new(),
    };
    std::thread::Builder::new().name(name).spawn(move || actor.run())?;
    Ok(handle)
}

struct Actor {
    engine: Engine,
    places: Places,
    mails: Receiver<Mail>,
    /// Calls that wait for the deploy under way to be taken back first.
    waiting: VecDeque<Mail>,
    ensured: Millis,
    /// Answers to verbs without a deploy of their own, by operation.
    answered: VecDeque<(String, Accepted)>,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Life {
    On,
    Over,
}

impl Actor {
    fn run(&mut self) {
        self.recover();
        loop {
            if self.read_mail() == Life::Over {
                return;
            }
            let pause = match self.engine.drive() {
                Ok(Driven::Worked) => continue,
                Ok(Driven::Observed) => {
                    self.mend_when_due();
                    continue;
                }
                Ok(Driven::Waiting) => {
                    self.mend_when_due();
                    ENSURE_EVERY
                }
                Ok(Driven::Idle) => match self.rest() {
                    Some(pause) => pause,
                    None => continue,
                },
                Err(error) => self.in_trouble(&error),
            };
            if self.wait(pause) == Life::Over {
                return;
            }
        }
    }

    fn recover(&mut self) {
        while let Err(error) = self.engine.recover() {
            let pause = self.in_trouble(&error);
            std::thread::park_timeout(pause);
        }
        self.ensured = self.engine.now();
    }

    fn in_trouble(&self, error: &super::drive::EngineError) -> Duration {
        let text = format!("failed to {}", super::order::chain(error));
        tracing::error!(app = %self.engine.app, "{text}");
        self.engine.feed.trouble(Some(text));
        TROUBLE_PAUSE
    }

    /// Nothing is under way: calls that waited, housekeeping, slots that should run. `None`: something was done.
    fn rest(&mut self) -> Option<Duration> {
        if let Some(mail) = self.waiting.pop_front() {
            self.handle(mail);
            return None;
        }
        self.mend_when_due();
        match self.engine.housekeep() {
            Ok(true) => return None,
            Ok(false) => {}
            Err(error) => return Some(self.in_trouble(&error)),
        }
        let now = self.engine.now();
        let due = self.engine.next_due().and_then(|due| due.at_ms).map(|at| Millis(at).since(now));
        let pause = if self.engine.state.slots.is_empty() {
            Duration::from_secs(3600)
        } else {
            ENSURE_EVERY
        };
        Some(due.map_or(pause, |due| due.min(pause)))
    }

    fn mend_when_due(&mut self) {
        let now = self.engine.now();
        if now.since(self.ensured) >= ENSURE_EVERY && !self.engine.state.slots.is_empty() {
            self.engine.mend_slots();
            self.ensured = now;
        }
    }

    fn read_mail(&mut self) -> Life {
        self.engine.mail.clear();
        while let Ok(mail) = self.mails.try_recv() {
            if self.handle(mail) == Life::Over {
                return Life::Over;
            }
        }
        Life::On
    }

    fn wait(&mut self, pause: Duration) -> Life {
        match self.mails.recv_timeout(pause) {
            Ok(mail) => self.handle(mail),
            Err(RecvTimeoutError::Timeout) => Life::On,
            Err(RecvTimeoutError::Disconnected) => Life::Over,
        }
    }

    fn handle(&mut self, mail: Mail) -> Life {
        match mail {
            Mail::Plan(call, reply) => {
                let ordered = self.engine.order_deploy(&call, &self.places).map(Box::new);
                reply.send(ordered).ok();
            }
            Mail::Entries(call, reply) => {
                reply.send(self.engine.entries(&call, &self.places)).ok();
            }
            Mail::Deploy(call, reply) => self.deploy(call, reply),
            Mail::Rollback(call, reply) => self.rollback(call, reply),
            Mail::Promote(call, reply) => {
                let accepted = self.once(&call.operation.clone(), |me| me.promote(&call));
                reply.send(accepted).ok();
            }
            Mail::Abort(call, reply) => {
                let accepted = self.once(&call.operation.clone(), |me| me.abort(&call));
                // Recorded or refused: the wish must not cut a later effect short.
                self.engine.cancel.clear();
                reply.send(accepted).ok();
            }
            Mail::Resolve(call, reply) => {
                let accepted = self.once(&call.operation.clone(), |me| me.resolve(&call));
                reply.send(accepted).ok();
            }
            Mail::Retire(call, reply) => {
                let accepted = self.once(&call.operation.clone(), |me| me.retire(&call));
                reply.send(accepted).ok();
            }
            Mail::Pin(call, reply) => {
                let accepted = self.once(&call.operation.clone(), |me| me.pin(&call));
                reply.send(accepted).ok();
            }
            Mail::Preview(call, reply) => {
                reply.send(self.engine.preview(&call)).ok();
            }
            Mail::Prune(dry_run, reply) => {
                let pruned = self.engine.prune(dry_run).map_err(Failed::engine);
                reply.send(pruned).ok();
            }
            Mail::Stop => return Life::Over,
        }
        Life::On
    }

    /// A repeated operation returns the recorded result.
    fn once(
        &mut self,
        operation: &str,
        act: impl FnOnce(&mut Self) -> Result<Accepted, Failed>,
    ) -> Result<Accepted, Failed> {
        if let Some((_, accepted)) = self.answered.iter().find(|(known, _)| known == operation) {
            return Ok(accepted.clone());
        }
        let accepted = act(self)?;
        self.answered.push_back((operation.to_owned(), accepted.clone()));
        if self.answered.len() > 100 {
            self.answered.pop_front();
        }
        Ok(accepted)
    }

    fn known(&self, operation: &str) -> Option<Accepted> {
        let (_, deploy) =
            self.engine.state.operations.iter().find(|(known, _)| known == operation)?;
        Some(Accepted { deploy: Some(deploy.to_string()), since: 0, text: None })
    }

    fn deploy(&mut self, call: Box<DeployCall>, reply: Reply<Accepted>) {
        if let Some(accepted) = self.known(&call.operation) {
            reply.send(Ok(accepted)).ok();
            return;
        }
        if let Some(current) = self.engine.state.current.as_ref() {
            if call.supersede && current.has_switched() && !current.is_unwinding() {
                if let Err(failed) = self.could_deploy(&call) {
                    reply.send(Err(failed)).ok();
                    return;
                }
                let reason = format!("superseded by a new deploy of {}", call.by);
                match self.ask_abort(&call.by, &reason) {
                    Ok(()) => self.waiting.push_back(Mail::Deploy(call, reply)),
                    Err(failed) => _ = reply.send(Err(failed)).ok(),
                }
                return;
            }
            reply.send(Err(locked(&self.engine.state, current))).ok();
            return;
        }
        let begun = self.engine.order_deploy(&call, &self.places).and_then(|ordered| {
            planning::unaccepted(&ordered.proposal.caveats).map_err(|r| self.engine_refused(&r))?;
            if let Some(wanted) = &call.plan {
                let found = ordered.proposal.plan.short_id();
                if *wanted != found {
                    return Err(Failed::new(
                        "stale-plan",
                        format!("plan {wanted} is stale: the same request is {found} now"),
                        2,
                    )
                    .hint("alcedo plan"));
                }
            }
            self.begin(ordered, &call.by, call.note.clone(), &call.operation)
        });
        reply.send(begun).ok();
    }

    /// Whether the deploy would be refused anyway: nothing that is judged is given up for such a one. What the release
    /// under way still does in the slot that is needed ends with it.
    fn could_deploy(&mut self, call: &DeployCall) -> Result<(), Failed> {
        let ordered = self.engine.order_deploy(call, &self.places)?;
        let mut caveats = ordered.proposal.caveats;
        caveats.retain(|caveat| caveat.id != planning::SLOT_DRAINING);
        planning::unaccepted(&caveats).map_err(|refusal| self.engine_refused(&refusal))
    }

    fn engine_refused(&self, refusal: &planning::Refusal) -> Failed {
        self.engine.refused(refusal)
    }

    fn begin(
        &mut self,
        ordered: Ordered,
        by: &str,
        note: Option<String>,
        operation: &str,
    ) -> Result<Accepted, Failed> {
        let since = self.engine.state.seq;
        let id = self.engine.begin(ordered, by, note, operation).map_err(Failed::engine)?;
        Ok(Accepted { deploy: Some(id.to_string()), since, text: None })
    }

    fn rollback(&mut self, call: Box<RollbackCall>, reply: Reply<Accepted>) {
        if let Some(accepted) = self.known(&call.operation) {
            reply.send(Ok(accepted)).ok();
            return;
        }
        let Some(current) = self.engine.state.current.as_ref() else {
            let begun = self
                .engine
                .order_rollback(&call, &self.places)
                .and_then(|ordered| self.begin(ordered, &call.by, None, &call.operation));
            reply.send(begun).ok();
            return;
        };
        let (id, since) = (current.plan.deploy, self.engine.state.seq);
        if current.is_concluding() {
            // Nothing of it can be given up any more; in a moment there is nothing under way.
            self.waiting.push_back(Mail::Rollback(call, reply));
        } else if current.is_unwinding() {
            let accepted = Accepted {
                deploy: Some(id.to_string()),
                since,
                text: Some("it is being given back already".to_owned()),
            };
            reply.send(Ok(accepted)).ok();
        } else if call.release.is_some() {
            // With a release: what is under way is given up first, then it goes there. Not for a name that means nothing.
            let from = current.plan.from.as_ref().filter(|_| current.has_switched());
            let from = from.map(|from| from.release.clone());
            let accepted = Accepted { deploy: Some(id.to_string()), since, text: None };
            let to = self.engine.goes_back_to(&call, &self.places);
            let asked = to.and_then(|to| {
                self.ask_abort(&call.by, "given up for a rollback").map(|()| from == Some(to))
            });
            match asked {
                // Giving it up goes there already.
                Ok(true) => _ = reply.send(Ok(accepted)).ok(),
                Ok(false) => self.waiting.push_back(Mail::Rollback(call, reply)),
                Err(failed) => _ = reply.send(Err(failed)).ok(),
            }
        } else if current.has_switched() {
            let asked = self.ask_abort(&call.by, "rolled back by hand");
            reply
                .send(asked.map(|()| Accepted { deploy: Some(id.to_string()), since, text: None }))
                .ok();
        } else {
            let live = self
                .engine
                .state
                .active_binding()
                .map_or("nothing".to_owned(), |b| format!("{} {}", b.slot, b.release));
            let failed =
                Failed::usage(format!("{id} has not switched: {live} is live and untouched"))
                    .hint("alcedo abort");
            reply.send(Err(failed)).ok();
        }
    }

    fn abort(&mut self, call: &VerbCall) -> Result<Accepted, Failed> {
        let Some(current) = self.engine.state.current.as_ref() else {
            return Err(Failed::usage(
                "nothing is under way; for the older release: alcedo rollback",
            ));
        };
        let (id, since) = (current.plan.deploy, self.engine.state.seq);
        if current.is_unwinding() {
            return Ok(Accepted {
                deploy: Some(id.to_string()),
                since,
                text: Some("it is being given up already".to_owned()),
            });
        }
        if call.before_switch && current.has_switched() {
            return Err(Failed::new(
                "switched",
                format!("{id} has switched already; it goes on"),
                2,
            ));
        }
        self.ask_abort(&call.by, "given up by hand")?;
        Ok(Accepted { deploy: Some(id.to_string()), since, text: None })
    }

    fn ask_abort(&mut self, by: &str, reason: &str) -> Result<(), Failed> {
        let Some(current) = self.engine.state.current.as_ref() else { return Ok(()) };
        let id = current.plan.deploy;
        if !current.can_give_up() {
            let why = if current.step() == Some(Step::Switch) {
                format!(
                    "{id} is being switched: the router has not said yet whether it took effect"
                )
            } else if current.plan.is_judged() {
                format!("{id} is over: alcedo rollback goes back")
            } else {
                format!("{id} can no longer be given up: there is nothing to go back to")
            };
            return Err(Failed::usage(why).hint("alcedo status"));
        }
        let event = Event::AbortAsked { by: by.to_owned(), reason: reason.to_owned() };
        self.engine.append(Some(id), event).map_err(Failed::engine)
    }

    fn promote(&mut self, call: &VerbCall) -> Result<Accepted, Failed> {
        let Some(current) = self.engine.state.current.as_ref() else {
            return Err(Failed::usage("nothing is under way"));
        };
        let (id, since) = (current.plan.deploy, self.engine.state.seq);
        match &current.stage {
            Stage::AtGate(_) => {}
            Stage::Held => {}
            Stage::Running(_) if current.step() == Some(Step::Bake) && call.now => {}
            Stage::Running(_) if current.step() == Some(Step::Bake) => {
                return Err(Failed::usage(format!("{id} is live and being judged"))
                    .hint("alcedo promote --now accepts it without waiting"));
            }
            Stage::Ready(_)
            | Stage::Running(_)
            | Stage::Doubt(_)
            | Stage::Unwinding(_)
            | Stage::Undoing(_)
            | Stage::UndoDoubt(_)
            | Stage::Concluding(_)
            | Stage::Ended(_) => {
                return Err(
                    Failed::usage(format!("{id} does not wait for anything")).hint("alcedo status")
                );
            }
        }
        self.engine
            .append(Some(id), Event::PromoteAsked { by: call.by.clone() })
            .map_err(Failed::engine)?;
        Ok(Accepted { deploy: Some(id.to_string()), since, text: None })
    }
}

/// Exit 4: who has it, since when, and what there is to do.
fn locked(state: &alcedo_core::state::AppState, current: &Deploy) -> Failed {
    let past = state.history.last();
    let (by, since) = past.map_or(("somebody", ""), |p| (p.by.as_str(), p.started_at.as_str()));
    let release = &current.plan.binding.release;
    let what = match current.step() {
        _ if current.only_ends() => "is live, the old slot still drains",
        Some(Step::Bake) => "is being judged",
        Some(Step::Gate) => "waits at its gate",
        _ if current.is_unwinding() => "is being given up",
        _ => "is being deployed",
    };
    let hint = if current.only_ends() {
        "wait for it: --wait-lock 1m"
    } else if current.has_switched() {
        "wait for it: --wait-lock 15m; go back to stable first, then deploy: --supersede"
    } else {
        "wait for it: --wait-lock 15m; give it up: alcedo abort"
    };
    Failed::new("locked", format!("locked by {by} since {since}: {release} {what}"), 4).hint(hint)
}

impl Engine {
    /// Starts what a slot should run, if it does not.
    pub(crate) fn bring_up(&self, binding: &alcedo_core::Binding) -> Result<(), Failure> {
        let runner = &self.world.runner;
        self.call(Duration::from_secs(30), |call| runner.start(binding, call))?;
        let deadline = self.now().after(Duration::from_secs(10));
        while self.probe_once(binding).is_err() && self.now() < deadline {
            let next = self.now().after(Duration::from_millis(100));
            self.world.clock.sleep_until(next, &Cancel::default());
        }
        Ok(())
    }
}

/// The app's name, for messages.
pub(crate) fn unknown(app: &AppName) -> Failed {
    Failed::usage(format!("no app called {app} on this host")).hint("alcedo status")
}
