//! `plan`, `history`, `releases` and `prune` as JSON.

use super::host::Host;
use super::status::expected_start_ms;
use crate::api::Failed;
use crate::engine::guard::Pruned;
use crate::engine::order::Ordered;
use crate::engine::words;
use alcedo_core::AppName;
use alcedo_core::config::{HealthCheck, NginxForm, RouterKind};
use alcedo_core::event::Outcome;
use alcedo_core::plan::Plan;
use alcedo_core::state::{AppState, WayBack};
use alcedo_core::step::Step;
use serde_json::{Value, json};

/// `plan --json`.
pub(super) fn plan(ordered: &Ordered, state: &AppState) -> Value {
    let (proposal, plan) = (&ordered.proposal, &ordered.proposal.plan);
    let before = state
        .active_binding()
        .and_then(|b| state.releases.get(&b.release))
        .map(|r| r.config.clone());
    let changes =
        before.map(|old| alcedo_core::config::diff(&old, &plan.config)).unwrap_or_default();
    let steps: Vec<Value> = plan.steps.iter().map(|step| json!({ "step": step.word(), "text": text(*step, plan), "expected_ms": Value::Null })).collect();
    json!({
        "plan": plan.short_id(),
        "app": plan.config.app,
        "environment": plan.environment,
        "from": plan.from_slot(),
        "from_release": plan.from.as_ref().map(|b| &b.release),
        "to": plan.to(),
        "release": plan.binding.release,
        "basis": plan.basis,
        "steps": steps,
        "budget": {
            "memory": proposal.memory,
            "disk": proposal.disk,
            "ports": plan.binding.processes.iter().map(|p| (p.name.to_string(), p.address.to_string())).collect::<std::collections::BTreeMap<_, _>>(),
        },
        "changes": changes,
        "not_zero_downtime": proposal.caveats,
    })
}

fn text(step: Step, plan: &Plan) -> String {
    let (to, config) = (plan.to(), &plan.config);
    match step {
        Step::Fetch => format!("{} into {}", plan.binding.release, plan.binding.instance.display()),
        Step::Prepare => {
            config.release.prepare.clone().unwrap_or_else(|| "seal the release".to_owned())
        }
        Step::Clear => format!("{to} stops; the way back to what it runs is a start from then on"),
        Step::Start => {
            let on: Vec<_> = plan.binding.processes.iter().map(|p| p.address.to_string()).collect();
            format!("{to} on {}", on.join(", "))
        }
        Step::Probe => {
            let one = |p: &alcedo_core::binding::Process| match &p.health.check {
                HealthCheck::Http(path) => format!(
                    "GET {path} {} within {}",
                    words::times(p.health.healthy_after),
                    words::span(p.health.deadline)
                ),
                check @ (HealthCheck::Tcp | HealthCheck::Command(_) | HealthCheck::None) => {
                    words::check(check)
                }
            };
            format!(
                "{}, from this release",
                plan.binding.processes.iter().map(one).collect::<Vec<_>>().join("; ")
            )
        }
        Step::Smoke => words::count(plan.binding.smoke.len() as u64, "check"),
        Step::Warm => plan
            .binding
            .warmup
            .as_ref()
            .map_or_else(String::new, |w| words::count(u64::from(w.requests), "request")),
        Step::Gate => "waits for alcedo promote".to_owned(),
        Step::Switch => match config.router.kind {
            RouterKind::Embedded => {
                "embedded router, per request: no request and no connection is cut".to_owned()
            }
            RouterKind::Nginx { form: NginxForm::Flag, .. } => {
                "nginx, by a flag, per request: no reload, no connection is cut".to_owned()
            }
            RouterKind::Nginx { form: NginxForm::Include | NginxForm::Symlink, .. } => {
                "nginx, by a reload: idle connections are closed, which costs about rate × round trip requests".to_owned()
            }
        },
        Step::Verify => "the public address answers this release".to_owned(),
        Step::Drain => format!(
            "requests within {}, WebSockets within {}",
            words::span(config.drain.requests),
            words::span(config.drain.websockets)
        ),
        Step::Bake => format!("{}; {}", words::span(config.bake.time), limits(plan)),
        Step::Retire => "the slot that was left stops".to_owned(),
    }
}

