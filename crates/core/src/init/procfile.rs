//! `Procfile`: the line that says how the web process starts, as its author wrote it.

use super::command::as_command;
use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;

/// The `web` line replaces what was guessed of the language; other processes are told.
pub(super) fn apply(dir: &Directory, draft: &mut Draft) {
    for (name, command, line) in processes(dir) {
        let from = format!("Procfile:{line}");
        if name == "web" {
            draft.set("web.command", as_command(&command), from);
        } else {
            let message =
                format!("`{name}` ({from}) is another process: workers are not in this version");
            draft.note(
                "process.other",
                Severity::Info,
                &from,
                &message,
                "keep it running as it does now",
            );
        }
    }
}

/// Nothing but the file's own: for what no language is known of. `None`: it has no `web` line.
pub(super) fn draft(dir: &Directory) -> Option<Draft> {
    processes(dir).iter().find(|(name, ..)| name == "web")?;
    Draft::new("A Procfile's web process", "", &dir.name)
}

fn processes(dir: &Directory) -> Vec<(String, String, usize)> {
    let text = dir.text("Procfile").unwrap_or_default();
    let one = |(at, line): (usize, &str)| {
        let (name, command) = line.split_once(':')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let (name, command) = (name.trim(), command.trim());
        let fits = !name.is_empty() && name.chars().all(is_name) && !command.is_empty();
        fits.then(|| (name.to_owned(), command.to_owned(), at + 1))
    };
    text.lines().enumerate().filter_map(one).collect()
}
