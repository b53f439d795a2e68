//! The laws of the deploy machine (docs/design/deploy-machine.md), each over arbitrary lives of a deploy: random results
//! of steps, messages at any moment, crashes between any two records.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use alcedo_core::binding::{Binding, BindingId};
use alcedo_core::config::{Config, Input, load};
use alcedo_core::deploy::{Deploy, Next, Stage, Work};
use alcedo_core::event::{Event, Failure, Outcome, Record};
use alcedo_core::judge::{Finding, Observation, Verdict};
use alcedo_core::names::DeployId;
use alcedo_core::plan::{Parts, Plan, Purpose, steps};
use alcedo_core::state::AppState;
use alcedo_core::step::{Step, Undo};
use alcedo_core::{AppName, ReleaseId, Slot};
use proptest::prelude::*;

/// What a step of a random life decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Good,
    Bad,
    Abort,
    Promote,
    Crash,
    JudgePass,
    JudgeFail,
    JudgeInconclusive,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => Just(Turn::Good),
        1 => Just(Turn::Bad),
        1 => Just(Turn::Abort),
        1 => Just(Turn::Promote),
        1 => Just(Turn::Crash),
        1 => Just(Turn::JudgePass),
        1 => Just(Turn::JudgeFail),
        1 => Just(Turn::JudgeInconclusive),
    ]
}

fn config() -> Config {
    let text = "app = \"shop\"\nweb.command = \"app --port {port}\"\nhealth.path = \"/healthz\"\n";
    load(Input { text, file: "alcedo.toml", environment: None }).expect("a good file").config
}

fn binding(deploy: u64, slot: Slot) -> Binding {
    Binding {
        id: BindingId::new(DeployId(deploy), slot),
        app: AppName::new("shop").unwrap(),
        environment: "production".to_owned(),
        slot,
        runner: alcedo_core::config::Runner::Process,
        release: ReleaseId::new(format!("r20261120-0000{deploy:02}-abcdef{deploy}")).unwrap(),
        instance: "/srv/shop/releases/x".into(),
        processes: Vec::new(),
        smoke: Vec::new(),
        warmup: None,
    }
}

