//! The JSON Schema of `alcedo.toml`, made from the raw types.

use super::raw;
use super::shape::Shape;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// JSON Schema (2020-12) of the `alcedo.toml` that this version reads, for editors.
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// Without references and without `null`, which TOML does not have.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<raw::File>().to_value();
    tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("alcedo.toml"));
        root.insert("required".to_owned(), json!(["app"]));
    }
    schema
});

/// The schema as the walk over a file needs it.
pub(super) static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of(&SCHEMA));

/// Tables take only the keys they list; nothing is `null`; words of Rust's own number types go.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => tidy_object(object),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn tidy_object(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            object.insert("type".to_owned(), only);
        }
    }
    for key in ["anyOf", "oneOf", "enum"] {
        if let Some(Value::Array(options)) = object.get_mut(key) {
            options.retain(|option| *option != json!({ "type": "null" }) && !option.is_null());
        }
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|f| !f.starts_with("alcedo-")) {
        object.remove("format");
    }
    if object.get("type") == Some(&json!("object")) && object.contains_key("properties") {
        object.insert("additionalProperties".to_owned(), json!(false));
        object.remove("required");
    }
    object.values_mut().for_each(tidy);
}
