//! The schema as the walk over a file needs it: what may stand at a place.

use super::syntax::{FORMATS, Format};
use serde_json::Value;
use std::collections::BTreeMap;

/// What may stand at a place of the file.
#[derive(Clone)]
pub(super) enum Shape {
    /// Any value but a date.
    Any,
    /// Any text, or one with a syntax.
    Text(Option<&'static Format>),
    /// One of these words.
    Word(Vec<String>),
    /// A whole number within bounds.
    Integer { min: i64, max: i64 },
    /// A number within bounds.
    Number { min: f64, max: f64 },
    /// `true` or `false`.
    Boolean,
    /// At least so many of one shape.
    List { item: Box<Shape>, min: usize },
    /// These keys.
    Table(BTreeMap<String, Shape>),
    /// Names that the user chooses.
    Named(Box<Shape>),
    /// Any of these.
    OneOf(Vec<Shape>),
}

impl Shape {
    /// Reads a schema as [`super::schema`] makes it. What it does not know accepts anything: a test sees to it that
    /// there is no such place.
    pub(super) fn of(schema: &Value) -> Self {
        if let Some(words) = words(schema) {
            return Self::Word(words);
        }
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            return Self::one_of(options);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => Self::Text(format(schema)),
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::Integer {
                min: schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN),
                max: schema.get("maximum").and_then(Value::as_i64).unwrap_or(i64::MAX),
            },
            Some("number") => Self::Number {
                min: schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN),
                max: schema.get("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX),
            },
            Some("array") => {
                let item = schema.get("items").map_or(Self::Any, Self::of);
                let min = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                Self::List { item: Box::new(item), min: usize::try_from(min).unwrap_or(0) }
            }
            Some("object") => Self::table(schema),
            Some(_) | None => Self::Any,
        }
    }

    /// What it is, for "is text, not …".
    pub(super) fn what(&self) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Text(None) => "text".to_owned(),
            Self::Text(Some(format)) => format.what.to_owned(),
            Self::Word(words) => format!("\"{}\"", words.join("\" or \"")),
            Self::Integer { .. } => "a whole number".to_owned(),
            Self::Number { .. } => "a number".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::List { .. } => "a list".to_owned(),
            Self::Table(_) | Self::Named(_) => "a table".to_owned(),
            Self::OneOf(options) => options.iter().map(Self::what).collect::<Vec<_>>().join(", "),
        }
    }

    fn one_of(options: &[Value]) -> Self {
        match options {
            [only] => Self::of(only),
            several => Self::OneOf(several.iter().map(Self::of).collect()),
        }
    }

    fn table(schema: &Value) -> Self {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return Self::Table(properties.iter().map(|(k, s)| (k.clone(), Self::of(s))).collect());
        }
        Self::Named(Box::new(schema.get("additionalProperties").map_or(Self::Any, Self::of)))
    }
}

/// The words of an enumeration, in any of the forms that the generator writes.
fn words(schema: &Value) -> Option<Vec<String>> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(only) = schema.get("const") {
        return Some(vec![word(only)?]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(word).collect();
    }
    let options = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array)?;
    let lists: Option<Vec<_>> = options.iter().map(words).collect();
    lists.map(|lists| lists.concat())
}

fn format(schema: &Value) -> Option<&'static Format> {
    let name = schema.get("format").and_then(Value::as_str)?;
    FORMATS.iter().find(|format| format.name == name)
}
