//! Every crash at every effect, and again in recovery; every effect failing. Deploy, rollback, abort, first deploy.

use super::fixture::{app, binding, config, release};
use super::*;
use crate::engine::drive::{Driven, Engine, EngineError};
use alcedo_core::event::{Event, Outcome};
use alcedo_core::facts::{Facts, Request, Room};
use alcedo_core::names::DeployId;
use alcedo_core::plan::Purpose;
use alcedo_core::planning;
use alcedo_core::state::{AppState, Desired, WayBack};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a scenario asks the engine for, once the base is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Deploy(Behaviour),
    /// Given up after this many pieces of work.
    AbortAfter(usize),
    Stage,
    Rollback,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Good deploys before it starts.
    pub(super) base: u32,
    /// Whether the idle slot was retired meanwhile, so that a rollback is a start.
    pub(super) retired: bool,
    pub(super) act: Act,
}

const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "first deploy", base: 0, retired: false, act: Act::Deploy(Behaviour::Good) },
    Scenario {
        name: "first deploy that never becomes ready",
        base: 0,
        retired: false,
        act: Act::Deploy(Behaviour::NeverReady),
    },
    Scenario { name: "deploy", base: 2, retired: false, act: Act::Deploy(Behaviour::Good) },
    Scenario {
        name: "deploy that never becomes ready",
        base: 1,
        retired: false,
        act: Act::Deploy(Behaviour::NeverReady),
    },
    Scenario {
        name: "deploy given back by the judge",
        base: 1,
        retired: false,
        act: Act::Deploy(Behaviour::FailsRequests),
    },
    Scenario {
        name: "deploy that dies in the bake",
        base: 1,
        retired: false,
        act: Act::Deploy(Behaviour::DiesLater),
    },
    Scenario { name: "staged deploy and promote", base: 1, retired: false, act: Act::Stage },
    Scenario { name: "rollback by a flip", base: 2, retired: false, act: Act::Rollback },
    Scenario { name: "rollback by a start", base: 2, retired: true, act: Act::Rollback },
];

impl SimHost {
    /// An independent copy of this moment.
    fn fork(&self) -> Self {
        let copy = Self::new(self.sabotage);
        let inner = self.lock();
        *copy.lock() = Inner {
            now_ms: inner.now_ms,
            boot: inner.boot,
            journal: inner.journal.clone(),
            running: inner.running.clone(),
            published: inner.published.clone(),
            releases: inner.releases.clone(),
            behaviour: inner.behaviour.clone(),
            since_ms: inner.since_ms.clone(),
            proven: inner.proven.clone(),
            restarts: inner.restarts.clone(),
            entrances_taken: inner.entrances_taken.clone(),
            holds_up: inner.holds_up,
            broken: inner.broken.clone(),
        };
        drop(inner);
        copy.disk.copy_from(&self.disk);
        copy
    }

    pub(super) fn engine(&self) -> Result<Engine, EngineError> {
        let mut engine = Engine::open(app(), self.world())?;
        engine.recover()?;
        Ok(engine)
    }
}

/// Plans as the daemon does, from what the simulated host says now.
fn begin(
    engine: &mut Engine,
    purpose: Purpose,
    release: &ReleaseId,
    warm: Option<Binding>,
    stage: bool,
) -> Result<(), EngineError> {
    begin_with(config(), engine, purpose, release, warm, stage)
}

/// With a configuration of its own.
pub(super) fn begin_with(
    config: Config,
    engine: &mut Engine,
    purpose: Purpose,
    release: &ReleaseId,
    warm: Option<Binding>,
    stage: bool,
) -> Result<(), EngineError> {
    let id = DeployId(engine.state.last_deploy + 1);
    let binding =
        warm.unwrap_or_else(|| binding(BindingId::new(id, engine.state.idle()), release, &config));
    let facts: Facts = engine.facts(Path::new("/srv/shop"), &config, &binding, 1, purpose);
    assert_eq!(facts.disk, Room { needed_bytes: 1, available_bytes: 1 << 40, fits: true });
    let fetch = purpose == Purpose::Deploy;
    let request = Request {
        purpose,
        release: release.clone(),
        content: release.to_string(),
        fetch,
        stage,
        accept: vec!["memory.two-copies".to_owned()],
        retry: false,
    };
    let Ok(proposal) = planning::plan(&config, &engine.state, &facts, &request, binding) else {
        return Ok(());
    };
    engine.order = fetch.then(|| FetchOrder {
        root: PathBuf::from("/srv/shop"),
        release: release.clone(),
        source: Source::Directory { path: PathBuf::from("/src"), hash: String::new() },
        config,
        commit: None,
    });
    let planned = Event::Planned {
        plan: Box::new(proposal.plan),
        by: "sim".to_owned(),
        note: None,
        operation: None,
    };
    engine.append(Some(id), planned)
}

