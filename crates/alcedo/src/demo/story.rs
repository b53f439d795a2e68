//! What the demo shows: five deploys' worth of an app's life, and the numbers at its end.

use super::Stage;
use super::traffic::{Seen, Traffic};
use crate::adapters::clock;
use crate::report::table::grouped;
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Exit status of a deploy that was given back.
const GIVEN_BACK: i32 = 3;

/// `demo --json` of interface.md, and what the text says besides.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    requests: u64,
    failed: u64,
    switches: usize,
    switch_ms_p50: f64,
    switch_ms_p99: f64,
    rollback_ms: f64,
    auto_rolled_back: bool,
    auto_rollback_ms: f64,
    broken_version_errors: u64,
    lost: u64,
    url: String,
    home: String,
}

impl Outcome {
    /// Whether nothing was lost and the broken version was given back.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.auto_rolled_back
    }
}

/// Plays it. `say` gets one finished line a step; with `keep` everything goes on running afterwards.
pub(crate) fn tell(home: &Path, keep: bool, say: &dyn Fn(&str)) -> anyhow::Result<Outcome> {
    let stage = Stage::build(home)?;
    let told = play(&stage, say);
    if !keep || told.is_err() {
        stage.strike();
    }
    told
}

/// Stops what an earlier demo left running in `home`, and removes it.
///
/// # Errors
/// When that is not a demo's directory, or something of it cannot be removed.
pub(crate) fn stop(home: &Path) -> anyhow::Result<()> {
    let stage = Stage::kept(home)?;
    stage.strike();
    std::fs::remove_dir_all(home).with_context(|| format!("failed to remove {}", home.display()))
}

fn play(stage: &Stage, say: &dyn Fn(&str)) -> anyhow::Result<Outcome> {
    let mut switches = Vec::new();
    let line = |first: &str, word: &str, text: &str, took: Duration| {
        say(&line_of(first, word, text, took))
    };

    stage.edit(1, false)?;
    let (lines, took) = timed(|| stage.must(&["deploy"], 0))?;
    switches.extend(switch_ms(&lines));
    line("ok", "deploy", &format!("version 1 is live on http://{}", stage.address), took);
    let traffic = Traffic::start(stage.address).context("failed to start the traffic")?;
    line("ok", "traffic", "16 keep-alive connections, every request counted", Duration::ZERO);

    stage.edit(2, false)?;
    let (lines, took) = timed(|| stage.must(&["deploy", "--wait", "bake"], 0))?;
    switches.extend(switch_ms(&lines));
    let text = format!("version 2 beside it, switched in {:.2} ms, judged good", last(&switches));
    line("ok", "deploy", &text, took);

    stage.edit(3, true)?;
    let (lines, took) = timed(|| stage.must(&["deploy", "--wait", "bake"], GIVEN_BACK))?;
    switches.extend(switch_ms(&lines));
    let (back_after_ms, why) = given_back(&lines);
    line("ok", "deploy", "version 3 has a bug: every third answer fails", Duration::ZERO);
    line(
        "undo",
        "deploy",
        &format!("given back by itself {:.1} s after its switch", back_after_ms / 1000.0),
        took,
    );
    line("", "", &why, Duration::ZERO);

    stage.edit(4, false)?;
    let (lines, took) = timed(|| stage.must(&["deploy", "--wait", "bake"], 0))?;
    switches.extend(switch_ms(&lines));
    line("ok", "deploy", "version 4 mends it", took);

    let (lines, took) = timed(|| stage.must(&["rollback"], 0))?;
    switches.extend(switch_ms(&lines));
    let rollback_ms = took.as_secs_f64() * 1000.0;
    line(
        "ok",
        "rollback",
        &format!("the process of version 2 is live again: {rollback_ms:.0} ms in all"),
        took,
    );

    let seen = traffic.finish();
    Ok(outcome(stage, &seen, &switches, rollback_ms, back_after_ms))
}

/// Columns as a deploy has them, at most 79 wide.
fn line_of(first: &str, word: &str, text: &str, took: Duration) -> String {
    let took = if took.is_zero() { String::new() } else { format!("{:.1} s", took.as_secs_f64()) };
    format!("  {first:<5} {word:<9} {text:<53} {took:>6}").trim_end().to_owned()
}

fn timed<T>(act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let begun = clock::now();
    let result = act()?;
    Ok((result, clock::now().since(begun)))
}

/// Switches, in either direction, as the router measured them.
fn switch_ms(lines: &[Value]) -> Vec<f64> {
    let is_switch = |e: &&Value| e["event"] == "step-done" && e["step"] == "switch";
    lines
        .iter()
        .filter(is_switch)
        .filter_map(|e| e["took_us"].as_f64())
        .map(|us| us / 1000.0)
        .collect()
}

fn last(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or_default()
}

/// From the switch to the switch back, in milliseconds, and the judge's words.
fn given_back(lines: &[Value]) -> (f64, String) {
    let at = |name: &str, key: &str, value: &str| {
        let event = lines.iter().find(|e| e["event"] == name && e[key] == value)?;
        event["at"].as_str()?.parse::<jiff::Timestamp>().ok()
    };
    let forth = at("step-done", "step", "switch");
    let back = at("step-done", "undo", "switch-back");
    let took = forth
        .zip(back)
        .map_or(0.0, |(forth, back)| back.duration_since(forth).as_secs_f64() * 1000.0);
    let verdict = lines.iter().find_map(|e| e["verdict"]["text"].as_str());
    (took, verdict.unwrap_or("its verdict is in the history").to_owned())
}

fn outcome(
    stage: &Stage,
    seen: &Seen,
    switches: &[f64],
    rollback_ms: f64,
    auto_rollback_ms: f64,
) -> Outcome {
    // The broken version is the one release whose own answers were errors.
    let broken = seen.errors.values().copied().max().unwrap_or_default();
    let all: u64 = seen.errors.values().sum();
    let mut sorted = switches.to_vec();
    sorted.sort_by(f64::total_cmp);
    Outcome {
        requests: seen.requests,
        failed: seen.lost + all - broken,
        switches: sorted.len(),
        switch_ms_p50: quantile(&sorted, 0.5),
        switch_ms_p99: quantile(&sorted, 0.99),
        rollback_ms,
        auto_rolled_back: auto_rollback_ms > 0.0,
        auto_rollback_ms,
        broken_version_errors: broken,
        lost: seen.lost,
        url: format!("http://{}", stage.address),
        home: stage.home.display().to_string(),
    }
}

/// Nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a handful of values"
    )]
    let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl Outcome {
    /// The last lines.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} requests, {} failed, {} lost; {} more were the broken version's own answers.\n\
             {} switches, the middle one {:.2} ms, the slowest {:.2} ms. Rollback by hand {:.0} ms, by itself {:.1} s after the bug went live.",
            grouped(self.requests),
            self.failed,
            self.lost,
            self.broken_version_errors,
            self.switches,
            self.switch_ms_p50,
            self.switch_ms_p99,
            self.rollback_ms,
            self.auto_rollback_ms / 1000.0
        )
    }

    /// Where it goes on running.
    pub(crate) fn kept(&self) -> String {
        format!(
            "It goes on running: {}\nLook at it: ALCEDO_HOME={home} alcedo status -a hello\nStop it:    alcedo demo --stop {home}",
            self.url,
            home = self.home
        )
    }
}
