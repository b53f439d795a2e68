//! Single lives on the simulated host: what happens in each is told by the test's name.

use super::fixture::{app, config, release};
use super::scenario::{Act, Scenario, base, begin_with, finish};
use super::*;
use crate::api::RollbackCall;
use crate::engine::drive::{Driven, Engine};
use crate::engine::order::Places;
use alcedo_core::deploy::Stage;
use alcedo_core::event::Outcome;
use alcedo_core::plan::Purpose;
use alcedo_core::step::Step;
use std::time::Duration;

/// A host after so many good deploys.
fn host(deploys: u32) -> SimHost {
    let act = Act::Deploy(Behaviour::Good);
    base(&Scenario { name: "", base: deploys, retired: false, act }, Sabotage::None)
}

/// A deploy of the next release, which behaves like that, begun and not driven.
fn deploying(host: &SimHost, behaviour: Behaviour, config: Config) -> Engine {
    let mut engine = host.engine().expect("a daemon");
    let next = release(engine.state.last_deploy + 1);
    host.lock().behaviour.insert(next.clone(), behaviour);
    begin_with(config, &mut engine, Purpose::Deploy, &next, None, false).expect("a journal");
    engine
}

/// Drives until `holds`.
fn drive_until(engine: &mut Engine, what: &str, holds: impl Fn(&Engine) -> bool) {
    for _ in 0..1_000 {
        if holds(engine) {
            return;
        }
        engine.drive().expect("a journal");
    }
    panic!("never: {what}");
}

fn stage(engine: &Engine) -> Option<&Stage> {
    engine.state.current.as_ref().map(|d| &d.stage)
}

#[test]
fn a_held_deploy_watches_calmly_and_writes_nothing_that_is_not_news() {
    let host = host(1);
    let mut config = config();
    config.bake.auto_rollback = false;
    let mut engine = deploying(&host, Behaviour::FailsRequests, config);
    drive_until(&mut engine, "held", |e| stage(e) == Some(&Stage::Held));
    let (records, begun) = (engine.state.seq, engine.now());
    for _ in 0..10 {
        assert_eq!(engine.drive().expect("a journal"), Driven::Observed);
    }
    assert_eq!(engine.state.seq, records);
    let passed = engine.now().since(begun);
    assert!(passed >= Duration::from_secs(50), "10 stretches took {passed:?}");
}

fn outcome(engine: &Engine) -> Option<Outcome> {
    engine.state.history.last().map(|past| past.outcome)
}

/// What the router is configured with.
fn domains(host: &SimHost) -> Vec<String> {
    let inner = host.lock();
    inner.published.as_ref().expect("a router")["shop"].structure.domains.clone()
}

fn with_domain(name: &str) -> Config {
    let mut config = config();
    config.router.domains = vec![name.to_owned()];
    config
}

/// Every process of the slot is down.
fn take_down(host: &SimHost, slot: Slot) {
    host.lock().running.get_mut(&slot).expect("a slot").1.clear();
}

fn rollback() -> RollbackCall {
    RollbackCall { operation: "r".to_owned(), release: None, by: "p".to_owned(), config: None }
}

fn places() -> Places {
    Places { apps: "/srv".into(), run: "/run".into(), ports: Arc::default() }
}

#[test]
fn a_deploy_that_is_given_back_leaves_router_and_configuration_as_they_were() {
    let host = host(1);
    let mut engine = deploying(&host, Behaviour::FailsRequests, with_domain("new.example"));
    drive_until(&mut engine, "switched", |e| {
        e.state.current.as_ref().is_some_and(alcedo_core::deploy::Deploy::has_switched)
    });
    assert_eq!(domains(&host), ["new.example"]);
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::RolledBack));
    assert!(domains(&host).is_empty());
    assert_eq!(engine.state.config.as_deref(), Some(&config()));
}

