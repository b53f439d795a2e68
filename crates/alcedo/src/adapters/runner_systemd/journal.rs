//! What a unit wrote while it ran one binding: a stretch of systemd's journal, remembered in a file beside the log files
//! of other runners, read through `journalctl`.
//!
//! `SERVICE.journal`, version 1: the unit and the wall times in microseconds. Times are for finding text, never for
//! decisions.

use crate::adapters::clock;
use crate::adapters::exec::{self, Environment, Exit, Output, Program};
use crate::engine::ports::{Call, Cancel, EffectError};
use crate::files::write_atomically;
use crate::paths;
use alcedo_core::ServiceName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The ending of its file's name.
const SUFFIX: &str = "journal";
/// For one run of `journalctl`.
const LIMIT: Duration = Duration::from_secs(20);
/// Of its output, from the end.
const OUTPUT_BYTES: usize = 4 << 20;
/// Before the place from which to read on.
const CURSOR: &str = "-- cursor: ";

/// From when to when a unit ran one binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stretch {
    version: u32,
    unit: String,
    since_us: i64,
    until_us: Option<i64>,
}

impl Stretch {
    /// Begins now.
    pub(super) fn begun(unit: &str) -> Self {
        Self { version: 1, unit: unit.to_owned(), since_us: wall_us(), until_us: None }
    }

    /// Its file.
    pub(super) fn path(dir: &Path, service: &ServiceName) -> PathBuf {
        dir.join(format!("{service}.{SUFFIX}"))
    }

    /// The service of such a file.
    pub(crate) fn service(file: &str) -> Option<&str> {
        file.strip_suffix(SUFFIX)?.strip_suffix('.')
    }

    pub(super) fn write(&self, dir: &Path, service: &ServiceName) -> Result<(), EffectError> {
        let path = Self::path(dir, service);
        let failed = |error: &dyn std::fmt::Display| {
            EffectError::failed(format!("write {}", path.display()), error)
        };
        paths::make_private(dir).map_err(|error| failed(&error))?;
        let bytes = serde_json::to_vec(self).map_err(|error| failed(&error))?;
        Ok(write_atomically(&path, &bytes, 0o600)?)
    }

    /// Reads one; `None` when it is not there or not readable.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Ends the stretch of that file now.
    pub(super) fn end(dir: &Path, service: &ServiceName) -> Result<(), EffectError> {
        let Some(stretch) = Self::read(&Self::path(dir, service)) else { return Ok(()) };
        let until_us = Some(stretch.until_us.unwrap_or_else(wall_us));
        Self { until_us, ..stretch }.write(dir, service)
    }

    /// The last lines, and from where to read on.
    pub(crate) fn last(&self, lines: usize) -> (Vec<String>, Option<String>) {
        self.ask(&["--lines", &lines.to_string()])
    }

    /// What came after that place; the place after it.
    pub(crate) fn after(&self, cursor: &str) -> (Vec<String>, Option<String>) {
        self.ask(&[&format!("--after-cursor={cursor}")])
    }

    fn ask(&self, more: &[&str]) -> (Vec<String>, Option<String>) {
        let mut argv: Vec<String> =
            ["journalctl", "--quiet", "--no-pager", "--output=cat"].map(str::to_owned).to_vec();
        argv.push("--show-cursor".to_owned());
        // What the unit's processes wrote, and not what systemd says about them.
        argv.push(format!("_SYSTEMD_UNIT={}", self.unit));
        argv.push(format!("--since=@{}", seconds(self.since_us)));
        argv.extend(self.until_us.map(|until| format!("--until=@{}", seconds(until))));
        argv.extend(more.iter().map(|word| (*word).to_owned()));
        let program = Program {
            argv,
            env: Environment::Inherited,
            dir: Path::new("/").to_owned(),
            output: Output::Kept { limit_bytes: OUTPUT_BYTES },
        };
        let cancel = Cancel::default();
        let deadline = clock::now().after(LIMIT);
        let ended = exec::run(&program, &Call { deadline, cancel: &cancel, progress: &|_| {} });
        match ended {
            Ok(ended) if ended.exit == Exit::Status(0) => {
                split(&String::from_utf8_lossy(&ended.output))
            }
            // Its way to say that there is nothing.
            Ok(ended) if ended.exit == Exit::Status(1) && ended.output.is_empty() => {
                (Vec::new(), None)
            }
            Ok(ended) => {
                (vec![format!("journalctl: {}: {}", ended.exit, ended.last_lines(1))], None)
            }
            Err(error) => (vec![format!("failed to {error}")], None),
        }
    }
}

fn split(text: &str) -> (Vec<String>, Option<String>) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let cursor = lines.last().and_then(|line| line.strip_prefix(CURSOR)).map(str::to_owned);
    if cursor.is_some() {
        lines.pop();
    }
    (lines, cursor)
}

/// systemd takes seconds with a fraction.
fn seconds(us: i64) -> String {
    format!("{}.{:06}", us.div_euclid(1_000_000), us.rem_euclid(1_000_000))
}

fn wall_us() -> i64 {
    clock::wall().parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_to_read_on_is_no_line() {
        let (lines, cursor) = split("one\ntwo\n-- cursor: s=1;i=2\n");
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(cursor.as_deref(), Some("s=1;i=2"));
        assert_eq!(split(""), (Vec::new(), None));
    }

    #[test]
    fn a_stretch_begins_and_ends_once() {
        let dir = tempfile::tempdir().unwrap();
        let web = ServiceName::new("web").unwrap();
        let begun = Stretch::begun("shop@blue.service");
        begun.write(dir.path(), &web).unwrap();
        Stretch::end(dir.path(), &web).unwrap();
        let ended = Stretch::read(&Stretch::path(dir.path(), &web)).unwrap();
        assert!(ended.until_us.unwrap() >= begun.since_us);
        Stretch::end(dir.path(), &web).unwrap();
        assert_eq!(Stretch::read(&Stretch::path(dir.path(), &web)), Some(ended));
        assert_eq!(seconds(1_500_000), "1.500000");
        assert_eq!(Stretch::service("web.journal"), Some("web"));
        assert_eq!(Stretch::service("web.log"), None);
    }
}
