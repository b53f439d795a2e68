//! The access log that our site has nginx write: one JSON line a request, counted by slot.
//!
//! Rotated here: renamed when it is too long, then nginx is told to open it anew. (`open_log_file_cache` could notice a
//! new file by itself, but it only works for names with variables, costs a lookup with each request, and caps nothing.)

use super::record::LogPosition;
use crate::engine::ports::Traffic;
use alcedo_core::Slot;
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// It is rotated above this; one older file is kept.
pub(super) const LENGTH_MAX: u64 = 32 << 20;
/// Different failing `METHOD path status` that are told apart, and how many of them are told.
const WORST_KEPT: usize = 200;
const WORST_TOLD: usize = 10;
/// Longest time told apart, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counts what the log says, from where it had been read to.
#[derive(Default)]
pub(super) struct Reader {
    read_to: BTreeMap<u64, u64>,
    counts: BTreeMap<Slot, Count>,
}

struct Count {
    requests: u64,
    errors: u64,
    latency: Histogram<u32>,
    worst: BTreeMap<String, u64>,
}

impl Default for Count {
    fn default() -> Self {
        let mut latency = Histogram::new(2).expect("two digits are fine");
        latency.auto(true);
        Self { requests: 0, errors: 0, latency, worst: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
struct Line {
    slot: String,
    status: String,
    first: String,
    took: f64,
    method: String,
    path: String,
}

impl Reader {
    /// Takes what was written since; a slot's requests count from `since` on.
    pub(super) fn poll(&mut self, log: &Path, since: &BTreeMap<Slot, LogPosition>) {
        let files = [older(log), log.to_owned()];
        let inodes: Vec<Option<u64>> =
            files.iter().map(|f| fs::metadata(f).ok().map(|m| m.ino())).collect();
        self.read_to.retain(|inode, _| inodes.contains(&Some(*inode)));
        for (at, (file, inode)) in files.iter().zip(&inodes).enumerate() {
            if let Some(inode) = inode {
                let newer = inodes.get(at + 1).copied().flatten();
                self.read(file, *inode, newer, since);
            }
        }
    }

    fn read(
        &mut self,
        file: &Path,
        inode: u64,
        newer: Option<u64>,
        since: &BTreeMap<Slot, LogPosition>,
    ) {
        let from = self.read_to.get(&inode).copied().unwrap_or(0);
        let Ok(mut opened) = File::open(file) else { return };
        if opened.seek(SeekFrom::Start(from)).is_err() {
            return;
        }
        let mut reader = BufReader::with_capacity(1 << 16, opened);
        let (mut at, mut line) = (from, Vec::new());
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(n) if n > 0 && line.last() == Some(&b'\n') => {
                    self.take(&line, LogPosition { inode, offset: at }, newer, since);
                    at += n as u64;
                }
                // The rest of a line comes with the next look.
                Ok(_) | Err(_) => break,
            }
        }
        self.read_to.insert(inode, at);
    }

    fn take(
        &mut self,
        line: &[u8],
        at: LogPosition,
        newer: Option<u64>,
        since: &BTreeMap<Slot, LogPosition>,
    ) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { return };
        let (Ok(slot), Ok(status)) = (line.slot.parse::<Slot>(), line.status.parse::<u16>()) else {
            return;
        };
        let is_before = since.get(&slot).is_some_and(|since| {
            (since.inode == at.inode && at.offset < since.offset) || newer == Some(since.inode)
        });
        if !is_before {
            self.counts.entry(slot).or_default().add(&line, status);
        }
    }

    /// Begins anew for a slot that gets traffic now.
    pub(super) fn reset(&mut self, slot: Slot) {
        self.counts.remove(&slot);
    }

    /// What was counted for a slot; what is under way is the caller's to add.
    pub(super) fn traffic(&self, slot: Slot, target: &str) -> Traffic {
        let Some(count) = self.counts.get(&slot) else {
            return Traffic { target: target.to_owned(), ..Traffic::default() };
        };
        let mut worst: Vec<(String, u64)> =
            count.worst.iter().map(|(k, n)| (k.clone(), *n)).collect();
        worst.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        worst.truncate(WORST_TOLD);
        Traffic {
            target: target.to_owned(),
            requests: count.requests,
            errors: count.errors,
            in_flight: 0,
            tunnels: 0,
            p50_us: count.latency.value_at_quantile(0.5),
            p95_us: count.latency.value_at_quantile(0.95),
            worst,
        }
    }
}