#[test]
fn a_switch_that_fails_leaves_the_router_as_it_was() {
    for somebody_else_switches in [false, true] {
        let host = host(1);
        let mut engine = deploying(&host, Behaviour::Good, with_domain("new.example"));
        drive_until(&mut engine, "before the switch", |e| {
            e.state.current.as_ref().and_then(|d| d.step()) == Some(Step::Switch)
        });
        if somebody_else_switches {
            let mut inner = host.lock();
            inner
                .published
                .as_mut()
                .expect("a router")
                .get_mut("shop")
                .expect("shop")
                .generation += 1;
        } else {
            take_down(&host, engine.state.idle());
        }
        finish(&mut engine, None).expect("a journal");
        assert_eq!(outcome(&engine), Some(Outcome::Unchanged));
        assert!(domains(&host).is_empty());
        assert_eq!(engine.state.config.as_deref(), Some(&config()));
    }
}

#[test]
fn a_router_that_was_held_up_refuses_the_abandoned_switch() {
    let host = host(1);
    let mut engine = deploying(&host, Behaviour::Good, config());
    let plan = engine.current_plan().expect("a plan");
    host.lock().holds_up = true;
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::Unchanged));
    let late =
        Router::switch(&host, &app(), plan.generation, &plan.binding, &plan.switch_operation());
    assert!(matches!(late, Err(SwitchError::Conflict(_))), "{late:?}");
}

#[test]
fn what_gave_up_in_the_live_slot_is_started_again_and_in_the_idle_one_is_not() {
    let host = host(2);
    let engine = host.engine().expect("a daemon");
    let live = engine.state.active.expect("a live slot");
    take_down(&host, live);
    take_down(&host, live.other());
    engine.mend_slots();
    let is_up = |slot| host.observe_slot(slot).expect("a slot").is_up();
    assert!(is_up(live));
    assert!(!is_up(live.other()));
}

#[test]
fn the_judge_sees_what_gave_up_before_anybody_mends_it() {
    let host = host(1);
    let mut engine = deploying(&host, Behaviour::Good, config());
    drive_until(&mut engine, "in its bake", |e| {
        e.state.current.as_ref().and_then(|d| d.step()) == Some(Step::Bake)
            && matches!(stage(e), Some(Stage::Running(_)))
    });
    take_down(&host, engine.state.active.expect("a live slot"));
    engine.mend_slots();
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::RolledBack));
}

#[test]
fn a_release_is_not_judged_by_restarts_before_its_switch() {
    let host = host(1);
    let mut engine = deploying(&host, Behaviour::Good, config());
    let slot = engine.state.idle();
    host.lock().restarts.insert(slot, 4);
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::Live));
}

#[test]
fn a_rollback_starts_the_release_anew_when_its_warm_slot_is_down() {
    let host = host(2);
    let mut engine = host.engine().expect("a daemon");
    let warm = engine.order_rollback(&rollback(), &places()).expect("a way back");
    assert_eq!(warm.proposal.plan.purpose, Purpose::Flip);
    take_down(&host, engine.state.idle());
    let ordered = engine.order_rollback(&rollback(), &places()).expect("a way back");
    assert_eq!(ordered.proposal.plan.purpose, Purpose::Return);
    assert_eq!(ordered.proposal.plan.binding.release, release(1));
    engine.begin(ordered, "p", None, "r").expect("a journal");
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::Live));
    assert_eq!(engine.state.active_binding().map(|b| b.release.clone()), Some(release(1)));
}

#[test]
fn an_entrance_that_somebody_took_stops_no_rollback() {
    let host = host(2);
    host.lock().entrances_taken = vec![([127, 0, 0, 1], 8080).into()];
    let mut engine = host.engine().expect("a daemon");
    let ordered = engine.order_rollback(&rollback(), &places()).expect("a way back");
    assert_eq!(ordered.proposal.plan.purpose, Purpose::Flip);
    let binding = ordered.proposal.plan.binding;
    let facts = engine.facts(Path::new("/srv/shop"), &config(), &binding, 1, Purpose::Deploy);
    assert_eq!(facts.ports_taken.len(), 1);
}

#[test]
fn a_sealed_release_is_not_prepared_again() {
    let host = host(1);
    host.lock().releases.insert(release(2), (true, true));
    let mut engine = deploying(&host, Behaviour::Good, config());
    finish(&mut engine, None).expect("a journal");
    assert_eq!(outcome(&engine), Some(Outcome::Live));
    assert_eq!(host.lock().broken, Vec::<String>::new());
}
