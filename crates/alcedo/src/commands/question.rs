//! Questions: only on a terminal, once, and each says which flag answers it next time.

use crate::report::Reporter;
use std::io::{self, BufRead, IsTerminal, Write};

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Anything but `y` or `yes` is no.
pub(crate) fn ask(reporter: &mut Reporter, text: &str) -> bool {
    let shown = reporter.ink.text(text).into_owned();
    let _ = write!(reporter.paper.words, "{shown} [y/N] ");
    let _ = reporter.paper.words.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}
