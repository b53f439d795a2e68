//! `status --json`: what was recorded beside what the world says now.

use super::host::Host;
use crate::api::Failed;
use crate::engine::actor::Handle;
use crate::engine::ports::{Effective, Phase, SlotState, Traffic, World};
use alcedo_core::binding::Binding;
use alcedo_core::config::Bake;
use alcedo_core::deploy::{Deploy, Stage};
use alcedo_core::judge::{Bench, Observation};
use alcedo_core::state::{AppState, Desired, DueAction, WayBack};
use alcedo_core::step::Step;
use alcedo_core::{AppName, Slot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A flip, as measured in `bench switch`; a start is expected to take what the last one took.
const FLIP_EXPECTED_MS: u64 = 100;

/// The status of one app, or of all.
pub(super) fn status(host: &Host, only: Option<&AppName>) -> Result<Value, Failed> {
    let world = &host.world()?;
    let apps = host.apps().into_iter().filter(|(name, _)| only.is_none_or(|only| only == name));
    let apps: Vec<Value> = apps
        .map(|(name, handle)| match handle {
            Ok(handle) => app(&name, &handle, world),
            Err(failed) => json!({ "app": name, "environment": "production", "healthy": false, "why": failed.message, "active": "unknown", "slots": {}, "next": [] }),
        })
        .collect();
    if let (Some(only), true) = (only, apps.is_empty()) {
        return Err(crate::engine::actor::unknown(only));
    }
    let uname = rustix::system::uname();
    Ok(json!({
        "format": 1,
        "at": world.clock.wall(),
        "host": uname.nodename().to_string_lossy(),
        "alcedo": env!("CARGO_PKG_VERSION"),
        "apps": apps,
    }))
}

/// What the world says of an app.
struct World1 {
    router: Result<Option<Effective>, String>,
    slots: BTreeMap<Slot, SlotState>,
    traffic: Vec<Traffic>,
    url: Option<String>,
}

fn app(name: &AppName, handle: &Handle, world: &World) -> Value {
    let state = handle.feed.state();
    let seen = look(name, &state, world);
    let why = why_not_healthy(&state, &seen, handle.feed.current_trouble());
    let config = state.config.as_deref();
    let active = match &seen.router {
        Err(_) => json!("unknown"),
        Ok(effective) => {
            let target = effective.as_ref().and_then(|e| e.target.as_deref());
            json!(target.and_then(alcedo_core::BindingId::parse).map(|id| id.slot()))
        }
    };
    let stable = state.stables.last().and_then(|id| {
        state.history.iter().rev().find(|p| alcedo_core::BindingId::new(p.deploy, p.to) == *id)
    });
    json!({
        "app": config.map_or_else(|| name.to_string(), |c| c.app.to_string()),
        "environment": config.map_or("production", |c| c.environment.as_str()),
        "url": seen.url,
        "healthy": why.is_none(),
        "why": why,
        "active": active,
        "stable_release": stable.map(|p| &p.release),
        "router": router(&state, &seen),
        "slots": Slot::BOTH.into_iter().map(|slot| (slot.to_string(), slot_json(slot, &state, &seen))).collect::<BTreeMap<_, _>>(),
        "deploy": state.current.as_ref().map(|deploy| deploy_json(deploy, &handle.feed.bench(&deploy.bench), &state, world)),
        "rollback": rollback(&state, world),
        "rollback_refused": just_went_back(&state).then_some("the last thing that happened was a rollback; name the release: alcedo rollback RELEASE (alcedo releases lists them)"),
        "previous_release": state.way_back().map(|way| match way {
            WayBack::Flip(binding) => binding.release,
            WayBack::Return(release) => release,
        }),
        "next": next(&state, world),
        "lock": lock(&state),
        "stuck": state.stuck.as_ref().map(|s| json!({ "deploy": s.deploy, "what": s.failure.what, "hint": s.failure.hint })),
    })
}

fn look(name: &AppName, state: &AppState, world: &World) -> World1 {
    let router = world.router.observe(name).map_err(|e| alcedo_core::event::Failure::from(e).what);
    let slots = Slot::BOTH
        .into_iter()
        .map(|slot| (slot, world.runner.observe(name, slot).unwrap_or_default()))
        .collect();
    let traffic = world.router.traffic(name).unwrap_or_default();
    let url =
        state.config.as_deref().and_then(|c| world.router.entrance(name, c).ok()).map(|e| e.url);
    World1 { router, slots, traffic, url }
}

fn drift(state: &AppState, seen: &World1) -> Option<String> {
    let recorded = state.active_binding().map(|b| b.id.as_str());
    // While a switch is under way, both answers are right.
    if state.current.as_ref().is_some_and(|d| d.step() == Some(Step::Switch) || d.is_unwinding()) {
        return None;
    }
    let Ok(effective) = &seen.router else { return None };
    let target = effective.as_ref().and_then(|e| e.target.as_deref());
    if target == recorded {
        return None;
    }
    let words = |id: Option<&str>| match id.and_then(alcedo_core::BindingId::parse) {
        Some(id) => format!("{} ({id})", id.slot()),
        None => id.unwrap_or("nothing").to_owned(),
    };
    Some(format!("the router points at {}, the journal says {}", words(target), words(recorded)))
}

fn why_not_healthy(state: &AppState, seen: &World1, trouble: Option<String>) -> Option<String> {
    if let Some(stuck) = &state.stuck {
        return Some(format!("stuck since {}: {}", stuck.deploy, stuck.failure.what));
    }
    if let Err(error) = &seen.router {
        return Some(format!("the router cannot be asked: {error}"));
    }
    if let Some(drift) = drift(state, seen) {
        return Some(drift);
    }
    if let Some(trouble) = trouble {
        return Some(trouble);
    }
    if state.current.as_ref().is_some_and(|d| d.stage == Stage::Held) {
        return Some("the bake ended without a verdict that may act; it waits for you: alcedo promote, or alcedo abort".to_owned());
    }
    let active = state.active?;
    let slot = seen.slots.get(&active)?;
    let down = slot.processes.iter().find(|p| p.phase != Phase::Running);
    match (slot.binding.is_some(), down) {
        (false, _) => Some(format!("{active} has the traffic and does not run")),
        (true, Some(process)) => {
            let exit = process.last_exit.as_deref().unwrap_or("it ended");
            Some(format!("{} of {active} does not run: {exit}", process.name))
        }
        (true, None) => None,
    }
}

fn router(state: &AppState, seen: &World1) -> Value {
    let target = seen.router.as_ref().ok().and_then(|e| e.as_ref()).and_then(|e| e.target.clone());
    let slot = target.as_deref().and_then(alcedo_core::BindingId::parse).map(|id| id.slot());
    let drift = drift(state, seen);
    let kind = match state.config.as_ref().map(|c| &c.router.kind) {
        Some(alcedo_core::config::RouterKind::Nginx { .. }) => "nginx",
        Some(alcedo_core::config::RouterKind::Embedded) | None => "embedded",
    };
    json!({ "kind": kind, "target": slot, "drift": drift.is_some(), "drift_detail": drift })
}

fn slot_json(slot: Slot, state: &AppState, seen: &World1) -> Value {
    let record = state.slots.get(&slot);
    let now = seen.slots.get(&slot).cloned().unwrap_or_default();
    let is_active = state.active == Some(slot);
    let traffic =
        record.and_then(|r| seen.traffic.iter().find(|t| t.target == r.binding.id.as_str()));
    let processes: Vec<Value> = record.map(|r| processes(&r.binding, &now)).unwrap_or_default();
    json!({
        "role": if is_active { "active" } else { "idle" },
        "state": word(slot, state, &now, traffic),
        "release": record.map(|r| &r.binding.release),
        "since": record.map(|r| r.traffic_since.as_ref().unwrap_or(&r.since)),
        "started_at": record.map(|r| &r.since),
        "memory_bytes": now.processes.iter().map(|p| p.memory_bytes).sum::<u64>(),
        "requests": traffic.map_or(0, |t| t.requests),
        "errors": traffic.map_or(0, |t| t.errors),
        "in_flight": traffic.map_or(0, |t| t.in_flight),
        "tunnels": traffic.map_or(0, |t| t.tunnels),
        "p50_ms": traffic.map(|t| ms(t.p50_us)),
        "p95_ms": traffic.map(|t| ms(t.p95_us)),
        "processes": processes,
    })
}

fn ms(us: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "latencies are shown with three digits")]
    let value = us as f64 / 1000.0;
    value
}

