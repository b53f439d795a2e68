//! The steps from text to effective configuration, in order.

use super::check::{check_file, nearest};
use super::error::{ConfigError, ConfigErrors, Findings};
use super::model::Config;
use super::origin::Origins;
use super::raw;
use super::resolve;
use super::rules;
use super::tree::Node;
use crate::names::PRODUCTION;
use toml::de::DeTable;

/// Longest text that is looked at.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// After so many nobody reads on; finding the line of each costs a look over the text.
const SYNTAX_ERRORS_MAX: usize = 20;

/// What is read.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The file's content.
    pub text: &'a str,
    /// The file as it is shown in messages: `alcedo.toml`.
    pub file: &'a str,
    /// `-e NAME`; `None` is production.
    pub environment: Option<&'a str>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// Where each value comes from.
    pub origins: Origins,
}

/// Reads `alcedo.toml` for one environment. The other environments are checked as well, so that an error in them does
/// not wait for the day they are needed.
///
/// # Errors
/// Everything that is wrong, as far as it can be seen in one go, in the order of the file.
pub fn load(input: Input<'_>) -> Result<Loaded, ConfigErrors> {
    let (text, file) = (input.text, input.file);
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes; {TEXT_BYTES_MAX} are the limit", text.len());
        return Err(whole_file(file, message, None));
    }
    let mut out = Findings::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax_errors(text, &errors, &mut out);
        return Err(out.into_errors(file, text));
    }
    let mut base = Node::root(table.get_ref(), &mut out);
    check_file(&mut base, &mut out);
    let environments = take_environments(&mut base, &mut out);
    let wanted = input.environment.unwrap_or(PRODUCTION);
    if wanted != PRODUCTION && environments.iter().all(|(name, _)| name != wanted) {
        return Err(unknown_environment(file, wanted, &environments));
    }
    let layers = [(PRODUCTION, None)]
        .into_iter()
        .chain(environments.iter().map(|(name, node)| (name.as_str(), Some(node))));
    let mut found = None;
    for (name, over) in layers {
        let tree = effective(&base, over, &mut out);
        let config = configure(&tree, name, file, &mut out);
        if name == wanted {
            found = config.map(|config| (config, tree));
        }
    }
    match found {
        Some((config, tree)) if out.is_empty() => {
            Ok(Loaded { config, origins: Origins::of(&tree, file, text) })
        }
        Some(_) | None => Err(out.into_errors(file, text)),
    }
}

/// One layer or two as one tree: `web` is a service, and the app's `health` lies below each service's own.
fn effective(base: &Node, over: Option<&Node>, out: &mut Findings) -> Node {
    let mut tree = base.clone();
    web_as_service(&mut tree, out);
    if let Some(over) = over {
        let mut over = over.clone();
        web_as_service(&mut over, out);
        tree.lay_over(&over);
    }
    let health = tree.take("health");
    let services = tree.table_mut().and_then(|root| root.get_mut("services"));
    if let (Some(health), Some(services)) = (health, services.and_then(Node::table_mut)) {
        for service in services.values_mut().filter_map(Node::table_mut) {
            let mut own = health.clone();
            if let Some(nearer) = service.get("health") {
                own.lay_health_over(nearer);
                own.key_span = nearer.key_span.clone();
                own.key.clone_from(&nearer.key);
            }
            service.insert("health".to_owned(), own);
        }
    }
    tree
}

fn web_as_service(layer: &mut Node, out: &mut Findings) {
    let Some(web) = layer.take("web") else { return };
    let Some(root) = layer.table_mut() else { return };
    let empty = || Node::empty("services".to_owned(), web.key_span.clone());
    if let Some(services) = root.get("services") {
        let message = format!("`{}` and `{}` are both there", web.key, services.key);
        out.add(&web.key_span, message, Some("[web] is short for [services.web]".to_owned()));
    }
    let services = root.entry("services".to_owned()).or_insert_with(empty);
    if let Some(services) = services.table_mut() {
        services.entry("web".to_owned()).or_insert(web);
    }
}

/// The environments in the order of their names.
fn take_environments(base: &mut Node, out: &mut Findings) -> Vec<(String, Node)> {
    let Some(mut environments) = base.take("environments") else { return Vec::new() };
    let Some(table) = environments.table_mut() else { return Vec::new() };
    let mut list = Vec::new();
    for (name, mut node) in std::mem::take(table) {
        if name == PRODUCTION {
            let message = format!("`{}` is the file itself", node.key);
            out.add(&node.key_span, message, Some("move its keys to the top".to_owned()));
            continue;
        }
        node.set_layer(&name);
        list.push((name, node));
    }
    list
}

fn configure(tree: &Node, environment: &str, file: &str, out: &mut Findings) -> Option<Config> {
    let raw: raw::File = match serde_json::from_value(tree.to_json()) {
        Ok(raw) => raw,
        Err(cause) => {
            // Only reached when the walk over the schema let something pass; still an error, never a crash.
            out.add(&tree.span, format!("the file cannot be read: {cause}"), None);
            return None;
        }
    };
    let app = rules::check(&raw, tree, environment, out)?;
    Some(resolve::resolve(app, raw, environment, file))
}

fn syntax_errors(text: &str, errors: &[toml::de::Error], out: &mut Findings) {
    // What follows the first error on a line is mostly its echo.
    let mut lines = Vec::new();
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let span = error.span().unwrap_or(text.len()..text.len());
        let line = super::error::line_of(text, span.start);
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        let message = error.message();
        let (message, hint) = match message.split_once(", expected ") {
            Some((message, expected)) => (message, Some(format!("expected {expected}"))),
            None => (message, None),
        };
        let message = match message {
            "duplicate key" => {
                format!("key `{}` is there twice", text.get(span.clone()).unwrap_or_default())
            }
            message => format!("not TOML: {message}"),
        };
        out.add(&span, message, hint);
    }
}

fn unknown_environment(file: &str, wanted: &str, known: &[(String, Node)]) -> ConfigErrors {
    let names: Vec<&str> =
        [PRODUCTION].into_iter().chain(known.iter().map(|(n, _)| n.as_str())).collect();
    let near =
        nearest(wanted, names.iter().copied()).map(|(_, near)| format!("nearest: `{near}`; "));
    let hint = format!("{}known: `{}`", near.unwrap_or_default(), names.join("`, `"));
    whole_file(file, format!("no environment `{wanted}`"), Some(hint))
}

fn whole_file(file: &str, message: String, hint: Option<String>) -> ConfigErrors {
    let error = ConfigError { file: file.to_owned(), place: None, message, hint };
    ConfigErrors { errors: vec![error], more: 0 }
}