/// Drives to the end of the deploy. A journal that cannot be written is tried again, as the actor does.
pub(super) fn finish(engine: &mut Engine, abort_after: Option<usize>) -> Result<(), EngineError> {
    let mut steps = 0;
    while steps < 1_000 {
        steps += 1;
        if abort_after == Some(steps)
            && engine.state.current.as_ref().is_some_and(alcedo_core::deploy::Deploy::can_give_up)
        {
            let event = Event::AbortAsked { by: "sim".to_owned(), reason: "given up".to_owned() };
            match engine.append(engine.current_id(), event) {
                Ok(()) | Err(EngineError::State(_) | EngineError::Journal(_)) => {}
            }
        }
        match engine.drive() {
            Ok(Driven::Idle) => return Ok(()),
            Ok(Driven::Waiting) => {
                let promoted = engine
                    .append(engine.current_id(), Event::PromoteAsked { by: "sim".to_owned() });
                if let Err(error @ EngineError::State(_)) = promoted {
                    return Err(error);
                }
            }
            Ok(Driven::Observed) => accept_when_held(engine)?,
            Ok(Driven::Worked) | Err(EngineError::Journal(_)) => {}
            Err(error @ EngineError::State(_)) => return Err(error),
        }
    }
    panic!(
        "the deploy does not come to an end: {:?}",
        engine.state.current.as_ref().map(|d| &d.stage)
    );
}

/// A held deploy waits for a person, who says abort here.
fn accept_when_held(engine: &mut Engine) -> Result<(), EngineError> {
    let held =
        engine.state.current.as_ref().is_some_and(|d| d.stage == alcedo_core::deploy::Stage::Held);
    if !held {
        return Ok(());
    }
    let event = Event::AbortAsked { by: "sim".to_owned(), reason: "held".to_owned() };
    match engine.append(engine.current_id(), event) {
        Err(error @ EngineError::State(_)) => Err(error),
        Ok(()) | Err(EngineError::Journal(_)) => Ok(()),
    }
}

fn act(host: &SimHost, scenario: &Scenario) -> Result<(), EngineError> {
    let mut engine = host.engine()?;
    let next = release(engine.state.last_deploy + 1);
    let (behaviour, stage, abort) = match scenario.act {
        Act::Deploy(behaviour) => (behaviour, false, None),
        Act::AbortAfter(n) => (Behaviour::Good, false, Some(n)),
        Act::Stage => (Behaviour::Good, true, None),
        Act::Rollback => return roll_back(&mut engine),
    };
    host.lock().behaviour.insert(next.clone(), behaviour);
    begin(&mut engine, Purpose::Deploy, &next, None, stage)?;
    finish(&mut engine, abort)
}

fn roll_back(engine: &mut Engine) -> Result<(), EngineError> {
    match engine.state.way_back() {
        Some(WayBack::Flip(binding)) => {
            let release = binding.release.clone();
            begin(engine, Purpose::Flip, &release, Some(binding), false)?;
        }
        Some(WayBack::Return(release)) => begin(engine, Purpose::Return, &release, None, false)?,
        None => {}
    }
    finish(engine, None)
}

/// A new life of the daemon: recovers, finishes what was under way, works off what is due.
pub(super) fn live_on(host: &SimHost) -> Result<AppState, EngineError> {
    let mut engine = loop {
        match host.engine() {
            Ok(engine) => break engine,
            // A daemon that cannot write its journal at its start is started again by its supervisor.
            Err(EngineError::Journal(_)) => {}
            Err(error @ EngineError::State(_)) => return Err(error),
        }
    };
    finish(&mut engine, None)?;
    while engine.state.due.iter().any(|d| d.at_ms.is_some_and(|at| at <= engine.now().0)) {
        match engine.housekeep() {
            Ok(_) | Err(EngineError::Journal(_)) => {}
            Err(error @ EngineError::State(_)) => return Err(error),
        }
    }
    Ok(AppState::clone(&engine.state))
}

/// The base: so many good deploys, whole.
pub(super) fn base(scenario: &Scenario, sabotage: Sabotage) -> SimHost {
    let host = SimHost::new(sabotage);
    for _ in 0..scenario.base {
        act(&host, &Scenario { act: Act::Deploy(Behaviour::Good), ..*scenario })
            .expect("a good deploy");
        live_on(&host).expect("a good life");
    }
    if scenario.retired {
        host.lock().now_ms += 3_600_000;
        live_on(&host).expect("a good life");
    }
    assert_eq!(host.lock().broken, Vec::<String>::new(), "{}: the base is sound", scenario.name);
    host
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Daemon,
    Power,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    first: (usize, When, Kind),
    second: Option<(usize, When, Kind)>,
}

