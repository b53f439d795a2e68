//! Questions: only on a terminal, once, and each says which flag answers it next time.

use crate::report::Reporter;
use std::io::{self, BufRead, IsTerminal, Write};

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Anything but `y` or `yes` is no.
pub(crate) fn ask(reporter: &mut Reporter, text: &str) -> bool {
    let answer = ask_word(reporter, &format!("{text} [y/N]"));
    ["y", "yes"].contains(&answer.to_ascii_lowercase().as_str())
}

/// What is typed; nothing when nothing can be read.
pub(crate) fn ask_word(reporter: &mut Reporter, text: &str) -> String {
    let shown = reporter.ink.text(text).into_owned();
    let _ = write!(reporter.paper.words, "{shown} ");
    let _ = reporter.paper.words.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map(|_| answer.trim().to_owned()).unwrap_or_default()
}
