//! `init`: from what stands in a directory to a short `alcedo.toml`. What was found says where; what was not found is
//! shown as a comment with what its absence means, and never invented.
//!
//! Pure: names and texts in, a draft and its text out. Only keys that this version accepts: the draft is held against the
//! real parser before anything is written.

mod adopted;
mod command;
mod compiled;
mod directory;
mod draft;
mod health;
mod node;
mod php;
mod procfile;
mod python;
mod render;
mod shared;

pub use adopted::{HandMade, Process, adopt, local_port};
pub use directory::Directory;
pub use draft::{Draft, Setting, State, app_name};
pub use render::render;

use crate::config::{self, Input};
use crate::lint::Severity;

/// Compose files: known, and not run by this version.
const COMPOSE: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Why there is no draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// Nothing that starts a server.
    #[error("find out how this app starts: {saw}")]
    Nothing {
        /// What was seen instead.
        saw: String,
    },
    /// No hand-made set-up that could be taken over.
    #[error("recognize a hand-made set-up: {saw}")]
    NotKnown {
        /// What was seen instead.
        saw: String,
    },
    /// What was found makes no configuration.
    #[error("write a configuration from what was found: {problem}")]
    Refused {
        /// What the parser says.
        problem: String,
    },
}

/// What the directory says.
///
/// # Errors
/// Nothing in it says how the app starts.
pub fn detect(dir: &Directory) -> Result<Draft, InitError> {
    let found = [python::detect, compiled::go, compiled::rust, php::detect, node::detect];
    let mut draft = match found.into_iter().find_map(|detect| detect(dir)) {
        Some(draft) => draft,
        None => procfile::draft(dir).ok_or_else(|| InitError::Nothing { saw: saw(dir) })?,
    };
    procfile::apply(dir, &mut draft);
    shared::find(dir, &mut draft);
    health::find(dir, &mut draft);
    if let Some(file) = dir.first_of(&COMPOSE) {
        draft.note(
            "compose.later",
            Severity::Info,
            file,
            "the compose runner is not in this version: the app runs as a process, and what else is in there goes on as it does",
            "",
        );
    }
    check(&draft)?;
    Ok(draft)
}

/// Holds the text against the parser that will read it.
///
/// # Errors
/// It would not be accepted.
pub fn check(draft: &Draft) -> Result<(), InitError> {
    let text = render(draft);
    let loaded = config::load(Input { text: &text, file: "alcedo.toml", environment: None });
    loaded.map(drop).map_err(|errors| InitError::Refused { problem: errors.to_string() })
}

fn saw(dir: &Directory) -> String {
    if let Some(file) = dir.first_of(&COMPOSE) {
        return format!("{file} is there, and the compose runner is not in this version");
    }
    let known = [
        "package.json",
        "composer.json",
        "pyproject.toml",
        "requirements.txt",
        "go.mod",
        "Cargo.toml",
        "Procfile",
    ];
    match dir.first_of(&known) {
        Some(file) => format!("{file} is there and names nothing that listens"),
        None => "there is no Procfile, package.json, requirements.txt, pyproject.toml, composer.json, go.mod or Cargo.toml".to_owned(),
    }
}

#[cfg(test)]
mod adopted_tests;
#[cfg(test)]
mod tests;
