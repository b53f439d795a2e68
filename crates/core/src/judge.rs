//! The judge: what the bake observed → a verdict. Fixed limits and synthetic probes.
//!
//! Never decides from nothing: a bake without any measurement is inconclusive, whatever the limits say. Counts are
//! those of the router since the switch; probes are alcedo's own requests to the live slot, once a second.

use crate::config::Bake;
use serde::{Deserialize, Serialize};

/// Failed probes in a row that make a release bad. At one probe a second a dead release is seen in about 3 s; a single
/// lost probe on a busy machine is not yet a reason to move everybody's traffic.
pub const PROBES_FAILED_IN_A_ROW_MAX: u32 = 3;

/// Restarts of a live process within the bake that make a release bad: one may be a supervisor's or a limit's doing,
/// two are a crash loop.
pub const RESTARTS_MAX: u32 = 2;

/// Confidence with which "would have gone unnoticed" is said (the rule of three and its exact form).
const CONFIDENCE: f64 = 0.95;

/// What was seen in one stretch of observed time. Stretches add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Observed time of this stretch, in milliseconds. Time without a daemon is in none.
    pub observed_ms: u64,
    /// Requests that the new release answered, or failed to, since the switch: the whole count.
    pub requests: u64,
    /// Of these, failed: the whole count.
    pub errors: u64,
    /// Probes of this stretch that succeeded.
    pub probes_good: u32,
    /// Probes of this stretch that failed.
    pub probes_failed: u32,
    /// Failed probes in a row at the end of this stretch.
    pub failed_in_a_row: u32,
    /// Of those in a row, how many failed for the warm old slot at the same moment too.
    pub control_failed_in_a_row: u32,
    /// Restarts of the new release's processes since their start: the whole count.
    pub restarts: u32,
    /// A process of the new release is not started again any more.
    pub gave_up: bool,
}

/// Everything observed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bench {
    /// The stretches added up: times and probes summed, whole counts since the switch.
    pub seen: Observation,
    /// Times the bake was extended.
    pub extended: u32,
    /// The router's counts as last read.
    pub read: Counts,
    /// Restarts before the switch, which are not the bake's.
    pub restarts_before: u32,
}

/// What a router counts for a target; it begins anew when the router is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Of these, failed.
    pub errors: u64,
}

impl Counts {
    /// What came since `earlier`: everything, when the counts began anew.
    pub fn since(self, earlier: Self) -> Self {
        if self.began_anew(earlier) {
            return self;
        }
        Self { requests: self.requests - earlier.requests, errors: self.errors - earlier.errors }
    }

    /// Whether it cannot be `earlier` counted on.
    pub fn began_anew(self, earlier: Self) -> bool {
        self.requests < earlier.requests || self.errors < earlier.errors
    }
}

impl Bench {
    /// Adds a stretch.
    pub fn add(&mut self, stretch: &Observation) {
        let seen = &mut self.seen;
        let runs_on = stretch.probes_good == 0;
        let before = (seen.failed_in_a_row, seen.control_failed_in_a_row);
        let read = Counts { requests: stretch.requests, errors: stretch.errors };
        let new = read.since(std::mem::replace(&mut self.read, read));
        let restarts = stretch.restarts.saturating_sub(self.restarts_before);
        *seen = Observation {
            observed_ms: seen.observed_ms.saturating_add(stretch.observed_ms),
            requests: seen.requests.saturating_add(new.requests),
            errors: seen.errors.saturating_add(new.errors),
            probes_good: seen.probes_good.saturating_add(stretch.probes_good),
            probes_failed: seen.probes_failed.saturating_add(stretch.probes_failed),
            failed_in_a_row: stretch.failed_in_a_row + if runs_on { before.0 } else { 0 },
            control_failed_in_a_row: stretch.control_failed_in_a_row
                + if runs_on { before.1 } else { 0 },
            restarts: restarts.max(seen.restarts),
            gave_up: stretch.gave_up,
        };
    }

    /// The verdict that what was seen allows now; `None`: go on watching.
    pub fn verdict(&self, bake: &Bake) -> Option<Verdict> {
        self.failing(bake).or_else(|| self.at_the_end(bake))
    }

    /// Whether the warm old slot fails the same probes at the same time.
    pub fn control_is_sick(&self) -> bool {
        self.seen.control_failed_in_a_row >= PROBES_FAILED_IN_A_ROW_MAX
    }

    /// Whether probes came and the last one was good: then an inconclusive end is only a matter of too little traffic.
    pub fn probes_are_fine(&self) -> bool {
        self.seen.probes_good > 0 && self.seen.failed_in_a_row == 0
    }

    /// Length of the whole bake, in milliseconds.
    pub fn length_ms(&self, bake: &Bake) -> u64 {
        let once = u64::try_from(bake.time.as_millis()).unwrap_or(u64::MAX);
        once.saturating_mul(u64::from(self.extended) + 1)
    }