fn word(slot: Slot, state: &AppState, now: &SlotState, traffic: Option<&Traffic>) -> &'static str {
    let Some(record) = state.slots.get(&slot) else { return "empty" };
    let deploying =
        state.current.as_ref().is_some_and(|d| d.plan.to() == slot && !d.has_switched());
    let gave_up = now.processes.iter().any(|p| p.phase == Phase::GaveUp);
    match record.desired {
        _ if gave_up => "failed",
        Desired::Down if now.is_up() => "draining",
        Desired::Down => "stopped",
        Desired::Up if !now.is_up() => "stopped",
        Desired::Up if state.active == Some(slot) => "ready",
        Desired::Up if deploying && !record.proven => {
            if state.current.as_ref().is_some_and(|d| matches!(d.stage, Stage::AtGate(_))) {
                "ready"
            } else {
                "starting"
            }
        }
        Desired::Up if traffic.is_some_and(|t| t.in_flight > 0 || t.tunnels > 0) => "draining",
        Desired::Up => "warm",
    }
}

fn processes(binding: &Binding, now: &SlotState) -> Vec<Value> {
    let one = |process: &alcedo_core::binding::Process| {
        let seen = now.processes.iter().find(|p| p.name == process.name);
        json!({
            "name": process.name,
            "kind": "web",
            "address": process.address.to_string(),
            "pid": seen.and_then(|p| p.pid),
            "memory_bytes": seen.map_or(0, |p| p.memory_bytes),
            "restarts": seen.map_or(0, |p| p.restarts),
            "last_exit": seen.and_then(|p| p.last_exit.clone()),
        })
    };
    binding.processes.iter().map(one).collect()
}

