//! Times and lengths of time as people read them: in their own zone, with its name. JSON has UTC instead.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The reader's time zone.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// Of this machine and user (`TZ`).
    pub(crate) fn local() -> Self {
        let zone = TimeZone::system();
        Self(if zone.is_unknown() { TimeZone::UTC } else { zone })
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self(TimeZone::get(name).unwrap())
    }

    /// `20:14:05 CET`.
    pub(crate) fn clock(&self, at: &str) -> String {
        self.format(at, "%H:%M:%S %Z")
    }

    /// `20:14 CET`.
    pub(crate) fn minute(&self, at: &str) -> String {
        self.format(at, "%H:%M %Z")
    }

    /// `20:14`, beside another time that names the zone.
    pub(crate) fn bare_minute(&self, at: &str) -> String {
        self.format(at, "%H:%M")
    }

    /// `20 Nov 20:14 CET`.
    pub(crate) fn day(&self, at: &str) -> String {
        self.format(at, "%-d %b %H:%M %Z")
    }

    /// `Fri 20 Nov 2026, 20:18:24 CET`.
    pub(crate) fn long(&self, at: &str) -> String {
        self.format(at, "%a %-d %b %Y, %H:%M:%S %Z")
    }

    /// What is no time is shown as it came.
    fn format(&self, at: &str, how: &str) -> String {
        let Ok(time) = at.parse::<Timestamp>() else { return at.to_owned() };
        time.to_zoned(self.0.clone()).strftime(how).to_string()
    }
}

/// Seconds from `from` to `to`, both RFC 3339; negative when `to` lies before.
pub(crate) fn seconds_between(from: &str, to: &str) -> Option<i64> {
    let (from, to): (Timestamp, Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    Some(to.duration_since(from).as_secs())
}

/// Milliseconds from `from` to `to`; 0 when `to` lies before.
pub(crate) fn ms_between(from: &str, to: &str) -> u64 {
    let ends = from.parse::<Timestamp>().ok().zip(to.parse::<Timestamp>().ok());
    ends.map_or(0, |(from, to)| u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0))
}

/// `seconds` after `at`.
pub(crate) fn plus_seconds(at: &str, seconds: u64) -> Option<String> {
    let at: Timestamp = at.parse().ok()?;
    let length = jiff::SignedDuration::from_secs(i64::try_from(seconds).ok()?);
    Some(at.checked_add(length).ok()?.to_string())
}

/// What a step took: `80 µs`, `0.4 ms`, `23 ms`, `4.1 s`, `2 min 5 s`.
pub(crate) fn took(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with at most four digits")]
    let ms = us as f64 / 1000.0;
    match ms {
        _ if us > 0 && us < 100 => format!("{us} µs"),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 99.5 => format!("{ms:.0} ms"),
        ms if ms < 119_950.0 => format!("{:.1} s", ms / 1000.0),
        _ => span(us / 1_000_000),
    }
}

/// `38 s`, `6 min 38 s`, `2 h 5 min`.
pub(crate) fn span(seconds: u64) -> String {
    let two = |a: u64, unit_a: &str, b: u64, unit_b: &str| match b {
        0 => format!("{a} {unit_a}"),
        b => format!("{a} {unit_a} {b} {unit_b}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        _ => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
    }
}

/// How long ago, with one unit: `12 s`, `3 min`, `26 h`, `2 d`.
pub(crate) fn age(seconds: i64) -> String {
    match u64::try_from(seconds).unwrap_or(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_local_and_name_their_zone() {
        let zone = Zone::named("Europe/Berlin");
        let at = "2026-11-20T19:14:05.123Z";
        assert_eq!(zone.clock(at), "20:14:05 CET");
        assert_eq!(zone.day(at), "20 Nov 20:14 CET");
        assert_eq!(zone.long(at), "Fri 20 Nov 2026, 20:14:05 CET");
        assert_eq!(zone.minute("2026-07-01T10:00:00Z"), "12:00 CEST");
        assert_eq!(zone.clock("soon"), "soon");
    }

    #[test]
    fn lengths_have_the_unit_that_fits() {
        let shown = [400, 9_960, 99_400, 100_000, 4_100_000, 60_000_000, 125_000_000].map(took);
        assert_eq!(shown, ["0.4 ms", "10 ms", "99 ms", "0.1 s", "4.1 s", "60.0 s", "2 min 5 s"]);
        assert_eq!([0, 1, 43, 99, 100].map(took), ["0.0 ms", "1 µs", "43 µs", "99 µs", "0.1 ms"]);
        assert_eq!([59, 398, 600, 7500].map(span), ["59 s", "6 min 38 s", "10 min", "2 h 5 min"]);
        assert_eq!(
            [-5, 59, 240, 26 * 3600, 50 * 3600].map(age),
            ["0 s", "59 s", "4 min", "26 h", "2 d"]
        );
    }

    #[test]
    fn a_clock_set_back_makes_no_negative_length() {
        assert_eq!(ms_between("2026-11-20T19:14:05Z", "2026-11-20T19:14:04Z"), 0);
        assert_eq!(seconds_between("2026-11-20T19:14:05Z", "2026-11-20T19:15:05Z"), Some(60));
        assert_eq!(
            plus_seconds("2026-11-20T19:14:05Z", 600).as_deref(),
            Some("2026-11-20T19:24:05Z")
        );
    }
}
