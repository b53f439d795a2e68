//! `status --watch`: the page that is redrawn every second, and the lines for those without a terminal.

use super::fold::columns;
use super::status::{self, Reader, dash};
use super::table::{grouped, size};
use super::time;
use crate::views::{AppView, SlotView, StatusView};
use alcedo_core::Slot;
use alcedo_core::judge::percent;

/// Columns of a bar.
const BAR: usize = 20;
/// Columns of each slot.
const COLUMN: usize = 32;

/// The whole page. `before` is what was seen a moment ago, for the requests per second.
pub(crate) fn page(
    view: &AppView,
    now: &StatusView,
    before: Option<&StatusView>,
    reader: &Reader<'_>,
) -> Vec<String> {
    let where_ = format!("{} · {} · {}", view.app, view.environment, now.host);
    let mut lines: Vec<String> = status::right(&where_, &reader.zone.clock(&now.at), reader.width)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.push(headline(view, now, reader));
    lines.push(String::new());
    let rates = before.and_then(|before| Rates::between(view, before, now));
    for (name, blue, green) in rows(view, &now.at, rates.as_ref()) {
        lines.push(format!("  {name:<16}{}{green}", padded(&blue)).trim_end().to_owned());
    }
    lines.extend(evidence(view));
    lines.push(String::new());
    lines.push(format!("  {}", keys(view)));
    lines
}

/// One line for those who read a pipe; printed when it differs from the last one.
pub(crate) fn line(view: &AppView, status: &StatusView, reader: &Reader<'_>) -> String {
    let live = match (view.live_slot(), view.live_release()) {
        (Some(slot), Some(release)) => format!("{slot} {release}"),
        _ => "nothing live".to_owned(),
    };
    let bake = view.deploy.as_ref().and_then(|deploy| deploy.bake.as_ref());
    let judged = bake.map(|bake| {
        let until = bake.until.as_deref().map(|at| reader.zone.minute(at)).unwrap_or_default();
        format!(
            "; judged until {until}, {} of {} requests failed",
            grouped(bake.errors),
            grouped(bake.requests)
        )
    });
    let phase = view
        .deploy
        .as_ref()
        .filter(|deploy| deploy.bake.is_none())
        .map(|deploy| format!("; {} {}", deploy.id, deploy.phase));
    let health =
        if view.healthy { "healthy".to_owned() } else { status::health(view, status, reader) };
    format!("{live}; {health}{}{}", judged.unwrap_or_default(), phase.unwrap_or_default())
}

fn headline(view: &AppView, now: &StatusView, reader: &Reader<'_>) -> String {
    let judged = view.deploy.as_ref().and_then(|deploy| Some((deploy.to?, deploy.bake.as_ref()?)));
    let Some((slot, bake)) = judged.filter(|_| view.healthy) else {
        return status::health(view, now, reader);
    };
    let until = bake.until.as_deref().map(|at| reader.zone.clock(at)).unwrap_or_default();
    format!(
        "{slot} is being judged: {} of {}  {}  verdict at {until}",
        time::span(bake.observed_ms / 1000),
        time::span(bake.length_ms / 1000),
        bar(share(bake.observed_ms, bake.length_ms), '-'),
    )
}

fn rows(view: &AppView, now: &str, rates: Option<&Rates>) -> Vec<(&'static str, String, String)> {
    let of = |slot: Slot| view.slots.get(&slot).cloned().unwrap_or_default();
    let (blue, green) = (of(Slot::Blue), of(Slot::Green));
    let both =
        |f: &dyn Fn(Slot, &SlotView) -> String| (f(Slot::Blue, &blue), f(Slot::Green, &green));
    let live = |slot: Slot| view.live_slot() == Some(slot);
    let row = |name: &'static str, f: &dyn Fn(Slot, &SlotView) -> String| {
        let (blue, green) = both(f);
        (name, blue, green)
    };
    let mut rows = vec![
        row("", &|slot, seen| {
            let mark = if live(slot) { "> " } else { "" };
            format!(
                "{mark}{slot}, {}",
                if live(slot) { "live".to_owned() } else { status::state_word(seen, false) }
            )
        }),
        row("release", &|_, seen| seen.release.clone().unwrap_or_else(dash)),
        row("age", &|_, seen| {
            seen.started_at
                .as_deref()
                .and_then(|at| time::seconds_between(at, now))
                .map_or_else(dash, time::age)
        }),
        row("requests/s", &|slot, _| rates.map_or_else(dash, |rates| rates.of(slot))),
        row("errors", &|_, seen| errors(seen)),
        row("p50", &|_, seen| seen.p50_ms.map_or_else(dash, latency)),
        row("p95", &|_, seen| seen.p95_ms.map_or_else(dash, latency)),
        row("memory", &|_, seen| seen.memory_bytes.filter(|b| *b > 0).map_or_else(dash, size)),
        row("in flight", &|_, seen| seen.in_flight.map_or_else(dash, grouped)),
        row("open sockets", &|_, seen| seen.tunnels.map_or_else(dash, grouped)),
    ];
    if let Some(bake) = view.deploy.as_ref().and_then(|deploy| deploy.bake.as_ref()) {
        let probes =
            format!("{} of {} good", bake.probes_good, bake.probes_good + bake.probes_failed);
        let on = view.deploy.as_ref().and_then(|deploy| deploy.to);
        rows.push(row("probe, 1/s", &|slot, _| {
            if on == Some(slot) { probes.clone() } else { dash() }
        }));
    }
    rows
}