/// `bench` is what the bake saw up to now.
fn deploy_json(deploy: &Deploy, bench: &Bench, state: &AppState, world: &World) -> Value {
    let judging = deploy.plan.is_judged() && deploy.has_switched() && !deploy.is_unwinding();
    let (seen, length_ms) = (&bench.seen, bench.length_ms(&deploy.plan.config.bake));
    let left = length_ms.saturating_sub(seen.observed_ms);
    let phase = match deploy.step() {
        Some(step) => step.word(),
        None if deploy.is_unwinding() => "undo",
        None => "end",
    };
    json!({
        "id": deploy.plan.deploy,
        "phase": phase,
        "verdict": deploy.verdict.as_ref().map_or(json!("pending"), |v| json!(v.finding)),
        "release": deploy.plan.binding.release,
        "to": deploy.plan.to(),
        "gate": matches!(deploy.stage, Stage::AtGate(_)).then_some("promote"),
        "held": deploy.stage == Stage::Held,
        "by": state.history.last().map(|p| &p.by),
        "ends_within_ms": ends_within(deploy).map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        "bake": judging.then(|| json!({
            "until": later(world, left),
            "observed_ms": seen.observed_ms,
            "length_ms": length_ms,
            "requests": seen.requests,
            "errors": seen.errors,
            "probes_good": seen.probes_good,
            "probes_failed": seen.probes_failed,
            "baseline_error_rate": Value::Null,
            "evidence": evidence(&deploy.plan.config.bake, seen),
            "error_rate_below": bench.unseen_error_rate().filter(|_| seen.errors == 0),
        })),
    })
}

