//! `plan` as text.

use super::fold::hang;
use super::table::size;
use super::time;
use crate::views::{CaveatView, PlanView, RoomView};

/// What would be done.
pub(crate) fn plan(view: &PlanView, width: usize, flags: &str) -> Vec<String> {
    let mut lines = vec![hang("", &headline(view), width), String::new()];
    for step in &view.steps {
        let took = step
            .expected_ms
            .map(|ms| format!(" (about {})", time::took(ms * 1000)))
            .unwrap_or_default();
        let text = format!("{}{took}", step.text);
        lines.push(hang(&format!("  {:<11}", step.step), &text, width));
    }
    lines.push(String::new());
    lines.extend(
        view.budget
            .memory
            .as_ref()
            .map(|room| budget("Memory", "two copies need about", room, width)),
    );
    lines.extend(
        view.budget.disk.as_ref().map(|room| budget("Disk", "the release needs", room, width)),
    );
    for (at, change) in view.changes.iter().enumerate() {
        let name = if at == 0 { "Settings" } else { "" };
        lines.push(hang(&format!("  {name:<11}"), &change.to_string(), width));
    }
    lines.extend(caveats(&view.not_zero_downtime, width, flags));
    lines.push(String::new());
    let built = view.steps.iter().any(|step| step.step == "build");
    let changed =
        if built { "Built here; nothing was changed on the host." } else { "Nothing was changed." };
    lines.push(format!("{changed} Do exactly this: alcedo deploy --plan {}{flags}", view.plan));
    lines
}

fn headline(view: &PlanView) -> String {
    let to = view.to.map_or("a slot", alcedo_core::Slot::as_str);
    match (view.from, &view.from_release) {
        (Some(from), Some(release)) => {
            format!(
                "{} would go to {to}. {from} stays live with {release} until the switch.",
                view.release
            )
        }
        (Some(from), None) => {
            format!("{} would go to {to}. {from} stays live until the switch.", view.release)
        }
        (None, _) => format!("{} would go to {to}. Nothing is live yet.", view.release),
    }
}

fn budget(name: &str, needs: &str, room: &RoomView, width: usize) -> String {
    let fits = if room.fits { "fits" } else { "DOES NOT FIT" };
    let text = match room.needed_bytes {
        0 => format!("{} are free; what is needed is not known yet", size(room.available_bytes)),
        needed => {
            format!("{needs} {}; {} are free: {fits}", size(needed), size(room.available_bytes))
        }
    };
    hang(&format!("  {name:<11}"), &text, width)
}

/// Every "NOT zero-downtime because".
pub(crate) fn caveats(caveats: &[CaveatView], width: usize, flags: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for caveat in caveats {
        lines.push(String::new());
        let accepted = if caveat.accepted { " (accepted)" } else { "" };
        lines.push(hang(
            "  ",
            &format!(
                "NOT zero-downtime because {}.{accepted}",
                caveat.reason.trim_end_matches('.')
            ),
            width,
        ));
        if !caveat.accepted {
            let fix =
                if caveat.fix.is_empty() { String::new() } else { format!("{}, or: ", caveat.fix) };
            lines.push(hang("    ", &format!("{fix}--accept {}{flags}", caveat.id), width));
        }
    }
    lines
}
