//! When a slot counts as ready: polled from the start, so many successes in a row, a deadline, no fixed sleep.
//!
//! Decides only; asking is a port's work.

use crate::config::{Expect, Health, ReleaseField};
use crate::names::ReleaseId;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to do after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Try again at this time (the engine's clock, milliseconds).
    TryAt(u64),
    /// Ready.
    Ready {
        /// Tries made.
        tries: u32,
    },
    /// The deadline passed.
    TooLate {
        /// Tries made.
        tries: u32,
        /// What the last one saw.
        last: String,
    },
}

/// The policy of one process that is starting.
#[derive(Debug, Clone)]
pub struct ProbePolicy {
    interval: Duration,
    healthy_after: u32,
    deadline_ms: u64,
    tries: u32,
    in_a_row: u32,
    last: String,
}

impl ProbePolicy {
    /// Starts counting at `now_ms`.
    pub fn new(health: &Health, now_ms: u64) -> Self {
        Self {
            interval: health.interval,
            healthy_after: health.healthy_after.max(1),
            deadline_ms: now_ms.saturating_add(millis(health.deadline)),
            tries: 0,
            in_a_row: 0,
            last: "nothing yet".to_owned(),
        }
    }

    /// Takes the result of a try that ended at `now_ms`: `Ok` is a success, `Err` says what was seen instead.
    ///
    /// After a success the next try comes at once when `healthy_after` asks for more: a process that answers is not made
    /// to wait for a pause that is there for those that do not. While nothing listens yet, tries come closer together
    /// at first, so that a fast start is seen fast.
    pub fn record(&mut self, now_ms: u64, result: Result<(), String>) -> Readiness {
        self.tries += 1;
        match result {
            Ok(()) => self.in_a_row += 1,
            Err(seen) => {
                self.in_a_row = 0;
                self.last = seen;
            }
        }
        if self.in_a_row >= self.healthy_after {
            return Readiness::Ready { tries: self.tries };
        }
        if now_ms >= self.deadline_ms {
            return Readiness::TooLate { tries: self.tries, last: self.last.clone() };
        }
        let pause = match self.in_a_row {
            0 => self.pause_while_down(),
            _ => millis(self.interval),
        };
        Readiness::TryAt(now_ms.saturating_add(pause).min(self.deadline_ms))
    }

    /// 2, 4, 8 … milliseconds up to the interval.
    fn pause_while_down(&self) -> u64 {
        let quick = 1_u64 << self.tries.min(16);
        quick.min(millis(self.interval))
    }

    /// What the last failed try saw.
    pub fn last_seen(&self) -> &str {
        &self.last
    }

    /// How many tries there were.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Until when it may take (the engine's clock, milliseconds).
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An answer as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Status code.
    pub status: u16,
    /// Lower-case header names.
    pub headers: &'a BTreeMap<String, String>,
    /// The first 64 KiB of the body.
    pub body: &'a [u8],
}

/// Whether an answer is what `expect` wants; `Err` says what was seen against what was expected.
pub fn matches(expect: &Expect, seen: &Seen<'_>) -> Result<(), String> {
    status_matches(expect, seen)?;
    if expect.json.is_empty() {
        return Ok(());
    }
    let body = json(seen)?;
    for (pointer, wanted) in &expect.json {
        match body.pointer(pointer) {
            Some(found) if found == wanted => {}
            Some(found) => return Err(format!("`{pointer}` is {found}; expected {wanted}")),
            None => return Err(format!("`{pointer}` is missing in the answer; expected {wanted}")),
        }
    }
    Ok(())
}

fn status_matches(expect: &Expect, seen: &Seen<'_>) -> Result<(), String> {
    let status = seen.status;
    match expect.status {
        Some(wanted) if wanted == status => Ok(()),
        Some(wanted) => Err(format!("{status}; expected {wanted}")),
        None if (200..300).contains(&status) => Ok(()),
        None if (300..400).contains(&status) => {
            let to = seen.headers.get("location").map_or("somewhere", String::as_str);
            Err(format!(
                "{status}, a redirect to {to}; expected 200. Does the app force https or another host?"
            ))
        }
        None => Err(format!("{status}; expected 200")),
    }
}

fn json(seen: &Seen<'_>) -> Result<serde_json::Value, String> {
    serde_json::from_slice(seen.body).map_err(|e| format!("an answer that is not JSON ({e})"))
}

/// Whether the answer names `release`; a commit that is a part of the id counts too, since apps know their commit and
/// not alcedo's id.
pub fn names_release(
    field: &ReleaseField,
    release: &ReleaseId,
    seen: &Seen<'_>,
) -> Result<(), String> {
    let found = match field {
        ReleaseField::Header(name) => seen.headers.get(&name.to_ascii_lowercase()).cloned(),
        ReleaseField::Json(pointer) => match json(seen)?.pointer(pointer) {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
            None => None,
        },
    };
    match found {
        None => Err(format!("an answer that does not name its release in {}", place(field))),
        Some(found) if is_of(&found, release) => Ok(()),
        Some(found) => Err(format!("release {found}; expected {release}")),
    }
}

fn is_of(found: &str, release: &ReleaseId) -> bool {
    let tail = release.tail();
    found == release.as_str()
        || found == tail
        || (found.len() >= 7 && (found.starts_with(tail) || tail.starts_with(found)))
}

fn place(field: &ReleaseField) -> String {
    match field {
        ReleaseField::Header(name) => format!("the header `{name}`"),
        ReleaseField::Json(pointer) => format!("`{pointer}`"),
    }
}
