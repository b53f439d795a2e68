//! The block at the bottom of a terminal that is redrawn in place: the step under way, and what Ctrl-C would do.
//!
//! Never used in a pipe, with `--plain` or `TERM=dumb`.

use super::fold::columns;
use super::ink::Ink;
use super::line::{Mark, StepLine};
use crate::engine::ports::Millis;
use std::io::Write;

/// Redrawn at least this often, as a sign of life.
const BEAT_MS: u64 = 1_000;

/// What is on the screen below the finished lines.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Lines drawn.
    drawn: usize,
    step: Option<Going>,
    footer: Option<String>,
    drawn_at: Option<Millis>,
}

/// The step under way.
#[derive(Debug, Clone)]
struct Going {
    phase: &'static str,
    text: String,
    since: Millis,
}

impl Block {
    /// A step begins.
    pub(crate) fn begin(&mut self, phase: &'static str, now: Millis) {
        self.step = Some(Going { phase, text: String::new(), since: now });
        self.drawn_at = None;
    }

    /// How far it is.
    pub(crate) fn progress(&mut self, text: &str) {
        if let Some(step) = self.step.as_mut().filter(|step| step.text != text) {
            text.clone_into(&mut step.text);
            self.drawn_at = None;
        }
    }

    /// It is over.
    pub(crate) fn end(&mut self) {
        self.step = None;
    }

    /// What stands below it.
    pub(crate) fn footer(&mut self, text: Option<&str>) {
        self.footer = text.map(str::to_owned);
    }

    /// Takes the block off the screen, before finished lines are written.
    pub(crate) fn clear(&mut self, out: &mut dyn Write) {
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.drawn);
            self.drawn = 0;
        }
        self.drawn_at = None;
    }

    /// Draws it when something changed or a second has passed.
    pub(crate) fn draw(&mut self, out: &mut dyn Write, ink: Ink, width: usize, now: Millis) {
        let is_fresh =
            self.drawn_at.is_some_and(|at| now.since(at).as_millis() < u128::from(BEAT_MS));
        let Some(step) = self.step.clone().filter(|_| !is_fresh) else { return };
        self.clear(out);
        let us = u64::try_from(now.since(step.since).as_micros()).unwrap_or(u64::MAX);
        let line = StepLine::new(Mark::Going, step.phase, step.text);
        // Whole seconds: a running tenth would only flicker.
        let line = if us >= 1_000_000 { line.taking(us / 1_000_000 * 1_000_000) } else { line };
        let mut text = line.columns(ink, width);
        if let Some(footer) = &self.footer {
            text.push_str(&format!("\n\n  {}", ink.text(footer)));
        }
        // A line as wide as the terminal would wrap and be counted wrong.
        let lines: Vec<String> = text.lines().map(|line| clipped(line, width)).collect();
        let _ = writeln!(out, "{}", lines.join("\n"));
        let _ = out.flush();
        self.drawn = lines.len();
        self.drawn_at = Some(now);
    }
}

fn clipped(line: &str, width: usize) -> String {
    if line.contains('\x1b') || columns(line) <= width {
        return line.to_owned();
    }
    line.chars().take(width).collect()
}
