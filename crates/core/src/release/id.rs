//! Makes release ids: they sort by time and carry the commit, or the content where there is no commit.

use crate::names::{ReleaseId, ReleaseIdError};

/// Letters of the commit or content hash that go into the id.
const TAIL_CHARS: usize = 7;

/// `r<date>-<time UTC>-<commit, else content hash>`, with `+dirty` when `dirty`. `unix_seconds` is when the release
/// is made; times outside the years 1970 to 9999 are moved to the nearest of these.
///
/// # Errors
/// When neither commit nor hash gives at least four lower-case letters and digits.
pub fn release_id(
    unix_seconds: i64,
    commit: Option<&str>,
    content_hash: &str,
    dirty: bool,
) -> Result<ReleaseId, ReleaseIdError> {
    let tail: String = commit.unwrap_or(content_hash).chars().take(TAIL_CHARS).collect();
    let suffix = if dirty { "+dirty" } else { "" };
    ReleaseId::new(format!("r{}-{tail}{suffix}", stamp(unix_seconds)))
}

/// `YYYYMMDD-HHMMSS`, UTC.
fn stamp(unix_seconds: i64) -> String {
    let seconds = unix_seconds.clamp(0, 253_402_300_799);
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01, by counting from 0000-03-01 in eras of 400 years
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_utc_time_and_the_commit() {
        let id = release_id(1_795_201_905, Some("4be1c07d2f00"), "ffff", false).expect("valid");
        assert_eq!(id.as_str(), "r20261120-191145-4be1c07");
        let id = release_id(951_782_400, None, "0123456789abcdef", true).expect("valid");
        assert_eq!(id.as_str(), "r20000229-000000-0123456+dirty");
        assert_eq!(stamp(-5), "19700101-000000");
        assert_eq!(stamp(i64::MAX), "99991231-235959");
    }

    #[test]
    fn ids_sort_by_time() {
        let ids = [0, 59, 60, 86_399, 86_400, 1_795_201_905, 4_102_444_800]
            .map(|at| release_id(at, Some("4be1c07"), "", false).expect("valid"));
        assert!(ids.is_sorted());
    }
}
