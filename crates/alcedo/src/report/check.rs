//! `check` as text.

use super::fold::hang;
use alcedo_core::lint::{Finding, Severity};

/// Findings, the worst first, then what they add up to.
pub(crate) fn check(all: &[Finding], width: usize) -> Vec<String> {
    let mut lines = findings(all, width);
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(sum(all));
    lines
}

/// Each with its reason and its fix.
pub(crate) fn findings(all: &[Finding], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in all {
        let accepted = if finding.accepted { " (accepted)" } else { "" };
        lines.push(hang(
            &format!("{:<9}", finding.severity.word()),
            &format!("{}   {}{accepted}", finding.id, finding.subject),
            width,
        ));
        lines.push(hang("         ", &finding.message, width));
        lines.extend(finding.fix.as_ref().map(|fix| hang("         fix: ", fix, width)));
    }
    lines
}

/// Whether nothing is at error.
pub(crate) fn ok(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| finding.severity == Severity::Error && !finding.accepted)
}

fn sum(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings, notes) =
        (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
    let plural =
        |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    if findings.is_empty() {
        return "Everything is in order.".to_owned();
    }
    let text =
        [plural(errors, "error"), plural(warnings, "warning"), plural(notes, "note")].join(", ");
    if ok(findings) {
        format!("{text}.")
    } else {
        format!("{text}. Mend what is at error before the next deploy.")
    }
}