fn plan(purpose: Purpose, parts: Parts) -> Plan {
    Plan {
        deploy: DeployId(2),
        app: AppName::new("shop").unwrap(),
        environment: "production".to_owned(),
        purpose,
        from: (!parts.first).then(|| binding(1, Slot::Blue)),
        binding: binding(2, Slot::Green),
        occupant: None,
        config: config(),
        generation: 7,
        basis: "0123456789abcdef".to_owned(),
        steps: steps(purpose, parts),
        content: String::new(),
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let purpose = prop_oneof![4 => Just(Purpose::Deploy), 1 => Just(Purpose::Flip), 1 => Just(Purpose::Return)];
    (purpose, any::<[bool; 5]>(), any::<bool>()).prop_map(|(purpose, b, first)| {
        let first = first && purpose == Purpose::Deploy;
        plan(
            purpose,
            Parts { fetch: b[0], occupied: b[1], smoke: b[2], warm: b[3], stage: b[4], first },
        )
    })
}

fn verdict(finding: Finding) -> Event {
    let verdict = Verdict {
        finding,
        text: "t".to_owned(),
        not_seen: None,
        observed_ms: 1,
        requests: 1,
        errors: 0,
    };
    Event::Judged { verdict }
}

fn done(step: Step) -> Event {
    let generation = (step == Step::Switch).then_some(8);
    Event::StepDone {
        step,
        text: String::new(),
        took_us: 1,
        skipped: false,
        generation,
        restarts: 0,
        own: alcedo_core::judge::Counts::default(),
    }
}

fn failed(step: Step) -> Event {
    Event::StepFailed { step, failure: Failure::new("no"), took_us: 1 }
}

/// The events that this turn adds, given what the machine wants. Everything here is legal by construction.
fn answer(deploy: &Deploy, turn: Turn) -> Vec<Event> {
    let abort = || vec![Event::AbortAsked { by: "p".to_owned(), reason: "r".to_owned() }];
    match (deploy.next(), turn) {
        (Next::Ended(_), _) => Vec::new(),
        (_, Turn::Crash) => vec![Event::Recovered],
        (Next::Perform(Work::Do(_)), Turn::Abort) if deploy.can_give_up() => abort(),
        (Next::Perform(Work::Do(step)), _) => vec![Event::StepStarted { step, deadline_ms: 0 }],
        (Next::Perform(Work::Inspect(_)), Turn::Abort) if deploy.can_give_up() => abort(),
        (Next::Perform(Work::Inspect(step)), Turn::Bad) => vec![failed(step)],
        (Next::Perform(Work::Inspect(step)), _) => vec![done(step)],
        (Next::Perform(Work::Undo(undo)), turn) => {
            if matches!(deploy.stage, Stage::Unwinding(_)) {
                return vec![Event::UndoStarted { undo }];
            }
            let generation = (undo == Undo::SwitchBack).then_some(9);
            if turn == Turn::Bad {
                return vec![Event::UndoFailed { undo, failure: Failure::new("no") }];
            }
            vec![Event::UndoDone { undo, text: String::new(), took_us: 1, generation }]
        }
        (Next::Observe, Turn::Abort | Turn::Bad) => abort(),
        (Next::Observe, Turn::Promote) => vec![Event::PromoteAsked { by: "p".to_owned() }],
        (Next::Observe, Turn::JudgePass) => vec![verdict(Finding::Pass)],
        (Next::Observe, Turn::JudgeFail) => vec![verdict(Finding::Fail)],
        (Next::Observe, Turn::JudgeInconclusive) => vec![verdict(Finding::Inconclusive)],
        (Next::Observe, Turn::Good) => vec![Event::Observed {
            observation: Observation { observed_ms: 1, ..Observation::default() },
        }],
        (Next::Wait, Turn::Abort | Turn::Bad) => abort(),
        (Next::Wait, _) => vec![Event::PromoteAsked { by: "p".to_owned() }],
        (Next::Conclude(outcome), _) => vec![Event::Ended { outcome, reason: None }],
    }
}

/// A whole random life: the events after `Planned`, and the machine at their end.
fn live(plan: &Plan, turns: &[Turn]) -> (Vec<Event>, Deploy) {
    let mut deploy = Deploy::new(plan.clone());
    let mut events = Vec::new();
    let calm = std::iter::repeat_n(&Turn::JudgePass, 200);
    for turn in turns.iter().chain(calm) {
        for event in answer(&deploy, *turn) {
            deploy.record(&event).expect("legal by construction");
            events.push(event);
        }
    }
    (events, deploy)
}

fn planned(plan: &Plan) -> Event {
    Event::Planned { plan: Box::new(plan.clone()), by: "p".to_owned(), note: None, operation: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Law 1: any legal prefix can be recovered, by the same code, to the same place; and from there it comes to an end.
    #[test]
    fn any_prefix_of_a_journal_can_be_recovered(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        for cut in 0..=events.len() {
            let prefix = std::iter::once(planned(&plan)).chain(events[..cut].iter().cloned());
            let recovered = Deploy::recover(prefix).expect("a legal prefix");
            let mut replayed = Deploy::new(plan.clone());
            for event in &events[..cut] {
                replayed.record(event).unwrap();
            }
            prop_assert_eq!(recovered, replayed);
        }
    }

    /// Every life ends, with an outcome that fits what it did.
    #[test]
    fn every_life_ends(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, deploy) = live(&plan, &turns);
        let outcome = deploy.outcome().expect("it ended");
        let switched = events.iter().any(|e| matches!(e, Event::StepDone { step: Step::Switch, .. }));
        let back = events.iter().any(|e| matches!(e, Event::UndoDone { undo: Undo::SwitchBack, .. }));
        match outcome {
            Outcome::Live => prop_assert!(switched && !back),
            Outcome::RolledBack => prop_assert!(switched && back),
            Outcome::Unchanged => prop_assert!(!switched),
            Outcome::Stuck => {
                let failed = events.iter().any(|e| matches!(e, Event::UndoFailed { .. }));
                prop_assert!(failed);
            }
        }
    }

    /// Law 1: before the switch recovery undoes, and never begins a step forward; law 2: the active slot is not touched.
    #[test]
    fn before_the_switch_recovery_only_undoes(plan in plans(), turns in prop::collection::vec(turn(), 0..40)) {
        let (events, _) = live(&plan, &turns);
        let switch_begun = events.iter().position(|e| matches!(e, Event::StepStarted { step: Step::Switch, .. })).unwrap_or(events.len());
        let gate = events.iter().position(|e| matches!(e, Event::StepDone { step: Step::Gate, .. })).unwrap_or(events.len());
        let crash = events.iter().position(|e| matches!(e, Event::Recovered));
        if let Some(crash) = crash.filter(|c| *c < switch_begun && *c < gate) {
            let forward = events[crash..].iter().any(|e| matches!(e, Event::StepStarted { .. }));
            prop_assert!(!forward, "{:?}", &events[crash..]);
        }
    }

    /// Law 2: a failure before the switch never touches the router; after a failed bake the first undo is the switch back.
    #[test]
    fn the_way_back_begins_with_the_switch(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        let switched = events.iter().position(|e| matches!(e, Event::StepDone { step: Step::Switch, .. }));
        let undo_of = |e: &Event| if let Event::UndoStarted { undo } = e { Some(*undo) } else { None };
        let undos: Vec<_> = events.iter().enumerate().filter_map(|(n, e)| Some((n, undo_of(e)?))).collect();
        if let Some((n, first)) = undos.first() {
            match switched.filter(|at| at < n) {
                Some(_) => prop_assert_eq!(*first, Undo::SwitchBack),
                None => prop_assert!(undos.iter().all(|(_, u)| !matches!(u, Undo::SwitchBack | Undo::VerifyBack | Undo::DrainNew))),
            }
        }
    }

    /// Law 3: a step in doubt is asked about before anything is done again.
    #[test]
    fn a_switch_in_doubt_is_never_done_twice(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        let begun = events.iter().filter(|e| matches!(e, Event::StepStarted { step: Step::Switch, .. })).count();
        prop_assert!(begun <= 1, "the switch was begun {begun} times");
    }

    /// Law 5: after a failed undo nothing happens by itself but the end.
    #[test]
    fn nothing_happens_after_stuck(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, deploy) = live(&plan, &turns);
        let grave = |e: &Event| matches!(e, Event::UndoFailed { undo: Undo::SwitchBack | Undo::VerifyBack | Undo::StopNew, .. });
        if let Some(at) = events.iter().position(grave) {
            let rest: Vec<_> = events[at + 1..].iter().filter(|e| !matches!(e, Event::Recovered)).collect();
            prop_assert!(matches!(rest.as_slice(), [] | [Event::Ended { outcome: Outcome::Stuck, .. }]), "{rest:?}");
            prop_assert_eq!(deploy.outcome(), Some(Outcome::Stuck));
        }
    }

    /// Law 7: at most one way back, and never forward again after it.
    #[test]
    fn never_forward_after_a_way_back(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        let back = events.iter().position(|e| matches!(e, Event::UndoStarted { .. }));
        if let Some(back) = back {
            let forward = events[back..].iter().any(|e| matches!(e, Event::StepStarted { .. }));
            prop_assert!(!forward);
        }
        let backs = events.iter().filter(|e| matches!(e, Event::UndoDone { undo: Undo::SwitchBack, .. })).count();
        prop_assert!(backs <= 1);
    }

    /// Whoever asks beforehand is never surprised: giving up is legal exactly when the machine says so, and after the
    /// switch a judged deploy can be given up until its last word, also by the next daemon.
    #[test]
    fn what_can_be_given_up_is_said_beforehand(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        let abort = Event::AbortAsked { by: "p".to_owned(), reason: "r".to_owned() };
        let mut deploy = Deploy::new(plan);
        for event in &events {
            deploy.record(event).unwrap();
            prop_assert_eq!(deploy.clone().record(&abort).is_ok(), deploy.can_give_up(), "{:?}", deploy.stage);
            let goes_on = matches!(deploy.stage, Stage::Ready(_) | Stage::Running(_) | Stage::Doubt(_) | Stage::Held);
            if goes_on && deploy.has_switched() && deploy.plan.is_judged() {
                prop_assert!(deploy.can_give_up(), "{:?}", deploy.stage);
            }
        }
    }

    /// The fold of an app: today's configuration is the one whose switch took effect and was not taken back, and the
    /// slot that is live knows what the router is configured with for it.
    #[test]
    fn a_failed_deploy_leaves_the_configuration_as_it_was(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let first = steps(Purpose::Deploy, Parts { first: true, ..Parts::default() });
        let base = Plan { deploy: DeployId(1), from: None, binding: binding(1, Slot::Blue), steps: first, ..plan.clone() };
        let mut config = config();
        config.environment = "of the second".to_owned();
        let plan = Plan { deploy: DeployId(2), from: Some(binding(1, Slot::Blue)), config, ..plan };
        let mut all = Vec::new();
        for (id, plan, turns) in [(1, &base, &[][..]), (2, &plan, &turns[..])] {
            all.push((id, planned(plan)));
            all.extend(live(plan, turns).0.into_iter().map(|event| (id, event)));
        }
        let mut state = AppState::default();
        for (n, (id, event)) in all.into_iter().enumerate() {
            state.apply(&Record { seq: n as u64 + 1, at: String::new(), at_ms: 0, deploy: Some(DeployId(id)), event }).unwrap();
        }
        let live = state.slots.get(&state.active.unwrap());
        let today = state.config.as_ref().map(|c| c.environment.as_str());
        let second = state.active == Some(Slot::Green);
        let is_of_second = |environment: &str| environment == "of the second";
        if plan.purpose == Purpose::Deploy {
            prop_assert_eq!(today.is_some_and(is_of_second), second);
        }
        if let Some(live) = live.filter(|_| plan.steps.contains(&Step::Start)) {
            prop_assert_eq!(is_of_second(&live.config.environment), second);
        }
    }

    /// What is not legal is refused and changes nothing.
    #[test]
    fn an_illegal_event_changes_nothing(plan in plans(), turns in prop::collection::vec(turn(), 0..30), step in 0_usize..13) {
        let (events, _) = live(&plan, &turns);
        let all = [Step::Fetch, Step::Prepare, Step::Clear, Step::Start, Step::Probe, Step::Smoke, Step::Warm, Step::Gate, Step::Switch, Step::Verify, Step::Drain, Step::Bake, Step::Retire];
        let mut deploy = Deploy::new(plan);
        for event in &events {
            for foreign in [done(all[step]), failed(all[step]), Event::StepStarted { step: all[step], deadline_ms: 0 }] {
                let mut tried = deploy.clone();
                if tried.record(&foreign).is_err() {
                    prop_assert_eq!(&tried, &deploy);
                }
            }
            deploy.record(event).unwrap();
        }
    }

    /// The fold of the whole journal: survives its own text form, and refuses gaps.
    #[test]
    fn the_journal_comes_back_from_its_text(plan in plans(), turns in prop::collection::vec(turn(), 0..60)) {
        let (events, _) = live(&plan, &turns);
        let plan = Plan { deploy: DeployId(1), ..plan };
        let all = std::iter::once(planned(&plan)).chain(events);
        let records: Vec<Record> = all.enumerate().map(|(n, event)| Record {
            seq: n as u64 + 1, at: "2026-11-20T00:00:00Z".to_owned(), at_ms: n as u64, deploy: Some(DeployId(1)), event,
        }).collect();
        let read: Vec<Record> = records.iter().map(|r| serde_json::from_str(&serde_json::to_string(r).unwrap()).unwrap()).collect();
        prop_assert_eq!(&read, &records);
        let state = AppState::replay(read).unwrap();
        prop_assert_eq!(state.seq, records.len() as u64);
        if records.len() > 2 {
            let mut gap = records;
            gap.remove(1);
            prop_assert!(AppState::replay(gap).is_err());
        }
    }
}

