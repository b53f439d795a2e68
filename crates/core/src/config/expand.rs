//! Fills in what a command line leaves open: `{port} {socket} {slot} {release}` and `$NAME` (S3-6, S3-7).

use super::command::variable;
use crate::names::ReleaseId;
use crate::slot::Slot;
use std::collections::BTreeMap;

/// What can be filled in.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// `{port}`.
    pub port: Option<u16>,
    /// `{socket}`, an absolute path.
    pub socket: Option<&'a str>,
    /// `{slot}`.
    pub slot: Slot,
    /// `{release}`.
    pub release: &'a ReleaseId,
    /// `$NAME`: the environment that the process gets.
    pub env: &'a BTreeMap<String, String>,
}

/// Why a word cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The environment of the process has no such variable.
    #[error(
        "replace `${name}` in `{word}`: the app's environment has no `{name}`; add it to [env]"
    )]
    UnknownName {
        /// The variable.
        name: String,
        /// The word of the command it stands in.
        word: String,
    },
    /// `{port}` without a port.
    #[error("replace `{{port}}` in `{word}`: the process listens on a socket, not on a port")]
    NoPort {
        /// The word of the command it stands in.
        word: String,
    },
    /// `{socket}` without a socket.
    #[error("replace `{{socket}}` in `{word}`: the process has no socket")]
    NoSocket {
        /// The word of the command it stands in.
        word: String,
    },
}

/// The argument list for one slot: as many words as the command has, whatever is filled in. What is filled in is not
/// looked at again; other braces stay.
pub fn expand(command: &[String], names: &Names<'_>) -> Result<Vec<String>, ExpandError> {
    command.iter().map(|word| expand_word(word, names)).collect()
}

fn expand_word(word: &str, names: &Names<'_>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find(['$', '{']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match rest.strip_prefix('$') {
            Some(after) => 1 + dollar(after, word, names, &mut out)?,
            None => brace(rest, word, names, &mut out)?,
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Ok(out)
}

/// What follows a dollar sign; gives the length of what was taken.
fn dollar(
    after: &str,
    word: &str,
    names: &Names<'_>,
    out: &mut String,
) -> Result<usize, ExpandError> {
    let Some((name, length)) = variable(after) else {
        out.push('$');
        return Ok(usize::from(after.starts_with('$')));
    };
    let Some(value) = names.env.get(name) else {
        return Err(ExpandError::UnknownName { name: name.to_owned(), word: word.to_owned() });
    };
    out.push_str(value);
    Ok(length)
}

/// What follows from an opening brace on; gives the length of what was taken.
fn brace(
    rest: &str,
    word: &str,
    names: &Names<'_>,
    out: &mut String,
) -> Result<usize, ExpandError> {
    const PORT: &str = "{port}";
    const SOCKET: &str = "{socket}";
    const SLOT: &str = "{slot}";
    const RELEASE: &str = "{release}";
    let word = || word.to_owned();
    if rest.starts_with(PORT) {
        let port = names.port.ok_or_else(|| ExpandError::NoPort { word: word() })?;
        out.push_str(&port.to_string());
        Ok(PORT.len())
    } else if rest.starts_with(SOCKET) {
        out.push_str(names.socket.ok_or_else(|| ExpandError::NoSocket { word: word() })?);
        Ok(SOCKET.len())
    } else if rest.starts_with(SLOT) {
        out.push_str(names.slot.as_str());
        Ok(SLOT.len())
    } else if rest.starts_with(RELEASE) {
        out.push_str(names.release.as_str());
        Ok(RELEASE.len())
    } else {
        out.push('{');
        Ok(1)
    }
}
