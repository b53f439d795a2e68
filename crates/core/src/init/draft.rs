//! What `init` would write: settings with where each was found, and what it could not decide.

use crate::lint::{Finding, Severity};
use crate::names::{AppName, NAME_BYTES_MAX};
use serde_json::{Value, json};

/// An `alcedo.toml` to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it is, for people: `FastAPI on uvicorn`.
    pub kind: String,
    /// The app's name.
    pub app: AppName,
    /// In the order in which they are written; `app` is not among them.
    pub settings: Vec<Setting>,
    /// What a person should know or decide.
    pub notes: Vec<Finding>,
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted, as it is written.
    pub key: String,
    /// What it is set to.
    pub value: Value,
    /// Where it was found, or why it is so; the comment beside it.
    pub from: String,
    /// Whether it counts, or is only shown.
    pub state: State,
}

/// Whether a setting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Set,
    /// Commented out: nothing was found that says what it should be.
    Proposed,
}

impl Draft {
    /// Nothing but a name; one that says nothing where nothing makes one. Always there: `app` is a name.
    pub(super) fn new(kind: &str, name: &str, otherwise: &str) -> Option<Self> {
        let app = app_name(name).or_else(|| app_name(otherwise)).or_else(|| app_name("app"))?;
        Some(Self { kind: kind.to_owned(), app, settings: Vec::new(), notes: Vec::new() })
    }

    /// Adds a setting, or replaces it.
    pub fn set(&mut self, key: &str, value: impl Into<Value>, from: impl Into<String>) {
        self.put(key, value.into(), from.into(), State::Set);
    }

    /// Shows a setting that nothing decides.
    pub fn propose(&mut self, key: &str, value: impl Into<Value>, from: impl Into<String>) {
        self.put(key, value.into(), from.into(), State::Proposed);
    }

    /// Adds a list of texts; an empty one is left out.
    pub fn list(&mut self, key: &str, values: &[&str], from: &str) {
        if !values.is_empty() {
            self.set(key, json!(values), from);
        }
    }

    /// Tells something.
    pub fn note(&mut self, id: &str, severity: Severity, subject: &str, message: &str, fix: &str) {
        self.notes.push(Finding {
            id: id.to_owned(),
            severity,
            subject: subject.to_owned(),
            message: message.to_owned(),
            fix: (!fix.is_empty()).then(|| fix.to_owned()),
            accepted: false,
        });
    }

    /// A setting that counts.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|s| s.key == key && s.state == State::Set).map(|s| &s.value)
    }

    /// A setting of text that counts.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    fn put(&mut self, key: &str, value: Value, from: String, state: State) {
        let setting = Setting { key: key.to_owned(), value, from, state };
        match self.settings.iter_mut().find(|s| s.key == key) {
            Some(known) => *known = setting,
            None => self.settings.push(setting),
        }
    }
}

/// A name made of what a package or directory is called; `None`: nothing of it can be one.
pub fn app_name(text: &str) -> Option<AppName> {
    let last = text.rsplit('/').next().unwrap_or(text).to_lowercase();
    let mut name = String::new();
    for c in last.chars() {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    AppName::new(name.trim_end_matches('-')).ok()
}
