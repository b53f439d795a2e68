//! Durations (`"200ms"`, `"10m"`) and sizes (`"256MiB"`): one whole number and one unit.

use super::{Complaint, Syntax, quote};
use std::time::Duration;

const MS_PER: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const BYTES_PER: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// Longest duration; whoever means more means for ever.
const MS_MAX: u64 = 366 * 86_400_000;
const FOREVER: &str = "forever";

/// A duration with its unit; `"0s"` is "none".
pub(in super::super) enum Time {}

impl Syntax for Time {
    type Value = Duration;
    const FORMAT: &'static str = "alcedo-duration";
    const WHAT: &'static str = "a duration like \"30s\"";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(ms|s|m|h|d)$");

    fn parse(text: &str) -> Result<Duration, Complaint> {
        if text == FOREVER {
            return Err(Complaint::new("cannot be \"forever\"").hint("only `bake.keep_warm` can"));
        }
        let ms = scaled(text, &MS_PER, "ms, s, m, h or d", "s")?;
        if ms > MS_MAX {
            return Err(Complaint::new("is longer than 366 days"));
        }
        Ok(Duration::from_millis(ms))
    }
}

/// A duration, or `"forever"` (`None`).
pub(in super::super) enum KeepWarm {}

impl Syntax for KeepWarm {
    type Value = Option<Duration>;
    const FORMAT: &'static str = "alcedo-duration-or-forever";
    const WHAT: &'static str = "a duration like \"30m\" or \"forever\"";
    const PATTERN: Option<&'static str> = Some("^([0-9]+(ms|s|m|h|d)|forever)$");

    fn parse(text: &str) -> Result<Option<Duration>, Complaint> {
        if text == FOREVER { Ok(None) } else { Time::parse(text).map(Some) }
    }
}

/// A number of bytes with its unit.
pub(in super::super) enum Size {}

impl Syntax for Size {
    type Value = u64;
    const FORMAT: &'static str = "alcedo-size";
    const WHAT: &'static str = "a size like \"256MiB\"";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(B|KiB|MiB|GiB|TiB)$");

    fn parse(text: &str) -> Result<u64, Complaint> {
        let bytes = scaled(text, &BYTES_PER, "B, KiB, MiB, GiB or TiB", "MiB")?;
        if bytes == 0 {
            return Err(Complaint::new("is nothing").hint("a size above zero"));
        }
        Ok(bytes)
    }
}

/// The shortest text that parses to this duration (whole milliseconds).
pub(in super::super) fn time_text(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 { "0s".to_owned() } else { largest_unit(ms, &MS_PER) }
}

/// The shortest text that parses to this size.
pub(in super::super) fn size_text(bytes: u64) -> String {
    largest_unit(bytes, &BYTES_PER)
}

fn largest_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, scale)| number.is_multiple_of(*scale));
    let (unit, scale) = fits.expect("the last unit is 1");
    format!("{}{unit}", number / scale)
}

fn scaled(
    text: &str,
    units: &[(&str, u64)],
    words: &str,
    likely_unit: &str,
) -> Result<u64, Complaint> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        let problem = format!("is {}, not a number with its unit", quote(text));
        return Err(Complaint::new(problem).hint(format!("for example \"30{likely_unit}\"")));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(number, unit, units, words, likely_unit));
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*scale));
    number.ok_or_else(|| Complaint::new("is a number too large to be meant"))
}

fn unknown_unit(
    number: &str,
    unit: &str,
    units: &[(&str, u64)],
    words: &str,
    likely_unit: &str,
) -> Complaint {
    if unit.is_empty() {
        return Complaint::new("has no unit").hint(format!("\"{number}{likely_unit}\"?"));
    }
    let meant = units.iter().map(|(name, _)| *name).find(|name| {
        let short = name.strip_suffix("iB").unwrap_or(name);
        let unit = unit.trim();
        unit.eq_ignore_ascii_case(name)
            || unit.eq_ignore_ascii_case(short)
            || unit.eq_ignore_ascii_case(&format!("{short}B"))
            || (name.len() == 1 && *name != "B" && unit.starts_with(name))
    });
    let complaint = Complaint::new(format!("has {} as unit", quote(unit)));
    match meant {
        Some(name) => complaint.hint(format!("\"{number}{name}\"?")),
        None => complaint.hint(format!("units are {words}")),
    }
}
