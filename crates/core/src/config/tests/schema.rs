//! One list of keys: the schema's, the parser's and the interface's are the same.

use super::complaints;
use crate::config::later;
use crate::config::schema;
use crate::config::schema::SHAPE;
use crate::config::shape::Shape;
use crate::config::syntax::FORMATS;
use serde_json::Value;
use std::collections::BTreeSet;
use toml::de::{DeTable, DeValue};

/// Dotted keys of the schema, `*` for names that the user chooses.
fn known_keys(shape: &Shape, path: &str, out: &mut BTreeSet<String>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match shape {
        Shape::Table(keys) => {
            for (key, shape) in keys {
                out.insert(join(key));
                known_keys(shape, &join(key), out);
            }
        }
        Shape::Named(shape) => known_keys(shape, &join("*"), out),
        Shape::List { item, .. } => known_keys(item, &format!("{path}[]"), out),
        Shape::Any
        | Shape::Text(_)
        | Shape::Word(_)
        | Shape::Integer { .. }
        | Shape::Number { .. }
        | Shape::Boolean
        | Shape::OneOf(_) => {}
    }
}

fn schema_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    known_keys(&SHAPE, "", &mut keys);
    keys
}

/// Keys that the interface names, as far as this version has them.
fn interface_keys(table: &DeTable<'_>, path: &str, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        let named = ["env", "services", "environments", "health.expect.json"].contains(&path);
        let key = if named { "*" } else { key.get_ref().as_ref() };
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        out.insert(path.clone());
        match value.get_ref() {
            DeValue::Table(table) => interface_keys(table, &path, out),
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|table| interface_keys(table, &format!("{path}[]"), out));
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

#[test]
fn every_key_of_the_interface_is_in_the_schema_or_named_as_later() {
    let table = DeTable::parse(include_str!("whole.toml")).expect("the interface is TOML");
    let (mut wanted, known) = (BTreeSet::new(), schema_keys());
    interface_keys(table.get_ref(), "", &mut wanted);
    let is_later = |key: &String| {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        (1..=path.len()).any(|end| {
            let path = &path[..end];
            let inner = path.strip_prefix(["environments".to_owned(), "*".to_owned()].as_slice());
            later::key(path).is_some() || inner.is_some_and(|path| later::key(path).is_some())
        })
    };
    let is_name = |key: &String| key.ends_with(".*");
    let unknown: Vec<_> = wanted
        .into_iter()
        .filter(|key| !known.contains(key) && !is_later(key) && !is_name(key))
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn no_key_is_known_and_named_as_later() {
    for key in schema_keys() {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        assert!(later::key(&path).is_none(), "{key} is both");
    }
    for (key, values) in later::VALUES {
        let known = schema_keys();
        assert!(known.contains(*key) && !values.is_empty(), "{key} is not known at all");
    }
}

/// A file with one setting; `smoke[].path` stands in a list.
fn setting(key: &str, value: &str) -> String {
    match key.split_once("[].") {
        Some((list, key)) => format!("{list} = [{{ {key} = {value} }}]\n"),
        None => format!("{key} = {value}\n"),
    }
}

/// Whatever the schema allows, the parser takes up to its value; whatever it does not, the parser refuses.
#[test]
fn parser_knows_exactly_the_keys_of_the_schema() {
    for key in schema_keys() {
        let key = key.replace('*', "x");
        let text = complaints(&setting(&key, "1979-05-27"));
        assert!(text.contains("is a date, not"), "{key}: {text}");
        let text = complaints(&setting(&format!("{key}-x"), "1"));
        let is_unknown = text.contains("unknown key") || text.contains("not in this version");
        // Below a name of the user's own choice everything is a name.
        let is_name = ["env.", "services.x-x", "environments.x-x", "expect.json"];
        assert!(
            is_unknown || is_name.iter().any(|name| format!("{key}-x").contains(name)),
            "{key}: {text}"
        );
    }
}

#[test]
fn every_place_of_the_schema_is_understood() {
    fn visit(shape: &Shape, path: &str) {
        match shape {
            Shape::Any => assert!(path.ends_with("json.*"), "{path} accepts anything"),
            Shape::Table(keys) => keys.iter().for_each(|(k, s)| visit(s, &format!("{path}.{k}"))),
            Shape::Named(shape) => visit(shape, &format!("{path}.*")),
            Shape::List { item, .. } => visit(item, path),
            Shape::OneOf(shapes) => shapes.iter().for_each(|shape| visit(shape, path)),
            Shape::Text(_)
            | Shape::Word(_)
            | Shape::Integer { .. }
            | Shape::Number { .. }
            | Shape::Boolean => {}
        }
    }
    visit(&SHAPE, "");
}

#[test]
fn every_format_of_the_schema_has_its_parser() {
    let text = schema().to_string();
    let used: BTreeSet<&str> =
        text.split("\"format\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let known: BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(used, known);
}

#[test]
fn schema_is_closed_described_and_free_of_null() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["app"]));
    assert_eq!(schema["properties"]["release"]["additionalProperties"], false);
    assert!(!schema.to_string().contains("\"null\""));
    let properties = schema["properties"].as_object().expect("a table");
    for (key, schema) in properties {
        assert!(schema["description"].is_string(), "{key} has no description");
        let inner = schema["properties"].as_object();
        for (inner, schema) in inner.into_iter().flatten() {
            assert!(schema["description"].is_string(), "{key}.{inner} has no description");
        }
    }
    assert!(matches!(
        schema["properties"]["env"]["additionalProperties"]["anyOf"],
        Value::Array(_)
    ));
}
