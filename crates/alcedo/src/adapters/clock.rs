//! The only file that reads a clock: boot time for limits and order, wall time for people.
//!
//! Nothing is ever decided from wall time: a clock set back changes a text and no deadline.

#![allow(clippy::disallowed_methods, reason = "this is the one file that reads a clock")]

use crate::engine::ports::Millis;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// Now, on the boot clock.
pub(crate) fn now() -> Millis {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    Millis(seconds.saturating_mul(1000).saturating_add(rest))
}

/// Now, on the boot clock, in microseconds: for measuring what takes less than a millisecond.
pub(crate) fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1000)
}

/// Time left until `deadline`; zero when it has passed.
pub(crate) fn left(deadline: Millis) -> Duration {
    deadline.since(now())
}

/// Wall time as RFC 3339 in UTC with milliseconds: `2026-11-20T19:14:05.123Z`.
pub(crate) fn wall() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Identity of this boot: pids and boot time mean nothing in another one. Empty when the kernel does not tell.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_does_not_run_backwards() {
        let first = now();
        assert!(now() >= first);
        assert_eq!(left(first), Duration::ZERO);
    }

    #[test]
    fn wall_time_is_rfc_3339() {
        let text = wall();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert_eq!(text.len(), "2026-11-20T19:14:05.123Z".len());
    }
}