impl Count {
    fn add(&mut self, line: &Line, status: u16) {
        self.requests += 1;
        // Upgraded connections are logged when they end: their length is nobody's latency.
        if status != 101 {
            // `saturating_record` would not let the histogram grow.
            let _ = self.latency.record(first_byte_us(line).clamp(1, LATENCY_MAX_US));
        }
        if status >= 500 {
            self.errors += 1;
            let key = format!("{} {} {status}", line.method, line.path);
            if self.worst.contains_key(&key) || self.worst.len() < WORST_KEPT {
                *self.worst.entry(key).or_default() += 1;
            }
        }
    }
}

/// nginx says `0.004`, or `0.000, 0.004` when it tried twice; without an upstream, the whole time.
fn first_byte_us(line: &Line) -> u64 {
    let last = line.first.rsplit([',', ':']).next().unwrap_or("").trim();
    let seconds = last.parse::<f64>().unwrap_or(line.took);
    u64::try_from(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_micros())
        .unwrap_or(u64::MAX)
}

/// Where the log stands now.
pub(super) fn position(log: &Path) -> LogPosition {
    fs::metadata(log).map_or(LogPosition { inode: 0, offset: 0 }, |meta| LogPosition {
        inode: meta.ino(),
        offset: meta.len(),
    })
}

/// Whether it is time.
pub(super) fn is_long(log: &Path) -> bool {
    fs::metadata(log).is_ok_and(|meta| meta.len() > LENGTH_MAX)
}

/// Renames it; nginx writes into the renamed one until it is told to open its logs anew.
pub(super) fn rename(log: &Path) -> std::io::Result<()> {
    fs::rename(log, older(log))
}

fn older(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slot: &str, status: u16, first: &str) -> String {
        format!(
            "{{\"at\":1.000,\"slot\":\"{slot}\",\"status\":\"{status}\",\"first\":\"{first}\",\"took\":0.5,\"upstream\":\"u\",\"method\":\"GET\",\"path\":\"/a\"}}\n"
        )
    }

    #[test]
    fn requests_are_counted_by_slot_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let (mut reader, since) = (Reader::default(), BTreeMap::new());
        fs::write(&log, line("blue", 200, "0.004") + &line("green", 502, "-") + "{\"half").unwrap();
        reader.poll(&log, &since);
        rename(&log).unwrap();
        fs::write(&log, line("blue", 200, "0.001, 0.008")).unwrap();
        reader.poll(&log, &since);
        reader.poll(&log, &since);
        let blue = reader.traffic(Slot::Blue, "d1-blue");
        assert_eq!((blue.requests, blue.errors), (2, 0));
        assert!((3_900..=4_100).contains(&blue.p50_us), "{blue:?}");
        assert!((7_800..=8_200).contains(&blue.p95_us), "{blue:?}");
        let green = reader.traffic(Slot::Green, "d2-green");
        assert_eq!((green.requests, green.errors), (1, 1));
        assert_eq!(green.worst, [("GET /a 502".to_owned(), 1)]);
    }

    #[test]
    fn after_a_restart_a_slot_counts_from_its_switch_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        fs::write(&log, line("green", 200, "0.001")).unwrap();
        let since = BTreeMap::from([(Slot::Green, position(&log))]);
        fs::write(&log, line("green", 200, "0.001") + &line("green", 500, "0.001")).unwrap();
        let mut reader = Reader::default();
        reader.poll(&log, &since);
        assert_eq!(reader.traffic(Slot::Green, "g").requests, 1);
        rename(&log).unwrap();
        fs::write(&log, line("green", 200, "0.001")).unwrap();
        let mut reader = Reader::default();
        reader.poll(&log, &since);
        assert_eq!(reader.traffic(Slot::Green, "g").requests, 2);
    }

    #[test]
    fn lines_that_are_not_ours_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        fs::write(&log, "\u{0}\n{}\n[]\n\"x\"\n".to_owned() + &line("", 400, "-")).unwrap();
        let mut reader = Reader::default();
        reader.poll(&log, &BTreeMap::new());
        assert_eq!(
            reader.traffic(Slot::Blue, "b"),
            Traffic { target: "b".into(), ..Traffic::default() }
        );
    }
}
