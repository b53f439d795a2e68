//! How following came to its end: the last line of `--json`, and the exit code.

use super::track::Track;
use alcedo_core::Slot;
use alcedo_core::event::Outcome;
use alcedo_core::judge::Finding;
use serde::Serialize;

/// What was asked for, which decides what counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A new release, live.
    Deploy,
    /// The gate passed, or accepted.
    Promote,
    /// The older release, live.
    GoBack,
    /// Nothing new, live.
    GiveUp,
    /// To see it again.
    Replay,
}

/// Why following stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The deploy is over.
    Over,
    /// What was waited for has happened; the deploy goes on.
    Enough,
    /// It waits at its gate.
    AtGate,
    /// Nobody wanted to wait.
    Detached,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

/// Exit codes of the interface.
pub(crate) mod exit {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Failed; the last line says what is live.
    pub(crate) const FAILED: u8 = 1;
    /// Usage, config, or a question without a terminal.
    pub(crate) const USAGE: u8 = 2;
    /// Rolled back by itself.
    pub(crate) const ROLLED_BACK: u8 = 3;
    /// A person is needed.
    pub(crate) const STUCK: u8 = 5;
    /// The host was not reached.
    pub(crate) const UNREACHED: u8 = 6;
    /// Waiting at a gate.
    pub(crate) const WAITING: u8 = 75;
    /// Interrupted.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// The last line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ended {
    /// Always `ended`.
    pub(crate) event: &'static str,
    /// `live`, `rolled-back`, `unchanged`, `stuck`, `waiting`, `detached`, `refused`.
    pub(crate) outcome: &'static str,
    /// The slot that is live.
    pub(crate) active: Option<Slot>,
    /// What is live.
    pub(crate) release: Option<String>,
    /// Publish time of the switch.
    pub(crate) switch_ms: Option<f64>,
    /// From the first to the last event.
    pub(crate) duration_ms: u64,
    /// `pass`, `fail`, `inconclusive`, `pending`.
    pub(crate) verdict: Option<&'static str>,
    /// The verdict comes by then.
    pub(crate) judged_until: Option<String>,
    /// Exit code.
    pub(crate) exit: u8,
    /// `d42`.
    pub(crate) deploy: Option<String>,
    /// What the deploy brought, live or not.
    pub(crate) deploy_release: Option<String>,
}

impl Ended {
    /// Of a deploy that was followed.
    pub(crate) fn of(track: &Track, stop: Stop, asked: Asked) -> Self {
        let live = track.live();
        let outcome = outcome(track, stop);
        Self {
            event: "ended",
            outcome,
            active: live.map(|(slot, _)| slot),
            release: live.map(|(_, release)| release.to_owned()),
            switch_ms: track.switch_us.map(ms),
            duration_ms: track.duration_ms(),
            verdict: verdict(track),
            judged_until: if track.outcome.is_none() { track.judged_until() } else { None },
            exit: exit_code(outcome, stop, asked),
            deploy: track.plan.as_ref().map(|plan| plan.deploy.to_string()),
            deploy_release: track.brings().map(|(_, release)| release.to_owned()),
        }
    }

    /// Of a call that was refused before there was a deploy.
    pub(crate) fn refused(exit: u8) -> Self {
        Self {
            event: "ended",
            outcome: "refused",
            active: None,
            release: None,
            switch_ms: None,
            duration_ms: 0,
            verdict: None,
            judged_until: None,
            exit,
            deploy: None,
            deploy_release: None,
        }
    }
}

fn outcome(track: &Track, stop: Stop) -> &'static str {
    match (track.outcome, stop) {
        (Some(Outcome::Live), _) => "live",
        (Some(Outcome::RolledBack), _) => "rolled-back",
        (Some(Outcome::Unchanged), _) => "unchanged",
        (Some(Outcome::Stuck), _) => "stuck",
        (None, Stop::AtGate) => "waiting",
        (None, Stop::Detached) => "detached",
        (None, Stop::Interrupted) if !track.switched => "detached",
        (None, Stop::Over | Stop::Enough | Stop::Interrupted) if track.back_at.is_some() => {
            "rolled-back"
        }
        (None, Stop::Over | Stop::Enough | Stop::Interrupted) => "live",
    }
}

fn exit_code(outcome: &str, stop: Stop, asked: Asked) -> u8 {
    if stop == Stop::Interrupted {
        return exit::INTERRUPTED;
    }
    match (outcome, asked) {
        (_, Asked::Replay) => exit::DONE,
        ("rolled-back", Asked::GoBack | Asked::GiveUp) | ("unchanged", Asked::GiveUp) => exit::DONE,
        ("rolled-back", _) => exit::ROLLED_BACK,
        ("unchanged", _) => exit::FAILED,
        ("stuck", _) => exit::STUCK,
        ("waiting", _) => exit::WAITING,
        _ => exit::DONE,
    }
}

fn verdict(track: &Track) -> Option<&'static str> {
    if let Some(verdict) = &track.verdict {
        return Some(match verdict.finding {
            Finding::Pass => "pass",
            Finding::Fail => "fail",
            Finding::Inconclusive => "inconclusive",
        });
    }
    let pending = track.is_judged() && track.outcome.is_none() && track.back_at.is_none();
    pending.then_some("pending")
}

fn ms(us: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^52 µs")]
    let ms = us as f64 / 1000.0;
    ms
}