/// Law 6: the basis changes with every input that is not a measurement.
#[test]
fn a_plan_is_stale_when_what_it_was_made_from_changes() {
    use alcedo_core::plan::Basis;
    let (config, a, b) = (config(), binding(1, Slot::Blue), binding(2, Slot::Green));
    let base = Basis {
        slots: [Some(&a.id), None],
        router: (Some("d1-blue"), 1),
        config: &config,
        content: "h",
    };
    let mut other_config = config.clone();
    other_config.env.insert("A".to_owned(), "b".to_owned());
    let others = [
        Basis { slots: [Some(&a.id), Some(&b.id)], ..base.clone() },
        Basis { router: (Some("d1-blue"), 2), ..base.clone() },
        Basis { router: (None, 1), ..base.clone() },
        Basis { config: &other_config, ..base.clone() },
        Basis { content: "i", ..base.clone() },
    ];
    assert!(others.iter().all(|o| o.hash() != base.hash()));
    assert_eq!(base.clone().hash(), base.hash());
}

/// Law 7: no measurement never means pass.
#[test]
fn a_bake_without_any_measurement_is_inconclusive() {
    use alcedo_core::judge::Bench;
    let config = config();
    let mut bench = Bench::default();
    let whole = u64::try_from(config.bake.time.as_millis()).unwrap();
    bench.add(&Observation { observed_ms: whole, ..Observation::default() });
    assert_eq!(bench.verdict(&config.bake).map(|v| v.finding), Some(Finding::Inconclusive));
    assert!(!bench.probes_are_fine(), "so it holds, whatever on_inconclusive says");
}

