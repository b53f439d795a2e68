//! The file as a tree that remembers where each value stands and which layer it comes from.
//!
//! Knows nothing of what keys mean, apart from the three rules of laying one table over another.

use super::error::Findings;
use super::toml_text;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// One value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The whole dotted key, as the file has it.
    pub(super) key: String,
    /// Bytes of the last part of the key; of the item itself in a list.
    pub(super) key_span: Range<usize>,
    /// Bytes of the value.
    pub(super) span: Range<usize>,
    /// The environment whose table it stands in; `None`: the file itself.
    pub(super) layer: Option<String>,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

const HEALTH: &str = "health";
/// What shows that a process is ready: exactly one of these, so a nearer one replaces a farther one.
const READINESS: [&str; 3] = ["path", "tcp", "command"];
/// What says more about the answer to it.
const ANSWER: [&str; 3] = ["host", "expect", "release"];

impl Node {
    /// The tree of a parsed file.
    pub(super) fn root(table: &DeTable<'_>, out: &mut Findings) -> Self {
        let mut root = Self::empty(String::new(), 0..0);
        root.value = Value::Table(children(table, &root, out));
        root
    }

    /// A table without entries.
    pub(super) fn empty(key: String, span: Range<usize>) -> Self {
        let value = Value::Table(BTreeMap::new());
        Self { key, key_span: span.clone(), span, layer: None, value }
    }

    /// The entries, if it is a table.
    pub(super) fn table(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.value {
            Value::Table(table) => Some(table),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date
            | Value::List(_) => None,
        }
    }

    /// The entries, if it is a table.
    pub(super) fn table_mut(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date
            | Value::List(_) => None,
        }
    }

    /// What stands at a path of keys.
    pub(super) fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        path.into_iter().try_fold(self, |node, key| node.table()?.get(key))
    }

    /// Removes and returns an entry.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        self.table_mut()?.remove(key)
    }

    /// Marks everything below as coming from an environment.
    pub(super) fn set_layer(&mut self, name: &str) {
        self.layer = Some(name.to_owned());
        match &mut self.value {
            Value::Table(table) => table.values_mut().for_each(|node| node.set_layer(name)),
            Value::List(items) => items.iter_mut().for_each(|node| node.set_layer(name)),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date => {}
        }
    }

    /// `over` laid over this: keys replace, tables merge, and in `health` a way of being ready replaces another one.
    pub(super) fn lay_over(&mut self, over: &Self) {
        let (Some(below), Some(above)) = (self.table_mut(), over.table()) else {
            *self = over.clone();
            return;
        };
        for (key, node) in above {
            match below.get_mut(key) {
                Some(there) if key == HEALTH => there.lay_health_over(node),
                Some(there) => there.lay_over(node),
                None => drop(below.insert(key.clone(), node.clone())),
            }
        }
    }

    /// [`Self::lay_over`] for a `health` table: what was said about the answer of another check goes with it.
    pub(super) fn lay_health_over(&mut self, over: &Self) {
        if let (Some(below), Some(above)) = (self.table_mut(), over.table())
            && let Some(kind) = READINESS.iter().find(|kind| above.contains_key(**kind))
            && READINESS.iter().any(|other| other != kind && below.contains_key(*other))
        {
            below.retain(|key, _| {
                !READINESS.contains(&key.as_str()) && !ANSWER.contains(&key.as_str())
            });
        }
        self.lay_over(over);
    }

    /// As JSON, which the raw types are read from. Dates and floats that are no number never get this far.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Text(text) => Json::String(text.clone()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(flag) => Json::Bool(*flag),
            Value::Date => Json::Null,
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(table) => table.iter().map(|(k, n)| (k.clone(), n.to_json())).collect(),
        }
    }
}

fn children(table: &DeTable<'_>, parent: &Node, out: &mut Findings) -> BTreeMap<String, Node> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let dot = if parent.key.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", parent.key, toml_text::key(&name));
        if let Some(node) =
            read(Node { span: value.span(), ..Node::empty(path, key.span()) }, value.get_ref(), out)
        {
            entries.insert(name, node);
        }
    }
    entries
}

/// The node with its value; `None` when that is a number nothing can hold, which is then among the findings.
fn read(mut node: Node, value: &DeValue<'_>, out: &mut Findings) -> Option<Node> {
    node.value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return no_number(&node, "too large to be meant", out),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            Ok(_) | Err(_) => return no_number(&node, "not a finite number", out),
        },
        DeValue::Array(items) => {
            let item = |item: &toml::Spanned<DeValue<'_>>| {
                read(Node::empty(node.key.clone(), item.span()), item.get_ref(), out)
            };
            Value::List(items.iter().filter_map(item).collect())
        }
        DeValue::Table(table) => Value::Table(children(table, &node, out)),
    };
    Some(node)
}

fn no_number(node: &Node, problem: &str, out: &mut Findings) -> Option<Node> {
    out.add(&node.span, format!("`{}` is {problem}", node.key), None);
    None
}
