//! `status` as text: one app, or every app of the host.

use super::fold::{columns, hang};
use super::table::{Align, grouped, size, table};
use super::time::{self, Zone};
use crate::views::{AppView, SlotView, StatusView};
use alcedo_core::Slot;
use alcedo_core::judge::percent;

/// How one reads it.
pub(crate) struct Reader<'a> {
    /// Their zone.
    pub(crate) zone: &'a Zone,
    /// Columns.
    pub(crate) width: usize,
    /// ` -a shop`, as typed.
    pub(crate) flags: &'a str,
}

/// One app.
pub(crate) fn app(view: &AppView, status: &StatusView, reader: &Reader<'_>) -> Vec<String> {
    let where_ = format!("{} · {} · {}", view.app, view.environment, status.host);
    let mut lines = vec![right(&where_, &reader.zone.long(&status.at), reader.width)];
    lines.extend(hang("", &health(view, status, reader), reader.width).lines().map(str::to_owned));
    lines.push(String::new());
    lines.extend(slots(view, &status.at, reader.width));
    lines.push(String::new());
    for (name, text) in facts(view, &status.at, reader) {
        lines
            .extend(hang(&format!("  {name:<10}"), &text, reader.width).lines().map(str::to_owned));
    }
    lines
}

/// Every app.
pub(crate) fn apps(status: &StatusView, width: usize) -> Vec<String> {
    if status.apps.is_empty() {
        return vec![format!(
            "No app on {} yet: `alcedo deploy` in a directory with an alcedo.toml.",
            status.host
        )];
    }
    let rows: Vec<Vec<String>> = status.apps.iter().map(|app| row(app, &status.at)).collect();
    let head = ["app", "live", "since", "state", "way back"].map(|title| (title, Align::Left));
    let mut lines = table(&head, &rows, 2, width);
    let sick: Vec<&AppView> = status.apps.iter().filter(|app| !app.healthy).collect();
    if let Some(first) = sick.first() {
        let verb = if sick.len() == 1 { "is" } else { "are" };
        let (n, all) = (sick.len(), status.apps.len());
        lines.push(format!(
            "{n} of {all} apps {verb} not healthy: alcedo status -a {}",
            first.name()
        ));
    }
    lines
}

/// `Healthy.`, or what is wrong.
pub(crate) fn health(view: &AppView, status: &StatusView, reader: &Reader<'_>) -> String {
    if let Some(stuck) = &view.stuck {
        let way_out = stuck.hint.clone().unwrap_or_else(|| {
            format!("alcedo resolve blue{0}, or alcedo resolve green{0}", reader.flags)
        });
        return format!(
            "Stuck since {}: {}. Nothing happens by itself: {way_out}",
            stuck.deploy, stuck.what
        );
    }
    if !view.healthy {
        return format!(
            "NOT healthy: {}.",
            view.why.as_deref().unwrap_or("no reason is known").trim_end_matches('.')
        );
    }
    let Some(deploy) = &view.deploy else {
        return if view.active.is_some() {
            "Healthy.".to_owned()
        } else {
            "Nothing is live yet.".to_owned()
        };
    };
    let to = deploy.to.map_or("its slot", Slot::as_str);
    if let (Some(bake), false) = (&deploy.bake, deploy.held) {
        let until = bake.until.as_deref().unwrap_or_default();
        let left = time::seconds_between(&status.at, until)
            .and_then(|s| u64::try_from(s).ok())
            .unwrap_or(0);
        return format!(
            "Healthy. The new release is being judged: {} left, verdict at {}.",
            time::span(left),
            reader.zone.clock(until)
        );
    }
    if deploy.gate.is_some() {
        return format!(
            "Healthy. {} is ready in {to} and has no traffic: alcedo promote{1}, or alcedo abort{1}.",
            deploy.release, reader.flags
        );
    }
    format!("Healthy. {} is on its way to {to}: {}.", deploy.release, deploy.phase)
}