#[test]
fn restarts_before_the_switch_are_not_the_bakes() {
    let plan = plan(Purpose::Deploy, Parts::default());
    let mut deploy = Deploy::new(plan);
    for step in [Step::Start, Step::Probe, Step::Switch, Step::Verify, Step::Drain] {
        deploy.record(&Event::StepStarted { step, deadline_ms: 0 }).unwrap();
        let event = Event::StepDone {
            step,
            text: String::new(),
            took_us: 1,
            skipped: false,
            generation: None,
            restarts: if step == Step::Switch { 3 } else { 0 },
            own: alcedo_core::judge::Counts::default(),
        };
        deploy.record(&event).unwrap();
    }
    deploy.record(&Event::StepStarted { step: Step::Bake, deadline_ms: 0 }).unwrap();
    let seen = |restarts| Event::Observed {
        observation: Observation { restarts, probes_good: 1, ..Observation::default() },
    };
    deploy.record(&seen(4)).unwrap();
    assert_eq!(deploy.bench.verdict(&deploy.plan.config.bake), None);
    deploy.record(&seen(5)).unwrap();
    let verdict = deploy.bench.verdict(&deploy.plan.config.bake);
    assert_eq!(verdict.map(|v| v.finding), Some(Finding::Fail));
}

#[test]
fn counts_that_begin_anew_hide_no_errors() {
    use alcedo_core::judge::Bench;
    let mut bench = Bench::default();
    for (requests, errors) in [(100, 10), (150, 10), (20, 1), (20, 1), (40, 2)] {
        bench.add(&Observation { requests, errors, ..Observation::default() });
    }
    assert_eq!((bench.seen.requests, bench.seen.errors), (190, 12));
}

