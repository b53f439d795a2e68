//! What people and programs see. Data goes to stdout, progress and words to stderr.
//!
//! Sees events and the wire's views only; never asks anybody anything.

pub(crate) mod actions;
pub(crate) mod check;
pub(crate) mod closing;
pub(crate) mod ended;
pub(crate) mod error;
pub(crate) mod fold;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod ink;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod live;
pub(crate) mod plan;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod track;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

use crate::api::Failed;
use crate::engine::ports::Millis;
use actions::Job;
use alcedo_core::event::{Event, Record};
use ended::Ended;
use ink::Ink;
use line::StepLine;
use live::Block;
use std::io::Write;
use time::Zone;
use track::Track;

/// How events are shown.
#[derive(Debug)]
pub(crate) enum Form {
    /// One finished line per step.
    Lines,
    /// Finished lines, and a block that is redrawn.
    Live(Block),
    /// GitHub Actions.
    Actions(Job),
    /// One event a line, on stdout.
    Json,
}

/// Where output goes.
pub(crate) struct Paper {
    /// Stdout: data.
    pub(crate) data: Box<dyn Write>,
    /// Stderr: words.
    pub(crate) words: Box<dyn Write>,
}

/// Shows.
pub(crate) struct Reporter {
    pub(crate) form: Form,
    pub(crate) ink: Ink,
    /// Columns to fold to.
    pub(crate) width: usize,
    pub(crate) zone: Zone,
    pub(crate) paper: Paper,
    /// Why data did not reach stdout, when that is not a reader that has gone.
    pub(crate) lost: Option<std::io::Error>,
}

impl Reporter {
    /// A line of words, folded. Not in JSON, where events say everything.
    pub(crate) fn words(&mut self, text: &str) {
        match &mut self.form {
            Form::Json => return,
            Form::Live(block) => block.clear(&mut self.paper.words),
            Form::Lines | Form::Actions(_) => {}
        }
        let shown = match self.form {
            Form::Actions(_) | Form::Json => text.to_owned(),
            Form::Lines | Form::Live(_) => fold::paragraph(text, self.width),
        };
        // A terminal that is gone stops nothing.
        let _ = writeln!(self.paper.words, "{}", self.ink.text(&shown));
    }

    /// Data for stdout, with a newline.
    ///
    /// # Errors
    /// When stdout is closed: the caller stops quietly.
    pub(crate) fn data(&mut self, text: &str) -> std::io::Result<()> {
        let text = self.ink.text(text.trim_end_matches('\n')).into_owned();
        self.put(&text)
    }