fn slots(view: &AppView, now: &str, width: usize) -> Vec<String> {
    let head = [
        ("  slot", Align::Left),
        ("state", Align::Left),
        ("release", Align::Left),
        ("age", Align::Left),
        ("memory", Align::Right),
        ("requests", Align::Right),
        ("errors", Align::Left),
    ];
    let rows: Vec<Vec<String>> =
        Slot::BOTH.into_iter().map(|slot| slot_row(slot, view, now)).collect();
    // One column less of indent, so that it fits 80 with every number.
    table(&head, &rows, 2, width + 1).into_iter().map(|line| line[1..].to_owned()).collect()
}

fn slot_row(slot: Slot, view: &AppView, now: &str) -> Vec<String> {
    let empty = SlotView { state: "empty".to_owned(), ..SlotView::default() };
    let seen = view.slots.get(&slot).unwrap_or(&empty);
    let is_live = view.live_slot() == Some(slot);
    let up = !["empty", "stopped"].contains(&seen.state.as_str());
    let since = seen.started_at.as_ref().or(seen.since.as_ref());
    let age = since
        .filter(|_| up)
        .and_then(|since| time::seconds_between(since, now))
        .map_or_else(dash, time::age);
    vec![
        format!("{} {slot}", if is_live { '>' } else { ' ' }),
        state_word(seen, is_live),
        seen.release.clone().unwrap_or_else(dash),
        age,
        seen.memory_bytes.filter(|_| up).map_or_else(dash, size),
        seen.requests.filter(|_| is_live).map_or_else(dash, grouped),
        if is_live { errors(seen) } else { dash() },
    ]
}

/// For the slot with the traffic, `ready` is said as what it means.
pub(crate) fn state_word(seen: &SlotView, is_live: bool) -> String {
    match seen.state.as_str() {
        "ready" if is_live => "active".to_owned(),
        other => other.to_owned(),
    }
}

/// `2 (0.17 %)`.
pub(crate) fn errors(seen: &SlotView) -> String {
    let (Some(errors), Some(requests)) = (seen.errors, seen.requests) else { return dash() };
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let share = if requests == 0 { 0.0 } else { errors as f64 / requests as f64 };
    match errors {
        0 => "0".to_owned(),
        n => format!("{} ({})", grouped(n), percent(share)),
    }
}

fn facts(view: &AppView, now: &str, reader: &Reader<'_>) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Way back", way_back(view, reader))];
    let next: Vec<String> = view
        .next
        .iter()
        .map(|next| {
            let at = next
                .at
                .as_deref()
                .map(|at| format!("{} ", reader.zone.bare_minute(at)))
                .unwrap_or_default();
            match next.slot {
                Some(slot) => format!("{at}{slot} stops"),
                None => format!("{at}{}", next.action),
            }
        })
        .collect();
    if !next.is_empty() {
        facts.push(("Next", next.join(" · ")));
    }
    facts.extend(processes(view));
    facts.push(("Router", router(view, reader)));
    if let Some(url) = &view.url {
        facts.push(("Address", url.clone()));
    }
    // A deploy under way is its own lock, and was named already.
    if let Some(lock) = view.lock.as_ref().filter(|_| view.deploy.is_none()) {
        facts.push(("Lock", locked(lock, now, reader.zone)));
    }
    facts
}

/// `held by ana since 20:14 CET (4 min): d43 of r…`.
pub(crate) fn locked(lock: &crate::views::LockView, now: &str, zone: &Zone) -> String {
    let since = lock.since.as_deref().map(|since| {
        let age = time::seconds_between(since, now).map_or_else(dash, time::age);
        format!(" since {} ({age})", zone.minute(since))
    });
    format!("held by {}{}: {}", lock.by, since.unwrap_or_default(), lock.reason)
}

fn way_back(view: &AppView, reader: &Reader<'_>) -> String {
    let Some(way) = &view.rollback else {
        let refused = view.rollback_refused.clone();
        return refused.unwrap_or_else(|| "none: there is no older good release".to_owned());
    };
    let takes = expected(way.expected_ms);
    let command = format!("alcedo rollback{}", reader.flags);
    match way.kind.as_deref() {
        Some("flip") => {
            let idle = view.live_slot().map_or("the idle slot", |slot| slot.other().as_str());
            let until = match &way.available_until {
                Some(until) => format!(", until {} at least", reader.zone.minute(until)),
                None => String::new(),
            };
            format!("{idle} is warm: {command} takes {takes}{until}")
        }
        Some(_) | None => format!("{command} starts {}: {takes}", way.release),
    }
}