/// `0.17 %   2 of 1,204`.
fn errors(seen: &SlotView) -> String {
    let (errors, requests) = (seen.errors.unwrap_or(0), seen.requests.unwrap_or(0));
    if requests == 0 {
        return dash();
    }
    format!("{}   {} of {}", percent(share(errors, requests)), grouped(errors), grouped(requests))
}

fn latency(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Only the indicators that are judged in this version have a bar.
fn evidence(view: &AppView) -> Vec<String> {
    let Some(bake) = view.deploy.as_ref().and_then(|deploy| deploy.bake.as_ref()) else {
        return Vec::new();
    };
    let slot = view.deploy.as_ref().and_then(|deploy| deploy.to).map_or("it", Slot::as_str);
    let mut lines = Vec::new();
    if let Some(evidence) = &bake.evidence {
        let indicators = [
            ("errors", evidence.errors),
            ("slower (p50)", evidence.slow50),
            ("slower (p95)", evidence.slow95),
        ];
        let shown: Vec<String> = indicators
            .iter()
            .filter_map(|(name, value)| {
                value.map(|value| {
                    format!("  {name:<16}{} {:>3.0} %", bar(value, '-'), value * 100.0)
                })
            })
            .collect();
        if !shown.is_empty() {
            lines.extend([
                String::new(),
                format!("  Evidence that {slot} is worse (given back at 100 %)"),
            ]);
            lines.extend(shown);
        }
    }
    if let Some(below) = bake.error_rate_below {
        lines.push(format!(
            "  So far: {slot}'s error rate is below {} (95 % sure). A slow leak would not show.",
            percent(below)
        ));
    }
    lines
}

fn keys(view: &AppView) -> String {
    let deploy = view.deploy.as_ref();
    let can_accept = deploy.is_some_and(|d| d.bake.is_some() || d.gate.is_some() || d.held);
    let mut keys = Vec::new();
    if view.rollback.is_some() || deploy.is_some_and(|d| d.bake.is_some()) {
        keys.push("B  go back now");
    }
    if can_accept {
        keys.push("P  accept now");
    }
    keys.push(if deploy.is_some() {
        "q  stop watching; the deploy goes on"
    } else {
        "q  stop watching"
    });
    keys.join("     ")
}

/// Requests per second of both slots.
struct Rates {
    blue: f64,
    green: f64,
}

impl Rates {
    fn between(view: &AppView, before: &StatusView, now: &StatusView) -> Option<Self> {
        let old = before.apps.iter().find(|app| app.name() == view.name())?;
        let ms = time::ms_between(&before.at, &now.at);
        let rate = |slot: Slot| {
            let count =
                |app: &AppView| app.slots.get(&slot).and_then(|seen| seen.requests).unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let rate = count(view).saturating_sub(count(old)) as f64 * 1000.0 / ms as f64;
            rate
        };
        (ms > 0).then(|| Self { blue: rate(Slot::Blue), green: rate(Slot::Green) })
    }

    fn of(&self, slot: Slot) -> String {
        let rate = match slot {
            Slot::Blue => self.blue,
            Slot::Green => self.green,
        };
        if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
    }
}

fn bar(share: f64, rest: char) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=20"
    )]
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), rest.to_string().repeat(BAR - full))
}

fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn padded(text: &str) -> String {
    format!("{text}{}", " ".repeat(COLUMN.saturating_sub(columns(text)).max(2)))
}
