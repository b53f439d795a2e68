//! Events as JSON lines: `{"seq","at","deploy","event",…}`, for programs. Fields are added, never renamed.
//!
//! A plan is told by its parts, not whole: it holds the app's environment, which is nobody's business in a CI log.

use super::track::Track;
use alcedo_core::event::{Event, Failure, Record};
use alcedo_core::plan::Plan;
use alcedo_core::step::Step;
use serde_json::{Map, Value, json};

/// One event.
pub(crate) fn record(record: &Record) -> Value {
    let (event, fields) = event(&record.event);
    let mut line =
        head(Some(record.seq), &record.at, record.deploy.map(|id| id.to_string()), event);
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    Value::Object(line)
}

/// How far the step under way is; never part of the journal.
pub(crate) fn progress(track: &Track, at: &str, text: &str) -> Value {
    let deploy = track.plan.as_ref().map(|plan| plan.deploy.to_string());
    let mut line = head(Some(track.seq), at, deploy, "progress");
    line.insert("step".to_owned(), json!(track.going.map(|going| going.phase)));
    line.insert("text".to_owned(), json!(text));
    Value::Object(line)
}

/// Something that only this client did or saw: the build, a lost connection.
pub(crate) fn client(
    at: &str,
    event: &'static str,
    step: &str,
    text: &str,
    took_us: Option<u64>,
) -> Value {
    let mut line = head(None, at, None, event);
    line.insert("step".to_owned(), json!(step));
    line.insert("text".to_owned(), json!(text));
    if let Some(us) = took_us {
        line.insert("took_ms".to_owned(), ms(us));
    }
    Value::Object(line)
}

fn head(seq: Option<u64>, at: &str, deploy: Option<String>, event: &str) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("seq".to_owned(), json!(seq));
    line.insert("at".to_owned(), json!(at));
    line.insert("deploy".to_owned(), json!(deploy));
    line.insert("event".to_owned(), json!(event));
    line
}

/// The event's word and its own fields. What takes a step back is told as a step that says
/// which `undo` it is.
fn event(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Planned { plan, by, note, .. } => ("planned", planned(plan, by, note.as_deref())),
        Event::StepStarted { step, .. } => ("step-started", json!({ "step": step.word() })),
        Event::StepDone { step, text, took_us, skipped, generation, .. } => (
            "step-done",
            json!({ "step": step.word(), "text": text, "took_ms": ms(*took_us), "took_us": took_us, "skipped": skipped, "generation": generation }),
        ),
        Event::StepFailed { step, failure, took_us } => (
            "step-failed",
            failed(
                json!({ "step": step.word(), "took_ms": ms(*took_us), "took_us": took_us }),
                failure,
            ),
        ),
        Event::UndoStarted { undo } => {
            ("step-started", json!({ "step": undo.word(), "undo": undo }))
        }
        Event::UndoDone { undo, text, took_us, generation } => (
            "step-done",
            json!({ "step": undo.word(), "undo": undo, "text": text, "took_ms": ms(*took_us), "took_us": took_us, "generation": generation }),
        ),
        Event::UndoFailed { undo, failure } => {
            ("step-failed", failed(json!({ "step": undo.word(), "undo": undo }), failure))
        }
        Event::Notice { text, step } => {
            ("notice", json!({ "text": text, "step": step.map(Step::word) }))
        }
        Event::AbortAsked { by, reason } => {
            ("notice", json!({ "kind": "abort-asked", "by": by, "text": reason }))
        }
        Event::PromoteAsked { by } => {
            ("notice", json!({ "kind": "promote-asked", "by": by, "text": "promoted" }))
        }
        Event::Recovered => {
            ("notice", json!({ "kind": "recovered", "text": "the daemon was stopped and is back" }))
        }
        Event::Observed { observation } => {
            ("progress", json!({ "step": "bake", "observed": observation }))
        }
        Event::Judged { verdict } => (
            "verdict",
            json!({ "verdict": verdict, "finding": verdict.finding, "text": verdict.text }),
        ),
        Event::Ended { outcome, reason } => {
            ("notice", json!({ "kind": "deploy-ended", "outcome": outcome, "text": reason }))
        }
        Event::Booted { .. } => ("notice", json!({ "kind": "booted", "text": "the host booted" })),
        Event::Retired { slot, by, .. } => {
            ("notice", json!({ "kind": "retired", "slot": slot, "by": by }))
        }
        Event::RetireFailed { slot, failure } => {
            ("notice", failed(json!({ "kind": "retire-failed", "slot": slot }), failure))
        }
        Event::Pinned { release, pinned, by } => {
            ("notice", json!({ "kind": "pinned", "release": release, "pinned": pinned, "by": by }))
        }
        Event::Pruned { releases } => ("notice", json!({ "kind": "pruned", "releases": releases })),
        Event::Resolved { slot, by, .. } => {
            ("notice", json!({ "kind": "resolved", "slot": slot, "by": by }))
        }
        Event::PortsPicked { ports } => {
            ("notice", json!({ "kind": "ports-picked", "ports": ports }))
        }
    }
}

fn planned(plan: &Plan, by: &str, note: Option<&str>) -> Value {
    json!({
        "plan": plan.short_id(),
        "app": plan.app,
        "environment": plan.environment,
        "purpose": plan.purpose,
        "from": plan.from_slot(),
        "from_release": plan.from.as_ref().map(|from| &from.release),
        "to": plan.to(),
        "release": plan.binding.release,
        "steps": plan.steps.iter().map(|step| step.word()).collect::<Vec<_>>(),
        "judged": plan.is_judged(),
        "by": by,
        "note": note,
    })
}

fn failed(mut value: Value, failure: &Failure) -> Value {
    value["text"] = json!(failure.what);
    value["detail"] = json!(failure.detail);
    value["hint"] = json!(failure.hint);
    value
}

fn ms(us: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^52 µs")]
    let ms = us as f64 / 1000.0;
    json!(ms)
}