/// What a life of the daemon came to.
enum Life {
    Crashed,
    Ended(Result<(), EngineError>),
}

fn live(life: impl FnOnce() -> Result<(), EngineError>) -> Life {
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(result) => Life::Ended(result),
        Err(payload) if payload.is::<Crash>() => Life::Crashed,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Runs one case; `Ok(false)`: the first point lies beyond the end, so there is no such case. `Err`: a law is broken.
fn run(base: &SimHost, scenario: &Scenario, case: &Case) -> Result<bool, String> {
    let host = base.fork();
    let (at, when, kind) = case.first;
    host.faults.arm(at, when);
    match live(|| act(&host, scenario)) {
        Life::Crashed => {}
        // The call was refused: nothing had begun.
        Life::Ended(Err(EngineError::Journal(_))) => {}
        Life::Ended(Err(error)) => {
            return Err(format!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            ));
        }
        Life::Ended(Ok(())) if host.faults.hit().is_none() => return Ok(false),
        Life::Ended(Ok(())) => {}
    }
    let mut failed = host.faults.hit().filter(|_| when == When::Fails);
    if when != When::Fails && kind == Kind::Power {
        host.power_cut();
    }
    if let Some((at, when, kind)) = case.second {
        host.faults.arm(at, when);
        match live(|| live_on(&host).map(|_| ())) {
            Life::Crashed if kind == Kind::Power => host.power_cut(),
            Life::Crashed => {}
            Life::Ended(Err(error)) => return Err(error.to_string()),
            Life::Ended(Ok(())) if host.faults.hit().is_none() => return Ok(false),
            Life::Ended(Ok(())) => failed = failed.or(host.faults.hit()),
        }
    }
    host.faults.disarm();
    let state = live_on(&host).map_err(|e| {
        format!("{e}: {:?}", std::error::Error::source(&e).map(ToString::to_string))
    })?;
    check(&host, &state, failed).map(|()| true)
}

/// The laws, at rest.
fn check(host: &SimHost, state: &AppState, failed: Option<Op>) -> Result<(), String> {
    let inner = host.lock();
    if let Some(broken) = inner.broken.first() {
        return Err(broken.clone());
    }
    if let Some(deploy) = &state.current {
        return Err(format!("the journal does not end: {:?}", deploy.stage));
    }
    let replayed = AppState::replay(inner.journal.iter().cloned()).map_err(|e| e.to_string())?;
    if replayed != *state {
        return Err("the journal says something else than the engine".to_owned());
    }
    if state.stuck.is_some() {
        return Err(format!("stuck after at most one passing failure: {:?}", state.stuck));
    }
    let published = inner.published.as_ref().and_then(|p| p.get("shop"));
    let target = published.and_then(|r| r.target.as_ref()).map(|t| t.id.clone());
    let recorded = state.active_binding().map(|b| b.id.to_string());
    if target != recorded {
        return Err(format!("the router points at {target:?}, the journal says {recorded:?}"));
    }
    drop(inner);
    check_slots(host, state, failed)
}

fn check_slots(host: &SimHost, state: &AppState, failed: Option<Op>) -> Result<(), String> {
    for slot in Slot::BOTH {
        let record = state.slots.get(&slot);
        let runs = host
            .lock()
            .running
            .get(&slot)
            .map(|(b, up)| (b.id.clone(), up.len() == b.processes.len()));
        let wanted = record.filter(|r| r.desired == Desired::Up).map(|r| r.binding.id.clone());
        let stopping = record.is_some_and(|r| r.desired == Desired::Down);
        match (&wanted, &runs) {
            (Some(id), Some((running, true))) if id == running => {}
            (None, None) => {}
            // What could not be stopped is said, and tried again.
            (None, Some(_)) if stopping || failed.is_some() => {}
            (_, None) if stopping => {}
            // A start that failed was reported; nothing is live there.
            (Some(_), _) if failed.is_some() && state.active != Some(slot) => {}
            _ => return Err(format!("{slot}: the journal wants {wanted:?}, {runs:?} runs")),
        }
    }
    if let Some(active) = state.active_binding() {
        let inner = host.lock();
        if inner.releases.get(&active.release) != Some(&(true, true)) {
            return Err(format!(
                "the live release {} would not survive a power cut",
                active.release
            ));
        }
    }
    Ok(())
}