    fn failing(&self, bake: &Bake) -> Option<Verdict> {
        let seen = &self.seen;
        if seen.failed_in_a_row >= PROBES_FAILED_IN_A_ROW_MAX {
            let text = format!("{} probes in a row failed", seen.failed_in_a_row);
            // Both slots sick is not the release's doing: go on watching; the end will be inconclusive, not a pass.
            if !self.control_is_sick() {
                return Some(self.say(Finding::Fail, text));
            }
        }
        if seen.gave_up {
            return Some(self.say(
                Finding::Fail,
                "a process ended too often and is not started again".to_owned(),
            ));
        }
        if seen.restarts >= RESTARTS_MAX {
            return Some(self.say(
                Finding::Fail,
                format!("its processes ended and were started again {} times", seen.restarts),
            ));
        }
        if bake.max_failed_requests.is_some_and(|max| seen.errors > max) {
            let max = bake.max_failed_requests.unwrap_or_default();
            return Some(self.say(
                Finding::Fail,
                format!("{} requests failed; at most {max} may", seen.errors),
            ));
        }
        self.error_rate_failing(bake)
    }

    /// Over the limit, and enough requests that fewer errors than the limit allows could not explain it: with `n`
    /// requests, at least `ceil(rate × 20)` and more than one error, so that the very first failed request never
    /// condemns a release by itself.
    fn error_rate_failing(&self, bake: &Bake) -> Option<Verdict> {
        let max = bake.max_error_rate?;
        let seen = &self.seen;
        let enough = seen.requests >= 20 && seen.errors >= 2;
        let rate = ratio(seen.errors, seen.requests);
        (enough && rate > max).then(|| {
            let text = format!(
                "errors {} ({} of {}); at most {} are allowed",
                percent(rate),
                seen.errors,
                seen.requests,
                percent(max)
            );
            self.say(Finding::Fail, text)
        })
    }

    fn at_the_end(&self, bake: &Bake) -> Option<Verdict> {
        let seen = &self.seen;
        if seen.observed_ms < self.length_ms(bake) {
            return None;
        }
        if seen.probes_good == 0 && seen.requests == 0 {
            return Some(self.say(Finding::Inconclusive, "nothing was measured".to_owned()));
        }
        if seen.failed_in_a_row > 0 {
            let who = if self.control_is_sick() { ", of the old slot too" } else { "" };
            return Some(self.say(
                Finding::Inconclusive,
                format!("the last {} probes failed{who}", seen.failed_in_a_row),
            ));
        }
        let (probes, all) = (seen.probes_good, seen.probes_good + seen.probes_failed);
        let text = format!(
            "{}, {}; {probes} of {all} probes good",
            count(seen.requests, "request"),
            count(seen.errors, "error")
        );
        let unseen = self.unseen_error_rate();
        let too_small = bake
            .max_error_rate
            .is_some_and(|max| unseen.is_none_or(|rate| rate > max) && seen.errors == 0);
        let finding = if too_small { Finding::Inconclusive } else { Finding::Pass };
        Some(self.say(finding, text))
    }

    /// The smallest error rate that would have shown itself by at least one error with 95 % confidence, given that none
    /// was seen: `1 − 0.05^(1/n)`. `None` without requests.
    pub fn unseen_error_rate(&self) -> Option<f64> {
        let n = self.seen.requests;
        #[expect(clippy::cast_precision_loss, reason = "request counts are far below 2^52")]
        (n > 0).then(|| 1.0 - (1.0 - CONFIDENCE).powf(1.0 / n as f64))
    }

    fn say(&self, finding: Finding, text: String) -> Verdict {
        let not_seen = match self.unseen_error_rate() {
            None => Some("no requests came: errors would have gone unnoticed".to_owned()),
            Some(rate) if self.seen.errors == 0 => Some(format!(
                "{}: an error rate under {} would have gone unnoticed",
                count(self.seen.requests, "request"),
                percent(rate)
            )),
            Some(_) => None,
        };
        Verdict {
            finding,
            text,
            not_seen,
            observed_ms: self.seen.observed_ms,
            requests: self.seen.requests,
            errors: self.seen.errors,
        }
    }
}

/// A verdict always says what it saw and what it could not have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Pass, fail or inconclusive.
    pub finding: Finding,
    /// What it saw.
    pub text: String,
    /// What it could not have seen.
    #[serde(default)]
    pub not_seen: Option<String>,
    /// Observed time, in milliseconds.
    pub observed_ms: u64,
    /// Requests seen.
    pub requests: u64,
    /// Of these, failed.
    pub errors: u64,
}

/// The judge's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// As good as far as could be seen.
    Pass,
    /// Worse.
    Fail,
    /// Cannot be said.
    Inconclusive,
}

/// `1 request`, `2 requests`.
fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "request counts are far below 2^52")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A share as people read it: `0.17 %`, `6.0 %`, `19 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        v if v >= 10.0 => format!("{v:.0} %"),
        v if v >= 1.0 => format!("{v:.1} %"),
        v => format!("{v:.2} %"),
    }
}
