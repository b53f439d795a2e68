//! GitHub Actions: the steps in a group, errors as annotations, a table in the job's summary.

use super::line::{Mark, StepLine};
use super::time;
use crate::api::Failed;
use std::io::Write;
use std::path::Path;

/// What is remembered for the summary.
#[derive(Debug, Default)]
pub(crate) struct Job {
    steps: Vec<StepLine>,
    open: bool,
}

impl Job {
    /// `19:14:09Z ok build, 4.1 s`.
    pub(crate) fn step(&mut self, at: &str, line: &StepLine, out: &mut dyn Write) {
        if !self.open {
            let _ = writeln!(out, "::group::steps");
            self.open = true;
        }
        let clock = at.split('T').nth(1).map_or(at, |t| t.split(['.', 'Z']).next().unwrap_or(t));
        let took = line.took_us.map(|us| format!(", {}", time::took(us))).unwrap_or_default();
        let text = line.text.replace('\n', "; ");
        let _ = writeln!(out, "{clock}Z {} {} {text}{took}", line.mark.word(), line.phase);
        if line.mark == Mark::Fail {
            let _ = writeln!(out, "::error title={}::{}", escaped(line.phase), escaped(&line.text));
        }
        self.steps.push(line.clone());
    }

    /// Before the closing words, which nobody should have to unfold.
    pub(crate) fn close(&mut self, out: &mut dyn Write) {
        if self.open {
            let _ = writeln!(out, "::endgroup::");
            self.open = false;
        }
    }

    /// An annotation at the line of the file.
    pub(crate) fn error(failed: &Failed, out: &mut dyn Write) {
        let place = match (&failed.file, failed.line) {
            (Some(file), Some(line)) => format!(" file={},line={line}", escaped(file)),
            (Some(file), None) => format!(" file={}", escaped(file)),
            (None, _) => String::new(),
        };
        let _ = writeln!(out, "::error{place}::{}", escaped(&failed.message));
    }

    /// Appends the table to the job's summary.
    pub(crate) fn summary(&self, title: &str, last: &str, file: &Path) -> std::io::Result<()> {
        let mut text = format!("### {title}\n\n| | step | | took |\n|---|---|---|---:|\n");
        for step in &self.steps {
            let took = step.took_us.map(time::took).unwrap_or_default();
            let what = step.text.replace('|', "\\|").replace('\n', "<br>");
            text.push_str(&format!(
                "| {} | {} | {what} | {took} |\n",
                step.mark.word(),
                step.phase
            ));
        }
        text.push_str(&format!("\n{last}\n\n"));
        std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes())
    }
}

/// As workflow commands want it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
