//! What the clients saw, added up.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers of one load run.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests whose sending was begun.
    pub sent: u64,
    /// Answered correctly within the limit.
    pub ok: u64,
    /// Not so.
    pub lost: u64,
    /// Losses by kind.
    pub losses: BTreeMap<String, u64>,
    /// Ids of POSTs that were answered correctly.
    pub posts: Vec<u64>,
    /// Connections opened.
    pub connects: u64,
    /// Idle connections that the server had closed.
    pub closed_idle: u64,
    /// Least number of requests in flight once every connection was busy.
    pub in_flight_min: Option<u64>,
    /// By release, from the header that the proxy adds, else from the body.
    pub releases: BTreeMap<String, Seen>,
    /// Time to the end of the answer, in microseconds.
    pub latency_us: Histogram<u64>,
    pub(super) in_flight: u64,
}

/// Answers of one release.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// How many.
    pub answers: u64,
    /// When the app got the first of them, on the machine's monotonic clock; 0 when the app does not say.
    pub first_at_ns: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            ok: 0,
            lost: 0,
            losses: BTreeMap::new(),
            posts: Vec::new(),
            connects: 0,
            closed_idle: 0,
            in_flight_min: None,
            releases: BTreeMap::new(),
            latency_us: Histogram::new_with_max(60_000_000, 3).expect("bounds are valid"),
            in_flight: 0,
        }
    }
}

impl Tally {
    /// A quantile of the latency, in milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        let us = u32::try_from(self.latency_us.value_at_quantile(quantile)).unwrap_or(u32::MAX);
        f64::from(us) / 1_000.0
    }

    /// Losses in words: `3 × closed, 1 × timeout`.
    pub fn losses_in_words(&self) -> String {
        if self.losses.is_empty() {
            return "none".to_owned();
        }
        let words = self.losses.iter().map(|(kind, count)| format!("{count} × {kind}"));
        words.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn begin(&mut self) {
        self.sent += 1;
        self.in_flight += 1;
    }

    pub(super) fn end(&mut self) {
        self.in_flight -= 1;
    }

    /// Called while load is full; `others` are in flight at this instant.
    pub(super) fn note_in_flight(&mut self) {
        let now = self.in_flight;
        self.in_flight_min = Some(self.in_flight_min.map_or(now, |least| least.min(now)));
    }

    pub(super) fn lose(&mut self, kind: String) {
        self.lost += 1;
        *self.losses.entry(kind).or_default() += 1;
    }

    pub(super) fn answer(&mut self, release: &str, at_ns: u64, took: Duration) {
        self.ok += 1;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(us);
        if !self.releases.contains_key(release) {
            self.releases.insert(release.to_owned(), Seen { answers: 0, first_at_ns: at_ns });
        }
        if let Some(seen) = self.releases.get_mut(release) {
            seen.answers += 1;
            seen.first_at_ns = seen.first_at_ns.min(at_ns);
        }
    }
}
