//! What a client asks for when it connects: `alcedo host VERB [APP]`, and nothing else, ever. Data that is held against a
//! grammar; no part of it is run, and no part of it reaches a shell.

use crate::api::Failed;
use alcedo_core::AppName;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The longest command that is looked at.
const COMMAND_BYTES_MAX: usize = 256;

/// What a client wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    /// Absent: every app of the host.
    pub(super) app: Option<AppName>,
}

macro_rules! verbs {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// A verb that needs the host.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Verb { $($name),* }

        impl Verb {
            /// All of them.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it is typed.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

verbs! {
    Abort = "abort",
    Check = "check",
    Config = "config",
    Deploy = "deploy",
    History = "history",
    Logs = "logs",
    Plan = "plan",
    Preview = "preview",
    Promote = "promote",
    Prune = "prune",
    Releases = "releases",
    Resolve = "resolve",
    Retire = "retire",
    Rollback = "rollback",
    Status = "status",
    Tunnel = "tunnel",
}

impl Verb {
    /// Reads one word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.as_str() == word)
    }
}

impl Request {
    /// Reads what sshd passed on. `alcedo host VERB [APP]`, words apart by one space; the program may have a path.
    pub(super) fn parse(command: &OsStr) -> Result<Self, Failed> {
        let bytes = command.as_bytes();
        let is_fine = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b" -/._".contains(b);
        if bytes.len() > COMMAND_BYTES_MAX || !bytes.iter().all(is_fine) {
            return Err(refused());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [program, "host", ref rest @ ..]
                if program == "alcedo"
                    || (program.starts_with('/') && program.ends_with("/alcedo")) =>
            {
                Self::of(rest)
            }
            _ => Err(refused()),
        }
    }

    /// Reads what a login shell made words of.
    pub(super) fn of_words(words: &[OsString]) -> Result<Self, Failed> {
        let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
        Self::of(&words.ok_or_else(refused)?)
    }

    fn of(words: &[&str]) -> Result<Self, Failed> {
        let (word, app) = match words {
            [word] => (word, None),
            [word, app] => (word, Some(AppName::new(*app).map_err(|_| refused())?)),
            _ => return Err(refused()),
        };
        Ok(Self { verb: Verb::parse(word).ok_or_else(refused)?, app })
    }
}

/// Nothing of what was asked is repeated: it goes to terminals and logs.
fn refused() -> Failed {
    Failed::new(
        "not-allowed",
        "this is for `alcedo` alone: it asks for `alcedo host VERB [APP]`",
        1,
    )
    .hint("alcedo deploy --host USER@HOST")
}

/// `ssh host` without a command.
pub(super) fn nothing_asked() -> Failed {
    Failed::new("not-allowed", "this key opens no shell; it is for `alcedo` alone", 1)
        .hint("alcedo status --host USER@HOST")
}
