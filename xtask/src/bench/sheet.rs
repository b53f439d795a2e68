//! Figures as they are measured: a table for people, one JSON object a line for programs.

use serde::Serialize;

/// One measured figure. The field names are a contract with whoever parses `--json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) bench: String,
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) wanted: String,
    pub(super) met: bool,
    pub(super) n: u64,
    pub(super) how: String,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// At most this.
    AtMost(f64),
    /// Less than this.
    Under(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing is promised; it stands beside another figure.
    Shown,
}

/// All figures of one run.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Fewer rounds are wanted.
    pub(super) quick: bool,
    is_json: bool,
    bench: &'static str,
    pub(super) figures: Vec<Figure>,
}

impl Sheet {
    pub(super) fn new(quick: bool, is_json: bool) -> Self {
        Self { quick, is_json, bench: "", figures: Vec::new() }
    }

    /// The figures that follow belong to this bench.
    pub(super) fn begin(&mut self, bench: &'static str) {
        self.bench = bench;
    }

    /// `full`, or less with `--quick`.
    pub(super) fn rounds(&self, full: u32, quick: u32) -> u32 {
        if self.quick { quick } else { full }
    }

    /// What goes on, for people only.
    pub(super) fn progress(&self, text: &str) {
        eprintln!("  .. {}: {text}", self.bench);
    }

    /// One more figure, from `n` measurements, with how it was measured.
    pub(super) fn put(
        &mut self,
        figure: &str,
        value: f64,
        unit: &'static str,
        wanted: Wanted,
        n: u64,
        how: &str,
    ) {
        let value = (value * 1000.0).round() / 1000.0;
        let figure = Figure {
            bench: self.bench.to_owned(),
            figure: figure.to_owned(),
            value,
            unit,
            wanted: wanted.to_string(),
            met: wanted.is_met(value),
            n,
            how: how.to_owned(),
        };
        if self.is_json {
            println!("{}", serde_json::to_string(&figure).expect("plain fields"));
        }
        self.figures.push(figure);
    }

    /// Shows the table of the bench.
    pub(super) fn end(&self) {
        if self.is_json {
            return;
        }
        println!("\n{}", self.bench);
        for figure in self.figures.iter().filter(|figure| figure.bench == self.bench) {
            let met = if figure.met { "ok  " } else { "MISS" };
            let value = format!("{} {}", number(figure.value), figure.unit);
            println!("  {met} {:<58} {value:>18}  wanted {}", figure.figure, figure.wanted);
            println!("       n = {}; {}", figure.n, figure.how);
        }
    }
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::Under(limit) => value < limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Shown => true,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) if *limit == 0.0 => f.write_str("0"),
            Self::AtMost(limit) => write!(f, "at most {}", number(*limit)),
            Self::Under(limit) => write!(f, "under {}", number(*limit)),
            Self::AtLeast(limit) => write!(f, "at least {}", number(*limit)),
            Self::Shown => f.write_str("-"),
        }
    }
}

/// Three digits are enough for anything measured here; counts are whole.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The median; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The smallest value that `share` of the values do not exceed (nearest rank); 0 of nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small counts"
)]
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=50).map(f64::from).collect();
        assert_eq!(
            (median(&values), quantile(&values, 0.95), quantile(&values, 0.99)),
            (25.0, 48.0, 50.0)
        );
    }
}
