//! `history`, `releases` and `prune` as text.

use super::fold::hang;
use super::status::{Reader, dash, expected};
use super::table::{Align, size, table};
use super::time::{self, Zone};
use crate::views::{AppView, HistoryView, PastView, PruneView, ReleaseView, ReleasesView};

/// Deploys shown; JSON has all.
const DEPLOYS_MAX: usize = 20;

/// The deploys so far.
pub(crate) fn history(view: &HistoryView, reader: &Reader<'_>) -> Vec<String> {
    let Some(newest) = view.deploys.first() else {
        return vec!["No deploy yet.".to_owned()];
    };
    let shown = &view.deploys[..view.deploys.len().min(DEPLOYS_MAX)];
    let rows: Vec<Vec<String>> = shown.iter().map(|past| past_row(past, reader.zone)).collect();
    let head =
        ["id", "when", "release", "outcome", "took", "verdict"].map(|title| (title, Align::Left));
    let mut lines = table(&head, &rows, 2, reader.width);
    let notes: Vec<String> = shown.iter().take(2).filter_map(note).collect();
    if !notes.is_empty() {
        lines.push(hang("  ", &notes.join(" · "), reader.width));
    }
    let flags = reader.flags;
    lines.push(format!("  more: alcedo history {}{flags}", newest.id));
    if view.deploys.len() > shown.len() {
        lines.push(format!(
            "  {} older ones: alcedo history --json{flags}",
            view.deploys.len() - shown.len()
        ));
    }
    lines
}

fn past_row(past: &PastView, zone: &Zone) -> Vec<String> {
    let outcome = past.outcome.as_deref().unwrap_or("under-way").replace('-', " ");
    vec![
        past.id.clone(),
        zone.day(&past.started_at),
        past.release.clone(),
        outcome,
        past.duration_ms.filter(|ms| *ms > 0).map_or_else(dash, coarse),
        verdict(past),
    ]
}

fn coarse(ms: u64) -> String {
    time::age(i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX))
}

fn verdict(past: &PastView) -> String {
    let outcome = past.outcome.as_deref().unwrap_or_default();
    match (past.verdict.as_deref(), &past.failed_at) {
        (Some(verdict), _) => verdict.to_owned(),
        (None, Some(step)) => format!("failed at {step}"),
        (None, None) if outcome == "under-way" => "pending".to_owned(),
        (None, None) if outcome == "unchanged" || outcome == "rolled-back" => "given up".to_owned(),
        (None, None) => dash(),
    }
}

fn note(past: &PastView) -> Option<String> {
    let note = past.note.as_ref().filter(|note| !note.is_empty())?;
    Some(format!("{} {}: {}", past.id, past.by, note.lines().next().unwrap_or_default()))
}

/// What can be gone back to. `app` tells which slot holds what, and where `alcedo rollback` goes.
pub(crate) fn releases(
    view: &ReleasesView,
    app: Option<&AppView>,
    reader: &Reader<'_>,
) -> Vec<String> {
    if view.releases.is_empty() {
        return vec!["No release is kept yet.".to_owned()];
    }
    let target = app.and_then(|app| app.rollback.as_ref()).map(|way| way.release.as_str());
    let rows: Vec<Vec<String>> = view
        .releases
        .iter()
        .map(|release| release_row(release, app, target, reader.flags))
        .collect();
    let head = [
        ("release", Align::Left),
        ("state", Align::Left),
        ("size", Align::Right),
        ("way back", Align::Left),
    ];
    table(&head, &rows, 3, reader.width)
}

fn release_row(
    release: &ReleaseView,
    app: Option<&AppView>,
    target: Option<&str>,
    flags: &str,
) -> Vec<String> {
    let holds =
        |slot: &crate::views::SlotView| slot.release.as_deref() == Some(release.release.as_str());
    let slot = app
        .and_then(|app| app.slots.iter().find(|(_, seen)| holds(seen) && seen.state != "stopped"))
        .map(|(slot, _)| *slot);
    let mut state = release.state.clone();
    if let Some(slot) = release.slot.or(slot).filter(|_| release.state != "kept") {
        state = format!("{state}, {slot}");
    }
    for (word, is) in [("bad", release.bad), ("pinned", release.pinned)] {
        if is {
            state = format!("{state}, {word}");
        }
    }
    vec![release.release.clone(), state, size(release.size_bytes), way(release, target, flags)]
}

fn way(release: &ReleaseView, target: Option<&str>, flags: &str) -> String {
    let Some(way) = release.rollback.as_ref().filter(|_| release.state != "active") else {
        return "(live)".to_owned();
    };
    if let Some(why) = &way.refused {
        return format!("no: {why}");
    }
    if release.bad {
        return "only by name".to_owned();
    }
    let takes = expected(way.expected_ms);
    if target == Some(release.release.as_str()) {
        format!("{takes}  <- alcedo rollback{flags}")
    } else {
        takes
    }
}

/// What went, or would.
pub(crate) fn prune(view: &PruneView, dry_run: bool, width: usize) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let word = if dry_run { "would go" } else { "removed" };
    rows.extend(
        view.removed.iter().map(|r| vec![r.release.clone(), word.to_owned(), size(r.size_bytes)]),
    );
    rows.extend(
        view.kept.iter().map(|r| vec![r.release.clone(), format!("kept: {}", r.reason), dash()]),
    );
    let head = [("release", Align::Left), ("", Align::Left), ("size", Align::Right)];
    let mut lines = if rows.is_empty() { Vec::new() } else { table(&head, &rows, 3, width) };
    let bytes: u64 = view.removed.iter().map(|r| r.size_bytes).sum();
    let count = view.removed.len();
    let noun = if count == 1 { "release" } else { "releases" };
    lines.push(match (count, dry_run) {
        (0, _) => "Nothing to remove.".to_owned(),
        (_, true) => {
            format!("{count} {noun}, {} would be freed. Nothing was changed.", size(bytes))
        }
        (_, false) => format!("{count} {noun}, {} freed.", size(bytes)),
    });
    lines
}