/// It is live and nothing is left to decide: how long the old slot may take to drain and to stop.
fn ends_within(deploy: &Deploy) -> Option<Duration> {
    let plan = &deploy.plan;
    let stop = plan.from.iter().flat_map(|from| &from.processes).map(|p| p.stop.timeout).max();
    deploy.only_ends().then(|| plan.config.drain.requests + stop.unwrap_or_default())
}

/// How near the fixed limits are: at 1 the release is given back. Latency is not judged in this version.
fn evidence(bake: &Bake, seen: &Observation) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let by_rate = bake
        .max_error_rate
        .filter(|r| *r > 0.0 && seen.requests > 0)
        .map(|r| seen.errors as f64 / seen.requests as f64 / r);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let by_count = bake.max_failed_requests.map(|max| seen.errors as f64 / (max as f64 + 1.0));
    let errors = by_rate.into_iter().chain(by_count).fold(0.0_f64, f64::max).min(1.0);
    json!({ "errors": errors, "slow50": Value::Null, "slow95": Value::Null })
}

fn rollback(state: &AppState, world: &World) -> Value {
    // A command that would be refused is not advertised.
    let Some(way) = state.way_back().filter(|_| !just_went_back(state)) else {
        return Value::Null;
    };
    let stops = state
        .due
        .iter()
        .find(|d| matches!(d.action, DueAction::Retire(slot) if slot == state.idle()));
    match way {
        WayBack::Flip(binding) => {
            let left = stops.and_then(|d| d.at_ms).map(|at| at.saturating_sub(world.clock.now().0));
            json!({
                "release": binding.release,
                "kind": "flip",
                "available_for_s": left.map(|ms| ms / 1000),
                "available_until": left.map(|ms| later(world, ms)),
                "expected_ms": FLIP_EXPECTED_MS,
            })
        }
        WayBack::Return(release) => {
            json!({ "release": release, "kind": "deploy", "available_for_s": Value::Null, "available_until": Value::Null, "expected_ms": expected_start_ms(state) })
        }
    }
}

/// `rollback` without a release goes nowhere then.
fn just_went_back(state: &AppState) -> bool {
    state.current.is_none() && state.just_went_back()
}

/// What the last deploy forward took from its plan to the verified switch; without one, unknown. Judging is no part
/// of it, and neither is a flip, which starts nothing.
pub(super) fn expected_start_ms(state: &AppState) -> Option<u64> {
    let forward = state.history.iter().rev().filter(|past| !past.purpose.goes_back());
    forward.filter_map(|past| past.verified_ms).next()
}

fn next(state: &AppState, world: &World) -> Vec<Value> {
    let mut next = Vec::new();
    if let Some(deploy) = state.current.as_ref().filter(|d| {
        d.plan.is_judged() && d.has_switched() && !d.is_unwinding() && d.stage != Stage::Held
    }) {
        let left = deploy
            .bench
            .length_ms(&deploy.plan.config.bake)
            .saturating_sub(deploy.bench.seen.observed_ms);
        next.push(json!({ "action": "verdict", "at": later(world, left) }));
    }
    for due in &state.due {
        let Some(at) = due.at_ms else { continue };
        let slot = match due.action {
            DueAction::Retire(slot) => slot,
            DueAction::Prune => continue,
        };
        next.push(
            json!({ "action": "retire", "slot": slot, "at": later(world, at.saturating_sub(world.clock.now().0)) }),
        );
    }
    next
}

fn lock(state: &AppState) -> Value {
    let Some(deploy) = &state.current else { return Value::Null };
    let past = state.history.last();
    let reason = format!("{} of {}", deploy.plan.deploy, deploy.plan.binding.release);
    json!({ "by": past.map(|p| &p.by), "reason": reason, "since": past.map(|p| &p.started_at), "until": Value::Null })
}

/// The wall clock so many milliseconds from now.
fn later(world: &World, ms: u64) -> String {
    world.clock.wall_in(Duration::from_millis(ms))
}
