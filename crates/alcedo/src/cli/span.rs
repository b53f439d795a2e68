//! Lengths of time as people type them: `30s`, `15m`, `2h`, `500ms`.

use std::time::Duration;

/// Reads a length of time with its unit.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a length of time: write it like 30s, 15m or 2h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_needs_its_unit() {
        assert_eq!(span("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert!(span("15").is_err());
        assert!(span("m").is_err());
        assert!(span("99999999999999999h").is_err());
    }
}
