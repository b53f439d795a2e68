//! What is different between two configurations, setting by setting.

use super::entries::{Entry, Shown, entries};
use super::model::Config;
use super::render::shown_path;
use super::toml_text;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One setting that differs. Part of `plan --json`: fields are added and never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The table, or the key itself where it stands outside of tables: `env`, `router`, `services`, `accept`.
    pub area: String,
    /// The key in it: `FEATURE_CHECKOUT`, `web.command`.
    pub key: String,
    /// Before; `None`: not set.
    pub old: Option<Value>,
    /// After; `None`: no longer set.
    pub new: Option<Value>,
}

/// `+ env FEATURE_CHECKOUT = "on"`, `- env OLD`, `~ bake time = "5m", was "10m"`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { area, key, old, new } = self;
        let name = if area == key { area.clone() } else { format!("{area} {key}") };
        match (old.as_ref().map(toml_text::value), new.as_ref().map(toml_text::value)) {
            (None, Some(new)) => write!(f, "+ {name} = {new}"),
            (Some(old), Some(new)) => write!(f, "~ {name} = {new}, was {old}"),
            (Some(old), None) => write!(f, "- {name}, was {old}"),
            (None, None) => write!(f, "  {name}"),
        }
    }
}

/// Every setting whose effective value differs, in the order in which they are shown; where a value comes from does not
/// count.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut before: BTreeMap<Vec<String>, Option<Value>> = entries(old)
        .into_iter()
        .map(|entry| (shown_path(old, &entry.path), value(entry)))
        .collect();
    let mut changes = Vec::new();
    for entry in entries(new) {
        let path = shown_path(new, &entry.path);
        let (old, new) = (before.remove(&path).flatten(), value(entry));
        changes.extend(change(&path, old, new));
    }
    for (path, old) in before {
        changes.extend(change(&path, old, None));
    }
    changes
}

fn value(entry: Entry) -> Option<Value> {
    match entry.value {
        Shown::Value(value) => Some(value),
        Shown::Nothing(_) => None,
    }
}

fn change(path: &[String], old: Option<Value>, new: Option<Value>) -> Option<Change> {
    let (area, rest) = path.split_first()?;
    let rest = if rest.is_empty() { path } else { rest };
    let key = rest.join(".");
    (old != new).then(|| Change { area: area.clone(), key, old, new })
}
