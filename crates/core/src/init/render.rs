//! A draft as text: the short flat form, each line with where its value was found.

use super::draft::{Draft, Setting, State};
use crate::config::toml_value;
use std::fmt::Write as _;

/// Comments stand beside a setting up to this column, above it otherwise.
const COLUMNS: usize = 110;

/// The whole file.
pub fn render(draft: &Draft) -> String {
    let app = Setting {
        key: "app".to_owned(),
        value: draft.app.as_str().into(),
        from: String::new(),
        state: State::Set,
    };
    let settings: Vec<&Setting> = std::iter::once(&app).chain(&draft.settings).collect();
    let width = settings.iter().map(|s| shown_key(s).len()).max().unwrap_or(0);
    let mut text = format!(
        "# {}, as `alcedo init` found it. Every key: alcedo schema; every value in force: alcedo config\n",
        draft.kind
    );
    for setting in settings {
        let line = format!("{:width$} = {}", shown_key(setting), toml_value(&setting.value));
        let about = &setting.from;
        if about.is_empty() {
            let _ = writeln!(text, "{line}");
        } else if line.chars().count() + about.chars().count() + 4 <= COLUMNS {
            let _ = writeln!(text, "{line}  # {about}");
        } else {
            let _ = writeln!(text, "# {about}\n{line}");
        }
    }
    text
}

fn shown_key(setting: &Setting) -> String {
    match setting.state {
        State::Set => setting.key.clone(),
        State::Proposed => format!("# {}", setting.key),
    }
}
