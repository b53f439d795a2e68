//! What changes in a file, for people.

use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// Unchanged lines shown around changed ones.
const AROUND: usize = 2;
/// Two long texts that have nothing in common are not worth more; a coarser difference is shown then.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lines with `+`, `-` or a space before them; unchanged ones only around changes.
pub(crate) fn lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let groups = diff.grouped_ops(AROUND);
    let changes = groups.iter().flatten().flat_map(|op| diff.iter_changes(op));
    changes
        .map(|change| {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            format!("{sign} {}", change.value().trim_end_matches('\n'))
        })
        .collect()
}

/// As `diff -u` shows it; empty when the texts are the same.
pub(crate) fn unified(name: &str, old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    diff.unified_diff().context_radius(AROUND).header(name, name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_shown_with_what_is_around_it() {
        let old = "a\nb\nc\nd\ne\nf\n";
        let new = "a\nb\nc\nD\ne\nf\n";
        assert_eq!(lines(old, new), ["  b", "  c", "- d", "+ D", "  e", "  f"]);
        assert_eq!(lines("", "x\n"), ["+ x"]);
        assert_eq!(lines("x\n", "x\n"), Vec::<String>::new());
        let unified_text = "--- s\n+++ s\n@@ -2,5 +2,5 @@\n b\n c\n-d\n+D\n e\n f\n";
        assert_eq!(unified("s", old, new), unified_text);
        assert_eq!(unified("s", old, old), "");
    }

    #[test]
    fn long_texts_with_nothing_in_common_are_shown_in_time() {
        let text = |word: &str| (0..40_000).map(|n| format!("{word} {n}\n")).collect::<String>();
        let shown = unified("s", &text("old"), &text("new"));
        assert!(shown.contains("-old 0\n") && shown.contains("+new 39999\n"));
    }
}
