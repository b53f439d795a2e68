//! Folding to a width. Words, and so ids, paths and commands' parts, are never cut.

/// The widest that text gets, in columns.
pub(crate) const WIDEST: usize = 93;
/// Where nobody says how wide it is.
pub(crate) const USUAL: usize = 80;
/// Narrower than this is not folded any further.
pub(crate) const NARROWEST: usize = 40;

/// Lines of at most `width` columns; a longer word has a line of its own.
pub(crate) fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let fits = columns(line) + 1 + columns(word) <= width;
        if line.is_empty() {
            line.push_str(word);
        } else if fits {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Folds what comes after `head`; further lines are indented below it.
pub(crate) fn hang(head: &str, text: &str, width: usize) -> String {
    let indent = columns(head);
    let lines = fold(text, width.saturating_sub(indent).max(20));
    format!("{head}{}", lines.join(&format!("\n{:indent$}", "")))
}

/// Folds a paragraph, keeping its own indent.
pub(crate) fn paragraph(text: &str, width: usize) -> String {
    let indent = text.len() - text.trim_start_matches(' ').len();
    if columns(text) <= width || is_whole(text) {
        return text.to_owned();
    }
    hang(&text[..indent], &text[indent..], width)
}

/// What is live, for `tail -1`, and a command to paste: the terminal may wrap them, nobody breaks them.
fn is_whole(text: &str) -> bool {
    let command = text
        .split_once(':')
        .is_some_and(|(head, rest)| head.len() < 12 && rest.trim_start().starts_with("alcedo "));
    command || text.starts_with("Live: ")
}

/// Columns that a text takes; every character counts one.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_folds_at_spaces_and_never_within_a_word() {
        let id = "r20261120-191405-4be1c07+dirty";
        assert_eq!(fold(&format!("a bb {id} c"), 10), ["a bb", id, "c"]);
        assert_eq!(
            hang("  Next  ", "one two three four five six", 28),
            "  Next  one two three four\n        five six"
        );
    }

    #[test]
    fn what_is_live_and_what_is_pasted_stay_on_one_line() {
        for line in [
            "Live: green r20261120-191405-4be1c07, https://api.example.com, back since 20:14:15 CET",
            "Again: alcedo deploy r20261120-191405-4be1c07 -a api -e staging",
        ] {
            assert_eq!(paragraph(line, 40), line);
        }
    }

    #[test]
    fn a_paragraph_keeps_its_indent_and_its_inner_spaces() {
        assert_eq!(paragraph("  a   b", 80), "  a   b");
        assert_eq!(
            paragraph("    aaaaaaaaaa bbbbbbbbbb cccccccccc", 28),
            "    aaaaaaaaaa bbbbbbbbbb\n    cccccccccc"
        );
    }
}