fn limits(plan: &Plan) -> String {
    let bake = &plan.config.bake;
    let rate =
        bake.max_error_rate.map(|r| format!("errors over {}", alcedo_core::judge::percent(r)));
    let count = bake.max_failed_requests.map(|n| format!("more than {n} failed requests"));
    let found: Vec<_> = rate
        .into_iter()
        .chain(count)
        .chain(["probes fail".to_owned(), "it crashes".to_owned()])
        .collect();
    let what = if bake.auto_rollback { "given back when" } else { "reported when" };
    format!("{what}: {}", found.join(", "))
}

/// `history --json`, newest first.
pub(super) fn history(state: &AppState, app: &str) -> Value {
    let environment = state.config.as_ref().map_or("production", |c| c.environment.as_str());
    let running = state.current.as_ref().map(|d| d.plan.deploy);
    let deploys: Vec<Value> = state
        .history
        .iter()
        .rev()
        .map(|p| {
            json!({
                "id": p.deploy, "app": app, "environment": environment, "release": p.release,
                "from": p.from, "to": p.to,
                "outcome": if running == Some(p.deploy) { json!("under-way") } else { json!(outcome(p.outcome)) },
                "purpose": p.purpose,
                "by": p.by, "note": p.note, "started_at": p.started_at, "duration_ms": p.duration_ms,
                "switch_ms": p.switch_us.map(us_to_ms),
                "verdict": p.verdict.as_ref().map(|v| v.finding),
                "verdict_text": p.verdict.as_ref().map(|v| &v.text),
                "failed_at": p.failed_at.filter(|_| !was_given_up(p)).map(Step::word),
                "cause": p.cause.as_ref().map(|c| &c.what),
            })
        })
        .collect();
    json!({ "deploys": deploys })
}

/// A step that was cut short on request did not fail.
fn was_given_up(past: &alcedo_core::state::Past) -> bool {
    past.cause.as_ref().is_some_and(|cause| cause.what == "given up on request")
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Live => "live",
        Outcome::RolledBack => "rolled-back",
        Outcome::Unchanged => "unchanged",
        Outcome::Stuck => "stuck",
    }
}

fn us_to_ms(us: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let ms = us as f64 / 1000.0;
    ms
}

/// `releases --json`, newest first.
pub(super) fn releases(host: &Host, app: &AppName) -> Result<Value, Failed> {
    let state = host.app(app, false)?.feed.state();
    let Some(config) = state.config.as_ref() else { return Ok(json!({ "releases": [] })) };
    let root = host.places().root(app, config);
    let stored = host.world()?.releases.list(&root).map_err(Failed::effect)?;
    let active = state.active_binding().map(|b| b.release.clone());
    let warm = state.way_back().and_then(|way| match way {
        WayBack::Flip(binding) => Some(binding.release),
        WayBack::Return(_) => None,
    });
    let releases: Vec<Value> = stored
        .into_iter()
        .map(|s| {
            let (is_active, is_warm) = (active.as_ref() == Some(&s.release), warm.as_ref() == Some(&s.release));
            let rollback = match (is_active, is_warm) {
                (true, _) => json!({ "kind": Value::Null, "expected_ms": Value::Null, "refused": "live" }),
                (false, true) => json!({ "kind": "flip", "expected_ms": 100, "refused": Value::Null }),
                (false, false) => json!({ "kind": "deploy", "expected_ms": expected_start_ms(&state), "refused": Value::Null }),
            };
            json!({
                "release": s.release, "commit": s.commit, "created_at": s.created_at, "size_bytes": s.size_bytes,
                "state": if is_active { "active" } else if is_warm { "warm" } else { "kept" },
                "bad": state.is_bad(&s.release), "pinned": state.pinned.contains(&s.release), "rollback": rollback,
            })
        })
        .collect();
    Ok(json!({ "releases": releases }))
}

/// `prune --json`.
pub(super) fn pruned(pruned: &Pruned) -> Value {
    let removed: Vec<Value> = pruned
        .removed
        .iter()
        .map(|(release, size)| json!({ "release": release, "size_bytes": size }))
        .collect();
    let kept: Vec<Value> = pruned
        .kept
        .iter()
        .map(|(release, reason)| json!({ "release": release, "reason": reason.to_string() }))
        .collect();
    json!({ "removed": removed, "kept": kept })
}