#[test]
fn unobserved_time_does_not_count() {
    use alcedo_core::judge::Bench;
    let config = config();
    let mut bench = Bench::default();
    bench.add(&Observation {
        observed_ms: 1_000,
        probes_good: 1,
        requests: 10,
        ..Observation::default()
    });
    assert_eq!(bench.verdict(&config.bake), None);
}

#[test]
fn three_failed_probes_in_a_row_fail_unless_the_old_slot_fails_too() {
    use alcedo_core::judge::Bench;
    let config = config();
    let sick = |control| {
        let mut bench = Bench::default();
        bench.add(&Observation { observed_ms: 3_000, probes_good: 1, ..Observation::default() });
        bench.add(&Observation {
            observed_ms: 3_000,
            probes_failed: 3,
            failed_in_a_row: 3,
            control_failed_in_a_row: control,
            ..Observation::default()
        });
        bench.verdict(&config.bake).map(|v| v.finding)
    };
    assert_eq!(sick(0), Some(Finding::Fail));
    assert_eq!(sick(3), None, "both are sick: go on watching");
}

#[test]
fn a_verdict_says_what_it_could_not_have_seen() {
    use alcedo_core::judge::Bench;
    let config = config();
    let mut bench = Bench::default();
    let whole = u64::try_from(config.bake.time.as_millis()).unwrap();
    bench.add(&Observation {
        observed_ms: whole,
        probes_good: 600,
        requests: 14,
        ..Observation::default()
    });
    let verdict = bench.verdict(&config.bake).unwrap();
    assert_eq!(
        verdict.not_seen.as_deref(),
        Some("14 requests: an error rate under 19 % would have gone unnoticed")
    );
}