    /// Data for programs, as it is.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(crate) fn raw(&mut self, text: &str) -> std::io::Result<()> {
        self.put(text.trim_end_matches('\n'))
    }

    /// A full disk must not look like success: the first failure is kept for the end. A closed pipe is none.
    fn put(&mut self, text: &str) -> std::io::Result<()> {
        let written = writeln!(self.paper.data, "{text}").and_then(|()| self.paper.data.flush());
        written.map_err(|error| {
            let kind = error.kind();
            if kind != std::io::ErrorKind::BrokenPipe && self.lost.is_none() {
                self.lost = Some(error);
            }
            kind.into()
        })
    }

    /// An event. `shown`: events before a `--follow` or `promote` began are folded into the track only.
    pub(crate) fn record(&mut self, record: &Record, now: Millis) {
        if let Form::Json = self.form {
            let _ = self.put(&json::record(record).to_string());
            return;
        }
        for line in line::lines(record) {
            self.step(&record.at, &line);
        }
        let Form::Live(block) = &mut self.form else { return };
        match &record.event {
            Event::StepStarted { step, .. } => block.begin(step.word(), now),
            Event::UndoStarted { undo } => block.begin(undo.word(), now),
            Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::UndoDone { .. }
            | Event::UndoFailed { .. }
            | Event::Ended { .. } => block.end(),
            Event::Planned { .. }
            | Event::Notice { .. }
            | Event::AbortAsked { .. }
            | Event::PromoteAsked { .. }
            | Event::Recovered
            | Event::Observed { .. }
            | Event::Judged { .. }
            | Event::Booted { .. }
            | Event::Retired { .. }
            | Event::RetireFailed { .. }
            | Event::Pruned { .. }
            | Event::Pinned { .. }
            | Event::Resolved { .. }
            | Event::PortsPicked { .. } => {}
        }
        self.tick(now);
    }

    /// A finished line.
    pub(crate) fn step(&mut self, at: &str, line: &StepLine) {
        match &mut self.form {
            Form::Json => return,
            Form::Actions(job) => return job.step(at, line, &mut self.paper.words),
            Form::Live(block) => block.clear(&mut self.paper.words),
            Form::Lines => {}
        }
        let _ = writeln!(self.paper.words, "{}", line.columns(self.ink, self.width));
    }

    /// A step of this client itself, such as the build.
    pub(crate) fn client_step(&mut self, at: &str, line: &StepLine) {
        if let Form::Json = self.form {
            let event = if line.mark == line::Mark::Fail { "step-failed" } else { "step-done" };
            let value = json::client(at, event, line.phase, &line.text, line.took_us);
            let _ = writeln!(self.paper.data, "{value}");
        }
        self.step(at, line);
    }

    /// A step of this client begins.
    pub(crate) fn client_begins(&mut self, phase: &'static str, at: &str, now: Millis) {
        match &mut self.form {
            Form::Json => {
                let _ = writeln!(
                    self.paper.data,
                    "{}",
                    json::client(at, "step-started", phase, "", None)
                );
            }
            Form::Live(block) => block.begin(phase, now),
            Form::Lines | Form::Actions(_) => {}
        }
        self.tick(now);
    }

    /// How far the step under way is.
    pub(crate) fn progress(&mut self, track: &Track, at: &str, text: &str, now: Millis) {
        match &mut self.form {
            Form::Json => {
                let _ = writeln!(self.paper.data, "{}", json::progress(track, at, text));
            }
            Form::Live(block) => block.progress(text),
            Form::Lines | Form::Actions(_) => {}
        }
        self.tick(now);
    }

    /// A sign of life.
    pub(crate) fn tick(&mut self, now: Millis) {
        if let Form::Live(block) = &mut self.form {
            block.draw(&mut self.paper.words, self.ink, self.width, now);
        }
    }

    /// What stands below the step under way.
    pub(crate) fn footer(&mut self, text: Option<&str>) {
        if let Form::Live(block) = &mut self.form {
            block.footer(text);
        }
    }

    /// Something between this client and the daemon.
    pub(crate) fn note(&mut self, at: &str, text: &str) {
        match &mut self.form {
            Form::Json => {
                let _ = writeln!(self.paper.data, "{}", json::client(at, "notice", "", text, None));
            }
            Form::Lines | Form::Live(_) | Form::Actions(_) => {
                self.step(at, &StepLine::new(line::Mark::Warn, "", text))
            }
        }
    }

    /// The closing words, or the last line of JSON.
    pub(crate) fn ended(&mut self, ended: &Ended, closing: &[String]) {
        if let Form::Json = self.form {
            let _ = self.put(&serde_json::to_string(ended).unwrap_or_default());
            return;
        }
        match &mut self.form {
            Form::Actions(job) => job.close(&mut self.paper.words),
            Form::Live(block) => {
                block.end();
                block.clear(&mut self.paper.words);
            }
            Form::Lines | Form::Json => {}
        }
        self.words("");
        for line in closing {
            self.words(line);
        }
    }

    /// An error, in the form of the reader. `flags` name the app as they were typed.
    pub(crate) fn error(&mut self, failed: &Failed, flags: &str) {
        match &mut self.form {
            Form::Json => {
                let _ = writeln!(self.paper.data, "{}", error::json(failed));
                let _ = self.paper.data.flush();
                return;
            }
            Form::Actions(job) => {
                job.close(&mut self.paper.words);
                Job::error(failed, &mut self.paper.words);
            }
            Form::Live(block) => {
                block.end();
                block.clear(&mut self.paper.words);
            }
            Form::Lines => {}
        }
        for line in error::lines(failed, flags) {
            // The underlined text of a config error must keep its columns.
            let _ = writeln!(self.paper.words, "{}", self.ink.text(&line));
        }
    }
}
