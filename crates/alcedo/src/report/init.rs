//! `init` as text: what was found and where, then what a person has to know.

use super::check::findings;
use super::fold::hang;
use alcedo_core::init::{Draft, State};

/// What was found.
pub(crate) fn init(draft: &Draft, place: &str, width: usize) -> Vec<String> {
    let mut lines = vec![format!("{} in {place}", draft.kind), String::new()];
    let key_width = draft.settings.iter().map(|s| s.key.len()).max().unwrap_or(0).max(3);
    lines.push(format!("  {:key_width$}  {}", "app", draft.app));
    for setting in draft.settings.iter().filter(|s| s.state == State::Set) {
        let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
        let text =
            if setting.from.is_empty() { value } else { format!("{value}   ({})", setting.from) };
        lines.push(hang(&format!("  {:key_width$}  ", setting.key), &text, width));
    }
    if !draft.notes.is_empty() {
        lines.push(String::new());
        lines.extend(findings(&draft.notes, width));
    }
    lines
}
