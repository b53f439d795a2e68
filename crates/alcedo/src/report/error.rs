//! Errors as people and programs see them: what failed, what to type, and the exit code.

use super::ended::exit;
use crate::api::{ErrorBody, Failed};
use crate::transport::CallError;
use alcedo_core::config::ConfigErrors;

/// Any error of a verb, with its code and exit.
pub(crate) fn failed(error: &anyhow::Error) -> Failed {
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.clone();
    }
    if let Some(error) = error.downcast_ref::<CallError>() {
        return call(error);
    }
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        return config(errors);
    }
    plain("failed", format!("failed to {error:#}"), exit::FAILED)
}

fn call(error: &CallError) -> Failed {
    match error {
        CallError::Refused(failed) => failed.clone(),
        CallError::Unreached { hint, .. } => {
            let message = format!("failed to {error}");
            let usual = "a deploy that had started goes on; alcedo status says how it stands";
            let hint = hint.clone().unwrap_or_else(|| usual.to_owned());
            Failed { hint: Some(hint), ..plain("unreached", message, exit::UNREACHED) }
        }
        CallError::Version { whom, .. } => {
            let hint = if whom.starts_with("the daemon at ") {
                "stop the older daemon: it is started again by itself with this version"
            } else {
                "put the same version of alcedo on both machines"
            };
            Failed {
                hint: Some(hint.to_owned()),
                ..plain("version", format!("failed to {error}"), exit::FAILED)
            }
        }
        CallError::Unread { .. } => {
            let hint = "the daemon may be of another build than this program; stop it, and it starts again";
            let failed = plain("unread", format!("failed to {error}"), exit::FAILED);
            Failed { hint: Some(hint.to_owned()), ..failed }
        }
    }
}

/// The whole text is the message: place, line, the underlined part, the nearest key.
fn config(errors: &ConfigErrors) -> Failed {
    let first = errors.errors.first();
    Failed {
        file: first.map(|e| e.file.clone()),
        line: first.and_then(|e| e.place.as_ref()).map(|place| place.line),
        ..plain("config", errors.to_string(), exit::USAGE)
    }
}

fn plain(code: &str, message: String, exit: u8) -> Failed {
    Failed { code: code.to_owned(), message, file: None, line: None, hint: None, exit }
}

/// `{"error":{…}}`.
pub(crate) fn json(failed: &Failed) -> String {
    let body = ErrorBody { error: failed.clone() };
    let mut value = serde_json::to_value(body).unwrap_or_default();
    if let Some(error) = value.get_mut("error").and_then(serde_json::Value::as_object_mut) {
        error.remove("exit");
    }
    value.to_string()
}

/// Lines for people: the message, then what to type.
pub(crate) fn lines(failed: &Failed, flags: &str) -> Vec<String> {
    let mut lines: Vec<String> = sentence(&failed.message).lines().map(str::to_owned).collect();
    if let Some(hint) = &failed.hint {
        let is_command = hint.starts_with("alcedo ") && !hint.contains([',', ';', '(']);
        // The flags that named an unknown app lead nowhere.
        let flags =
            if is_command && !failed.message.starts_with("no app called") { flags } else { "" };
        lines.push(format!("Hint:  {hint}{flags}"));
    }
    lines
}

/// Begins with a capital letter, unless it begins with a name or a path.
fn sentence(text: &str) -> String {
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let is_word = first_word.chars().all(|c| c.is_ascii_lowercase() || c == ',');
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if is_word => format!("{}{}", first.to_ascii_uppercase(), chars.as_str()),
        Some(_) | None => text.to_owned(),
    }
}
