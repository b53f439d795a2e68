//! An event as finished lines, one per step: mark, phase, text, duration.

use super::fold::{columns, fold};
use super::ink::{Ink, Tint};
use super::time;
use alcedo_core::event::{Event, Failure, Record};
use alcedo_core::judge::Finding;
use alcedo_core::step::{Step, Undo};

/// Columns before the text: two spaces, mark, phase.
const HEAD: usize = 18;
/// Columns of the duration, right-aligned.
const TOOK: usize = 10;

/// What the engine says of a step that was cut short because somebody gave the deploy up.
const GIVEN_UP: &str = "given up on request";

/// The first column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Done.
    Ok,
    /// Under way.
    Going,
    /// Nothing to do.
    Skip,
    /// Worth a look.
    Warn,
    /// Failed.
    Fail,
    /// Taken back.
    Undo,
}

impl Mark {
    /// The word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Going => "..",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Undo => "undo",
        }
    }

    fn tint(self) -> Tint {
        match self {
            Self::Ok => Tint::Green,
            Self::Going => Tint::Cyan,
            Self::Skip => Tint::Dim,
            Self::Warn | Self::Undo => Tint::Yellow,
            Self::Fail => Tint::Red,
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepLine {
    /// First column.
    pub(crate) mark: Mark,
    /// Second column, a word of the vocabulary.
    pub(crate) phase: &'static str,
    /// What was seen.
    pub(crate) text: String,
    /// Last column, in microseconds.
    pub(crate) took_us: Option<u64>,
}

impl StepLine {
    /// A line without a duration.
    pub(crate) fn new(mark: Mark, phase: &'static str, text: impl Into<String>) -> Self {
        Self { mark, phase, text: text.into(), took_us: None }
    }

    /// With a duration.
    pub(crate) fn taking(self, us: u64) -> Self {
        Self { took_us: Some(us), ..self }
    }

    /// In columns, folded to `width`.
    pub(crate) fn columns(&self, ink: Ink, width: usize) -> String {
        let took = ink.text(&self.took_us.map(time::took).unwrap_or_default()).into_owned();
        let room = width.saturating_sub(HEAD + if took.is_empty() { 0 } else { TOOK }).max(20);
        let text = ink.text(&self.text);
        let mut lines = text.lines().flat_map(|line| fold(line, room));
        let first = lines.next().unwrap_or_default();
        let mark = ink.tint(self.mark.tint(), self.mark.word());
        let gap = " ".repeat(6 - self.mark.word().len());
        let mut shown = format!("  {mark}{gap}{:<10}{first}", self.phase);
        if !took.is_empty() {
            let pad = width.saturating_sub(HEAD + columns(&first) + columns(&took)).max(2);
            shown.push_str(&" ".repeat(pad));
            shown.push_str(&took);
        }
        for line in lines {
            shown.push_str(&format!("\n{:HEAD$}{line}", ""));
        }
        shown.trim_end().to_owned()
    }
}

/// The lines of an event; most have one or none.
pub(crate) fn lines(record: &Record) -> Vec<StepLine> {
    match &record.event {
        Event::StepDone { step, text, took_us, skipped, .. } => {
            done(*step, text, *took_us, *skipped)
        }
        Event::StepFailed { step, failure, took_us } => {
            let mark = if failure.what == GIVEN_UP { Mark::Undo } else { Mark::Fail };
            vec![failed(mark, step.word(), failure).taking(*took_us)]
        }
        Event::UndoDone { undo, text, took_us, .. } => undone(*undo, text, *took_us),
        Event::UndoFailed { undo, failure } => vec![failed(Mark::Fail, undo.word(), failure)],
        Event::Notice { text, step } => {
            vec![StepLine::new(Mark::Warn, step.map_or("", Step::word), text)]
        }
        Event::AbortAsked { by, reason } => {
            vec![StepLine::new(Mark::Undo, "", format!("{reason} ({by})"))]
        }
        Event::PromoteAsked { by } => {
            vec![StepLine::new(Mark::Ok, "", format!("promoted by {by}"))]
        }
        Event::Recovered => {
            vec![StepLine::new(
                Mark::Warn,
                "",
                "the daemon was stopped and is back; the deploy is taken up again",
            )]
        }
        Event::Judged { verdict } => judged(verdict),
        Event::Retired { slot, by, .. } => {
            vec![StepLine::new(Mark::Ok, "retire", format!("{slot} is stopped ({by})"))]
        }
        Event::RetireFailed { failure, .. } => vec![failed(Mark::Warn, "retire", failure)],
        Event::Resolved { slot, by, .. } => {
            vec![StepLine::new(Mark::Ok, "", format!("{slot} is live, says {by}"))]
        }
        Event::Pruned { releases } if !releases.is_empty() => {
            let names: Vec<_> = releases.iter().map(alcedo_core::ReleaseId::as_str).collect();
            vec![StepLine::new(Mark::Ok, "prune", format!("removed {}", names.join(", ")))]
        }
        Event::Planned { .. }
        | Event::StepStarted { .. }
        | Event::UndoStarted { .. }
        | Event::Observed { .. }
        | Event::Ended { .. }
        | Event::Booted { .. }
        | Event::Pruned { .. }
        | Event::Pinned { .. }
        | Event::PortsPicked { .. } => Vec::new(),
    }
}

fn done(step: Step, text: &str, took_us: u64, skipped: bool) -> Vec<StepLine> {
    let mark = if skipped { Mark::Skip } else { Mark::Ok };
    let text = if text.is_empty() { "nothing to do" } else { text };
    let line = StepLine::new(mark, step.word(), text);
    vec![if skipped { line } else { line.taking(took_us) }]
}

fn undone(undo: Undo, text: &str, took_us: u64) -> Vec<StepLine> {
    let mark = match undo {
        Undo::VerifyBack => Mark::Ok,
        Undo::SwitchBack | Undo::DrainNew | Undo::StopNew | Undo::Discard => Mark::Undo,
    };
    if text.is_empty() {
        Vec::new()
    } else {
        vec![StepLine::new(mark, undo.word(), text).taking(took_us)]
    }
}

fn failed(mark: Mark, phase: &'static str, failure: &Failure) -> StepLine {
    StepLine::new(mark, phase, &failure.what)
}

/// What it saw, and what it could not have seen.
fn judged(verdict: &alcedo_core::judge::Verdict) -> Vec<StepLine> {
    let (mark, word) = match verdict.finding {
        Finding::Pass => (Mark::Ok, "pass: "),
        Finding::Fail => (Mark::Fail, ""),
        Finding::Inconclusive => (Mark::Warn, "inconclusive: "),
    };
    let mut text = format!("{word}{}", verdict.text);
    if let Some(not_seen) = verdict.not_seen.as_ref().filter(|_| verdict.finding != Finding::Fail) {
        text.push_str(&format!("\n{not_seen}"));
    }
    vec![StepLine::new(mark, "bake", text).taking(verdict.observed_ms.saturating_mul(1000))]
}