/// Every first crash and failure of a scenario, and a second one after every `seconds_every`-th: how many ran, and the
/// laws that broke.
fn enumerate(
    scenario: &Scenario,
    sabotage: Sabotage,
    kinds: &[Kind],
    seconds_every: usize,
) -> (usize, Vec<String>) {
    let base = base(scenario, sabotage);
    let (mut ran, mut broken) = (0, Vec::new());
    let mut note = |case: &Case, result: Result<bool, String>, ran: &mut usize| match result {
        Ok(false) => false,
        Ok(true) => {
            *ran += 1;
            true
        }
        Err(law) => {
            *ran += 1;
            broken.push(format!("{}, {case:?}: {law}", scenario.name));
            true
        }
    };
    for at in 0.. {
        let fails = Case { first: (at, When::Fails, Kind::Daemon), second: None };
        if !note(&fails, run(&base, scenario, &fails), &mut ran) {
            break;
        }
        for when in [When::Before, When::Torn, When::After] {
            for kind in kinds {
                let first = (at, when, *kind);
                let case = Case { first, second: None };
                note(&case, run(&base, scenario, &case), &mut ran);
                if at % seconds_every != 0 {
                    continue;
                }
                second_crashes(&base, scenario, first, seconds_every, &mut note, &mut ran);
            }
        }
    }
    (ran, broken)
}

/// A second crash at every effect of the recovery. The whole enumeration takes each of them in every way; otherwise the
/// ways take turns, shifted with the first point.
fn second_crashes(
    base: &SimHost,
    scenario: &Scenario,
    first: (usize, When, Kind),
    seconds_every: usize,
    note: &mut impl FnMut(&Case, Result<bool, String>, &mut usize) -> bool,
    ran: &mut usize,
) {
    let ways = [When::Before, When::Torn, When::After, When::Fails];
    for again in 0.. {
        let turn = (again + first.0 / seconds_every) % ways.len();
        let mut any = false;
        for (n, when) in ways.into_iter().enumerate() {
            if seconds_every == 1 || n == turn {
                let case = Case { first, second: Some((again, when, first.2)) };
                any |= note(&case, run(base, scenario, &case), ran);
            }
        }
        if !any {
            return;
        }
    }
}

fn scenarios_with_aborts(base_len: usize) -> Vec<Scenario> {
    let aborts = (1..base_len).map(|n| Scenario {
        name: "abort",
        base: 1,
        retired: false,
        act: Act::AbortAfter(n),
    });
    SCENARIOS.into_iter().chain(aborts).collect()
}

#[test]
fn every_crash_and_every_failure_ends_with_one_live_slot_that_may_be_live() {
    // The whole enumeration takes minutes (`cargo xtask bench crash`); the tests take a part of the second crashes.
    let whole = std::env::var_os("ALCEDO_SIM_WHOLE").is_some();
    let (mut ran, mut broken) = (0, Vec::new());
    for scenario in scenarios_with_aborts(14) {
        let (n, laws) = enumerate(
            &scenario,
            Sabotage::None,
            &[Kind::Daemon, Kind::Power],
            if whole { 1 } else { 6 },
        );
        ran += n;
        broken.extend(laws);
    }
    report(ran);
    assert!(
        broken.is_empty(),
        "{} of {ran} cases broke a law, the first:\n{}",
        broken.len(),
        broken[..broken.len().min(5)].join("\n")
    );
    assert!(ran >= 10_000, "only {ran} cases ran");
}

#[expect(clippy::print_stderr, reason = "the number of cases is the point of the test")]
fn report(ran: usize) {
    eprintln!("SimHost: {ran} crash and failure cases ran");
}

/// The suite bites: without one sync or without intent records, laws break.
#[test]
fn leaving_out_a_sync_or_the_intent_records_is_noticed() {
    let deploy = SCENARIOS[2];
    for sabotage in
        [Sabotage::NoIntents, Sabotage::NoFileSync, Sabotage::NoDirSync, Sabotage::NoSealSync]
    {
        let noticed = catch_unwind(|| {
            enumerate(&deploy, sabotage, &[Kind::Daemon, Kind::Power], usize::MAX).1
        });
        let broken = noticed.unwrap_or_else(|_| vec!["a panic".to_owned()]);
        assert!(!broken.is_empty(), "{sabotage:?} went unnoticed");
    }
}

#[test]
fn good_deploy_ends_live_and_a_bad_one_is_given_back() {
    let outcome = |behaviour| {
        let scenario = Scenario { name: "", base: 1, retired: false, act: Act::Deploy(behaviour) };
        let host = base(&scenario, Sabotage::None);
        act(&host, &scenario).expect("a life without faults");
        let state = live_on(&host).expect("a life without faults");
        (state.history.last().map(|p| p.outcome), state.active)
    };
    assert_eq!(outcome(Behaviour::Good), (Some(Outcome::Live), Some(Slot::Green)));
    assert_eq!(outcome(Behaviour::NeverReady), (Some(Outcome::Unchanged), Some(Slot::Blue)));
    assert_eq!(outcome(Behaviour::FailsRequests), (Some(Outcome::RolledBack), Some(Slot::Blue)));
    assert_eq!(outcome(Behaviour::DiesLater), (Some(Outcome::RolledBack), Some(Slot::Blue)));
}
