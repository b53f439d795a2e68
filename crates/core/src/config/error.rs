//! What is wrong with an `alcedo.toml`, in the words and the shape that the terminal shows.

use std::fmt;
use std::ops::Range;

/// Columns that an error may take; a longer line of the file is shown around the underlined part.
const COLUMNS: usize = 96;
/// More errors than this help nobody; the rest is counted.
const ERRORS_MAX: usize = 50;

/// One thing to correct. `Display` is the whole block: place and message, the line, the underlined text, the hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// Where; `None` when something is missing from the whole file.
    pub place: Option<Place>,
    /// What is wrong; names the key in backticks.
    pub message: String,
    /// What to write instead, or what would be right.
    pub hint: Option<String>,
}

/// A piece of one line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// How many characters are underlined, at least 1.
    pub width: usize,
    /// The whole line; control characters are replaced by spaces.
    pub source: String,
}

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The first 50.
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub more: usize,
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            write!(f, "{}: {}", self.file, self.message)?;
            return self.hint.iter().try_for_each(|hint| write!(f, "\n  {hint}"));
        };
        writeln!(f, "{}:{}: {}", self.file, place.line, self.message)?;
        let number = place.line.to_string();
        let margin = number.len() + 5;
        let (source, start, width) = window(place, COLUMNS - margin.min(COLUMNS / 2));
        writeln!(f, "  {number} | {source}")?;
        let gutter = format!("  {:1$} | ", "", number.len());
        write!(f, "{gutter}{:start$}{}", "", "^".repeat(width))?;
        let Some(hint) = &self.hint else { return Ok(()) };
        if margin + start + width + 1 + hint.chars().count() <= COLUMNS {
            return write!(f, " {hint}");
        }
        let lines = fold(hint, COLUMNS - margin.min(COLUMNS / 2));
        lines.iter().try_for_each(|line| write!(f, "\n{gutter}{line}"))
    }
}

/// Breaks between words; a single longer word stays whole.
fn fold(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The visible part of the line, and the underline's start and width in it.
fn window(place: &Place, columns: usize) -> (String, usize, usize) {
    let chars: Vec<char> = place.source.chars().collect();
    let start = place.column - 1;
    if chars.len() <= columns {
        return (place.source.clone(), start, place.width);
    }
    let width = place.width.min(columns / 2);
    let first = (start + width + 10).saturating_sub(columns).min(start);
    let mut shown: Vec<char> = chars.iter().skip(first).take(columns).copied().collect();
    if first > 0 {
        shown[0] = '…';
    }
    if first + shown.len() < chars.len() {
        *shown.last_mut().expect("columns is not zero") = '…';
    }
    (shown.into_iter().collect(), start - first, width)
}

/// An error before it is given file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Bytes of the text; `None`: the whole file.
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Something is not there. Left out when other findings explain why it may not have been seen.
    pub(super) missing: bool,
}

/// Collects findings of all passes.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, span: &Range<usize>, message: String, hint: Option<String>) {
        self.0.push(Finding { span: Some(span.clone()), message, hint, missing: false });
    }

    pub(super) fn add_missing(
        &mut self,
        span: Option<Range<usize>>,
        message: String,
        hint: Option<String>,
    ) {
        self.0.push(Finding { span, message, hint, missing: true });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With places, without repetitions, in file order.
    pub(super) fn into_errors(mut self, file: &str, text: &str) -> ConfigErrors {
        if self.0.iter().any(|finding| !finding.missing) {
            self.0.retain(|finding| !finding.missing);
        }
        self.0.sort_by(|a, b| {
            let key = |finding: &Finding| finding.span.as_ref().map(|span| span.start);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        self.0.dedup();
        let more = self.0.len().saturating_sub(ERRORS_MAX);
        self.0.truncate(ERRORS_MAX);
        let error = |finding: Finding| ConfigError {
            file: file.to_owned(),
            place: finding.span.map(|span| place(text, &span)),
            message: one_line(&finding.message),
            hint: finding.hint.map(|hint| one_line(&hint)),
        };
        ConfigErrors { errors: self.0.into_iter().map(error).collect(), more }
    }
}

/// Line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn place(text: &str, span: &Range<usize>) -> Place {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let source = one_line(text[line_start..line_end].trim_end());
    let column = text[line_start..start].chars().count() + 1;
    let width = text[start..end.min(line_end).max(start)].trim_end().chars().count().max(1);
    Place { line: line_of(text, start), column, width, source }
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Keeps a hostile file from steering the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
