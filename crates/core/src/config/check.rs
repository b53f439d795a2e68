//! Holds the file against the schema: unknown keys, wrong types, values that no setting of their kind can have.
//!
//! What is wrong is taken out of the tree, so that the later steps can go on and find more.

use super::error::Findings;
use super::later;
use super::schema::SHAPE;
use super::shape::Shape;
use super::syntax::Format;
use super::toml_text;
use super::tree::{Node, Value};
use std::collections::BTreeMap;

/// The environments' own table: what stands in each is the file once more.
const ENVIRONMENTS: &str = "environments";

/// Most items of a list, entries of `[env]` and the like.
const ITEMS_MAX: usize = 1000;
/// Most services, most environments: each is looked at beside all others.
const TABLES_MAX: usize = 100;

/// Checks the whole file.
pub(super) fn check_file(root: &mut Node, out: &mut Findings) {
    check(root, &SHAPE, &mut Vec::new(), out);
}

/// Checks `node`, found at `path` (without its environment). `false`: it has to be taken out.
fn check(node: &mut Node, shape: &Shape, path: &mut Vec<String>, out: &mut Findings) -> bool {
    match shape {
        Shape::Any => check_any(node, path, out),
        Shape::Text(format) => check_text(node, *format, shape, path, out),
        Shape::Word(words) => check_word(node, words, shape, path, out),
        Shape::Integer { min, max } => check_integer(node, *min, *max, shape, path, out),
        Shape::Number { min, max } => check_number(node, *min, *max, shape, path, out),
        Shape::Boolean => {
            matches!(node.value, Value::Boolean(_)) || wrong_type(node, shape, path, out)
        }
        Shape::List { item, min } => check_list(node, item, *min, shape, path, out),
        Shape::Table(keys) => check_table(node, keys, shape, path, out),
        Shape::Named(inner) => check_named(node, inner, shape, path, out),
        Shape::OneOf(options) => {
            // A word or a table: what kind of value stands there says which was meant.
            let meant = options.iter().find(|option| match (&node.value, option) {
                (Value::Text(_), Shape::Word(_)) | (Value::Table(_), Shape::Table(_)) => true,
                (_, _) => false,
            });
            if let Some(meant) = meant {
                return check(node, meant, path, out);
            }
            let fits =
                options.iter().any(|option| check(node, option, path, &mut Findings::default()));
            fits || wrong_type(node, shape, path, out)
        }
    }
}

fn check_any(node: &mut Node, path: &mut Vec<String>, out: &mut Findings) -> bool {
    match &mut node.value {
        Value::Date => wrong_type(node, &Shape::Any, path, out),
        Value::List(items) => {
            items.retain_mut(|item| check_any(item, path, out));
            true
        }
        Value::Table(table) => {
            table.retain(|_, child| check_any(child, path, out));
            true
        }
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => true,
    }
}

fn check_text(
    node: &Node,
    format: Option<&'static Format>,
    shape: &Shape,
    path: &[String],
    out: &mut Findings,
) -> bool {
    let Value::Text(text) = &node.value else { return wrong_type(node, shape, path, out) };
    match format.and_then(|format| (format.check)(text)) {
        None => true,
        Some(complaint) => refuse(node, &complaint.problem, complaint.hint, out),
    }
}

fn check_word(
    node: &Node,
    words: &[String],
    shape: &Shape,
    path: &[String],
    out: &mut Findings,
) -> bool {
    let Value::Text(text) = &node.value else { return wrong_type(node, shape, path, out) };
    if words.contains(text) {
        return true;
    }
    let known = format!("`{}`", words.join("`, `"));
    let written = toml_text::string(text);
    if later::has_value(path, text) {
        let message = format!("`{} = {written}` is not in this version", node.key);
        out.add(&node.span, message, Some(format!("this version: {known}")));
        return false;
    }
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    for word in later::values(path) {
        all.push(word);
    }
    let hint = match nearest(text, all.into_iter()) {
        Some((_, near)) if later::has_value(path, near) => {
            format!("nearest: `{near}`, which is not in this version; known: {known}")
        }
        Some((_, near)) if words.len() > 1 => format!("nearest: `{near}`; known: {known}"),
        Some(_) | None => format!("known: {known}"),
    };
    refuse(node, &format!("does not know {written}"), Some(hint), out)
}

fn check_integer(
    node: &Node,
    min: i64,
    max: i64,
    shape: &Shape,
    path: &[String],
    out: &mut Findings,
) -> bool {
    let Value::Integer(number) = node.value else { return wrong_type(node, shape, path, out) };
    if (min..=max).contains(&number) {
        return true;
    }
    let bounds = if max == i64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
    refuse(node, &format!("is {number}, which is not possible"), Some(bounds), out)
}

fn check_number(
    node: &mut Node,
    min: f64,
    max: f64,
    shape: &Shape,
    path: &[String],
    out: &mut Findings,
) -> bool {
    if let Value::Integer(number) = node.value {
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with bounds and shown, not counted"
        )]
        let number = number as f64;
        node.value = Value::Float(number);
    }
    let Value::Float(number) = node.value else { return wrong_type(node, shape, path, out) };
    if (min..=max).contains(&number) {
        return true;
    }
    let bounds = format!("{min} to {max}, so 5 % is 0.05");
    refuse(node, &format!("is {number}, which is not possible"), Some(bounds), out)
}