/// `under 1 s`, `about 6 s`.
pub(crate) fn expected(ms: Option<u64>) -> String {
    match ms {
        None => "as long as a deploy".to_owned(),
        Some(ms) if ms < 1000 => "under 1 s".to_owned(),
        Some(ms) => format!("about {}", time::span(ms.div_ceil(1000))),
    }
}

/// Only what ended by itself is worth a line.
fn processes(view: &AppView) -> Option<(&'static str, String)> {
    let slot = view.live_slot()?;
    let restarted = view.slots.get(&slot)?.processes.iter().filter(|p| p.restarts > 0);
    let text: Vec<String> = restarted
        .map(|p| {
            let exit =
                p.last_exit.as_deref().map(|exit| format!(", last: {exit}")).unwrap_or_default();
            format!(
                "{} was started again {}{exit}",
                p.name,
                if p.restarts == 1 { "once".to_owned() } else { format!("{} times", p.restarts) }
            )
        })
        .collect();
    (!text.is_empty()).then(|| ("Processes", text.join(" · ")))
}

fn router(view: &AppView, reader: &Reader<'_>) -> String {
    let kind = if view.router.kind.is_empty() { "the router" } else { &view.router.kind };
    if view.router.drift {
        let detail = view.router.drift_detail.as_deref().unwrap_or("it and the journal differ");
        return format!(
            "{detail}. Nothing is changed until you choose: alcedo resolve blue{0}, or alcedo resolve green{0}",
            reader.flags
        );
    }
    match &view.router.target {
        Some(target) => format!("{kind} points at {target}, as recorded"),
        None if view.active == Some(crate::views::Active::Unknown) => {
            format!("{kind} cannot be asked")
        }
        None => format!("{kind} points at nothing yet"),
    }
}

fn row(app: &AppView, now: &str) -> Vec<String> {
    let live = match (app.live_slot(), app.live_release()) {
        (Some(slot), Some(release)) => format!("{slot:<5}  {release}"),
        _ if app.active == Some(crate::views::Active::Unknown) => "unknown".to_owned(),
        _ => dash(),
    };
    let slot = app.live_slot().and_then(|slot| app.slots.get(&slot));
    let since =
        slot.and_then(|s| s.since.as_deref()).and_then(|since| time::seconds_between(since, now));
    // Under drift nobody knows which slot that is.
    let idle = app.live_slot().map(|slot| format!("{}, ", slot.other())).unwrap_or_default();
    let way = match &app.rollback {
        None => "none".to_owned(),
        Some(way) if way.kind.as_deref() == Some("flip") => match way.available_for_s {
            Some(left) => {
                format!("{idle}warm for {}", time::age(i64::try_from(left).unwrap_or(0)))
            }
            None => format!("{idle}warm"),
        },
        Some(way) => format!("{idle}{}", expected(way.expected_ms)),
    };
    vec![app.name(), live, since.map_or_else(dash, time::age), state(app).to_owned(), way]
}

fn state(app: &AppView) -> &'static str {
    match &app.deploy {
        _ if app.stuck.is_some() => "STUCK",
        _ if !app.healthy => "NOT HEALTHY",
        Some(deploy) if deploy.gate.is_some() => "staged",
        Some(deploy) if deploy.bake.is_some() => "judging",
        Some(_) => "deploying",
        None if app.active.is_none() => "empty",
        None => "healthy",
    }
}

/// Left and right on one line when they fit, else one below the other.
pub(crate) fn right(left: &str, text: &str, width: usize) -> String {
    let pad = width.saturating_sub(columns(left) + columns(text));
    if pad < 2 { format!("{left}\n{text}") } else { format!("{left}{}{text}", " ".repeat(pad)) }
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}
