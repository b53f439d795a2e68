//! Counters of one target, one [`Shard`] for each worker so that no request waits for another thread's cache line.
//!
//! Only the owning worker writes a shard; whoever asks adds them up.

use crate::control::wire::TargetTraffic;
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different failing `METHOD path status` that a shard tells apart.
const WORST_KEPT: usize = 100;
/// Of these, how many are told.
const WORST_TOLD: usize = 10;
/// Longest path told, in bytes.
const PATH_BYTES: usize = 120;
/// Longest time told apart, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// What one worker counted of one target.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    in_flight: AtomicU64,
    streams: AtomicU64,
    tunnels: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    classes: [AtomicU64; 5],
    latency: Mutex<Option<Box<Histogram<u32>>>>,
    worst: Mutex<Vec<(String, u64)>>,
}

impl Shard {
    /// A request begins. Sequentially consistent: see `Service::publish`.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    /// It ended.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Requests not yet ended, tunnels not counted.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Event streams, which are in flight, too.
    pub(crate) fn streams(&self) -> &AtomicU64 {
        &self.streams
    }

    /// Upgraded connections.
    pub(crate) fn tunnels(&self) -> &AtomicU64 {
        &self.tunnels
    }

    /// A request was answered with `status`, its first byte after `latency_us`.
    pub(crate) fn answered(&self, status: u16, latency_us: u64) {
        self.turned_away(status);
        let mut latency = lock(&self.latency);
        let histogram = latency.get_or_insert_with(|| Box::new(new_histogram()));
        histogram.saturating_record(latency_us.clamp(1, LATENCY_MAX_US));
    }

    /// A request was answered with `status` in the target's place; it says nothing about its latency.
    pub(crate) fn turned_away(&self, status: u16) {
        add_one(&self.requests);
        if status >= 500 {
            add_one(&self.errors);
        }
        if let Some(class) = self.classes.get(usize::from(status / 100).wrapping_sub(1)) {
            add_one(class);
        }
    }

    /// An answer broke off after its head had been counted.
    pub(crate) fn broke_off(&self) {
        add_one(&self.errors);
    }

    /// A request failed with `status`. When too many different ones failed, the rarest makes room and its count stays,
    /// so that a count is never too small ("space saving").
    pub(crate) fn failed(&self, method: &str, path: &str, status: u16) {
        let path = path.get(..PATH_BYTES).unwrap_or(path);
        let key = format!("{method} {path} {status}");
        let mut worst = lock(&self.worst);
        if let Some((_, count)) = worst.iter_mut().find(|(known, _)| *known == key) {
            *count += 1;
        } else if worst.len() < WORST_KEPT {
            worst.push((key, 1));
        } else if let Some(rarest) = worst.iter_mut().min_by_key(|(_, count)| *count) {
            *rarest = (key, rarest.1 + 1);
        }
    }
}

/// Adds up the shards of a target; `traffic` may hold those of an earlier turn of it.
pub(crate) fn add_up(traffic: &mut TargetTraffic, shards: &[Shard]) {
    let mut latency = new_histogram();
    let mut worst: HashMap<String, u64> = traffic.worst.drain(..).collect();
    for shard in shards {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        traffic.requests += read(&shard.requests);
        traffic.errors += read(&shard.errors);
        for (sum, class) in traffic.classes.iter_mut().zip(&shard.classes) {
            *sum += read(class);
        }
        if let Some(part) = lock(&shard.latency).as_deref() {
            latency.add(part).expect("both hold the same range");
        }
        for (key, count) in lock(&shard.worst).iter() {
            *worst.entry(key.clone()).or_default() += count;
        }
    }
    [traffic.p50_us, traffic.p95_us, traffic.p99_us] =
        [0.50, 0.95, 0.99].map(|quantile| latency.value_at_quantile(quantile));
    traffic.worst = worst.into_iter().collect();
    traffic.worst.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    traffic.worst.truncate(WORST_TOLD);
}

/// Adds what is under way on the shards.
pub(crate) fn add_under_way(traffic: &mut TargetTraffic, shards: &[Shard]) {
    for shard in shards {
        traffic.in_flight += shard.in_flight();
        traffic.streams += shard.streams.load(Ordering::SeqCst);
        traffic.tunnels += shard.tunnels.load(Ordering::SeqCst);
    }
}

/// One per cent exact; grows with the values, at most some 12 KB.
fn new_histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("the bounds are fine")
}

/// Not a read-modify-write: the shard has one writer.
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// The value even when a thread died with the lock: counters cannot be half.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up() {
        let shards = [Shard::default(), Shard::default()];
        for latency_us in 1..=100 {
            shards[latency_us % 2].answered(200, latency_us as u64);
        }
        shards[0].answered(502, 3_000);
        shards[0].failed("GET", "/a", 502);
        shards[1].failed("GET", "/a", 502);
        shards[1].enter();
        let mut traffic = TargetTraffic::default();
        add_up(&mut traffic, &shards);
        add_under_way(&mut traffic, &shards);
        assert_eq!((traffic.requests, traffic.errors, traffic.in_flight), (101, 1, 1));
        assert_eq!(traffic.classes, [0, 100, 0, 0, 1]);
        assert_eq!(traffic.worst, [("GET /a 502".to_owned(), 2)]);
        assert!((49..=52).contains(&traffic.p50_us), "{traffic:?}");
        assert_eq!(traffic.p99_us, 100);
        let slow = Shard::default();
        slow.answered(200, 200_000);
        let mut traffic = TargetTraffic::default();
        add_up(&mut traffic, &[slow]);
        assert!((198_000..=202_000).contains(&traffic.p50_us), "{traffic:?}");
    }

    #[test]
    fn many_different_failures_stay_bounded() {
        let shard = Shard::default();
        for n in 0..1000 {
            shard.failed("GET", &format!("/{n}"), 500);
            shard.failed("GET", "/often", 500);
        }
        let mut traffic = TargetTraffic::default();
        add_up(&mut traffic, &[shard]);
        assert_eq!(traffic.worst[0].0, "GET /often 500");
        assert_eq!(traffic.worst.len(), 10);
    }
}