fn check_list(
    node: &mut Node,
    item: &Shape,
    min: usize,
    shape: &Shape,
    path: &mut Vec<String>,
    out: &mut Findings,
) -> bool {
    let Value::List(items) = &mut node.value else { return wrong_type(node, shape, path, out) };
    if items.len() < min {
        return refuse(node, "is empty", Some("leave it out for the default".to_owned()), out);
    }
    if items.len() > ITEMS_MAX {
        let problem = format!("has {} items", items.len());
        return refuse(node, &problem, Some(format!("{ITEMS_MAX} are the limit")), out);
    }
    items.retain_mut(|child| check(child, item, path, out));
    true
}

fn check_table(
    node: &mut Node,
    keys: &BTreeMap<String, Shape>,
    shape: &Shape,
    path: &mut Vec<String>,
    out: &mut Findings,
) -> bool {
    let Value::Table(table) = &mut node.value else { return wrong_type(node, shape, path, out) };
    table.retain(|key, child| {
        path.push(key.clone());
        let keep = match keys.get(key) {
            Some(inner) => check(child, inner, path, out),
            None => {
                refuse_key(child, key, keys, path, out);
                false
            }
        };
        path.pop();
        keep
    });
    true
}

fn check_named(
    node: &mut Node,
    inner: &Shape,
    shape: &Shape,
    path: &mut Vec<String>,
    out: &mut Findings,
) -> bool {
    let Value::Table(table) = &mut node.value else { return wrong_type(node, shape, path, out) };
    let is_environments = path.as_slice() == [ENVIRONMENTS];
    let max = if path.len() == 1 && path[0] != "env" { TABLES_MAX } else { ITEMS_MAX };
    if table.len() > max {
        let problem = format!("has {} entries", table.len());
        return refuse(node, &problem, Some(format!("{max} are the limit")), out);
    }
    table.retain(|key, child| {
        if is_environments {
            return check(child, inner, &mut Vec::new(), out);
        }
        path.push(key.clone());
        let keep = check(child, inner, path, out);
        path.pop();
        keep
    });
    true
}

fn refuse(node: &Node, problem: &str, hint: Option<String>, out: &mut Findings) -> bool {
    out.add(&node.span, format!("`{}` {problem}", node.key), hint);
    false
}

fn refuse_key(
    node: &Node,
    key: &str,
    known: &BTreeMap<String, Shape>,
    path: &[String],
    out: &mut Findings,
) {
    if let Some(later) = later::key(path) {
        return not_in_this_version(node, later, out);
    }
    const CLOSE: f64 = 0.85;
    let near = nearest(key, known.keys().map(String::as_str));
    let hint = match (near, elsewhere(key)) {
        (Some((likeness, near)), _) if likeness >= CLOSE => format!("nearest known key: `{near}`"),
        (_, Some(place)) => format!("known as `{place}`"),
        (Some((_, near)), None) => format!("nearest known key: `{near}`"),
        (None, None) => {
            format!("known: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    };
    out.add(&node.key_span, format!("unknown key `{}`", node.key), Some(hint));
}

fn not_in_this_version(node: &Node, later: &later::Later, out: &mut Findings) {
    let hint = later.instead.map(|instead| format!("this version: {instead}"));
    out.add(&node.key_span, format!("`{}` is not in this version", node.key), hint);
}

/// A table where `key` is known, with the key; `web` before others.
fn elsewhere(key: &str) -> Option<String> {
    let Shape::Table(root) = &*SHAPE else { return None };
    let has_key = |shape: &Shape| matches!(shape, Shape::Table(keys) if keys.contains_key(key));
    let web = root.get_key_value("web").into_iter();
    web.chain(root).find(|(_, shape)| has_key(shape)).map(|(name, _)| format!("{name}.{key}"))
}

fn wrong_type(node: &Node, shape: &Shape, path: &[String], out: &mut Findings) -> bool {
    for (key, child) in node.table().into_iter().flatten() {
        let path: Vec<String> = path.iter().chain([key]).cloned().collect();
        if let Some(later) = later::key(&path) {
            not_in_this_version(child, later, out);
            return false;
        }
    }
    let is = match &node.value {
        Value::Text(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Date => "a date",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    };
    refuse(node, &format!("is {is}, not {}", shape.what()), meant(&node.value, shape), out)
}

/// What the user most likely meant to write.
fn meant(value: &Value, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Integer { .. } | Shape::Number { .. } | Shape::Boolean => {
            let Value::Text(text) = value else { return None };
            let fits = matches!(text.as_str(), "true" | "false") || text.parse::<f64>().is_ok();
            fits.then(|| format!("without quotes: {text}"))
        }
        Shape::List { .. } => {
            let Value::Text(text) = value else {
                return matches!(value, Value::Table(_)).then(|| "in brackets: [{ … }]".to_owned());
            };
            Some(format!("in brackets: [{}]", toml_text::string(text)))
        }
        Shape::Text(Some(format)) => {
            let Value::Integer(number) = value else { return None };
            let with_unit = format!("{number}s");
            let bare = number.to_string();
            let text = if (format.check)(&bare).is_none() { bare } else { with_unit };
            (format.check)(&text).is_none().then(|| format!("\"{text}\"?"))
        }
        Shape::Any | Shape::OneOf(_) => {
            matches!(value, Value::Float(_) | Value::Date).then(|| "in quotes".to_owned())
        }
        Shape::Text(None) | Shape::Word(_) | Shape::Table(_) | Shape::Named(_) => None,
    }
}

/// The most similar of `known` and how similar it is, 0 to 1; none that is not similar at all.
pub(super) fn nearest<'a>(
    text: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<(f64, &'a str)> {
    const SIMILAR: f64 = 0.75;
    known
        .map(|word| (strsim::jaro_winkler(text, word), word))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
}
