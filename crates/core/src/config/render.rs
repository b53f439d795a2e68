//! The effective configuration for people (TOML that loads again) and for programs (JSON), each value with its origin.

use super::entries::{Entry, Shown, entries};
use super::load::Loaded;
use super::model::Config;
use super::origin::Origin;
use super::toml_text;
use serde_json::{Value, json};

/// Origins stand in one column unless values are longer than this.
const COLUMN_MAX: usize = 60;

/// Every effective value as TOML with its origin beside it. Loading it gives the same configuration; an environment's
/// comes out as a file of its own.
pub fn render(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut lines = vec![Line::comment(format!("{} in {}", config.app, config.environment))];
    let mut table = Vec::new();
    for entry in entries(config) {
        let shown = shown_path(config, &entry.path);
        let (key, header) = split(&shown);
        if header != table.as_slice() {
            lines.push(Line::header(header));
            table = header.to_vec();
        }
        lines.push(Line::of(key, &entry.value, &origin(loaded, &entry).to_string()));
    }
    aligned(&lines)
}

/// The same for `--json`: `{"app","environment","values":[{"key","value","origin","file","line"}]}`; `value` is `null`
/// where nothing is set, `file` and `line` where the file says nothing.
pub fn to_json(loaded: &Loaded) -> Value {
    let config = &loaded.config;
    let values: Vec<Value> = entries(config)
        .into_iter()
        .map(|entry| {
            let key = toml_text::dotted(shown_path(config, &entry.path).iter().map(String::as_str));
            let origin = origin(loaded, &entry);
            let text = origin.to_string();
            let (file, line) = match origin {
                Origin::Default | Origin::Preset(_) => (None, None),
                Origin::File { file, line, .. } => (Some(file), Some(line)),
            };
            let value = match entry.value {
                Shown::Value(value) => value,
                Shown::Nothing(_) => Value::Null,
            };
            json!({ "key": key, "value": value, "origin": text, "file": file, "line": line })
        })
        .collect();
    json!({ "app": config.app, "environment": config.environment, "values": values })
}

/// The key as the user would write it: a single `web` service is `[web]`, and its readiness `[health]`.
pub(super) fn shown_path(config: &Config, path: &[String]) -> Vec<String> {
    let is_web_alone =
        config.services.len() == 1 && config.services.keys().all(|name| name.as_str() == "web");
    match path {
        [services, web, rest @ ..] if is_web_alone && services == "services" && web == "web" => {
            let is_health = rest.first().is_some_and(|key| key == "health");
            let head = if is_health { None } else { Some("web".to_owned()) };
            head.into_iter().chain(rest.iter().cloned()).collect()
        }
        path => path.to_vec(),
    }
}

fn origin(loaded: &Loaded, entry: &Entry) -> Origin {
    if let Some(origin) = loaded.origins.get(&entry.path) {
        return origin.clone();
    }
    let preset = match entry.path.as_slice() {
        [services, name, stop, signal]
            if services == "services" && stop == "stop" && signal == "signal" =>
        {
            let service = loaded.config.services.iter().find(|(n, _)| n.as_str() == name);
            service.and_then(|(_, service)| service.stop.signal_origin.strip_prefix("preset: "))
        }
        _ => None,
    };
    preset.map_or(Origin::Default, |server| Origin::Preset(server.to_owned()))
}

/// The table's header and the key in it. `stop` is written as a dotted key of its service.
fn split(path: &[String]) -> (&[String], &[String]) {
    let tables = match path {
        [services, _, health, _] if services == "services" && health == "health" => 3,
        [services, _, ..] if services == "services" => 2,
        [_] => 0,
        _ => 1,
    };
    let (header, key) = path.split_at(tables);
    (key, header)
}

struct Line {
    text: String,
    origin: Option<String>,
}

impl Line {
    fn comment(text: String) -> Self {
        Self { text: format!("# {text}"), origin: None }
    }

    fn header(path: &[String]) -> Self {
        let name = toml_text::dotted(path.iter().map(String::as_str));
        Self { text: format!("\n[{name}]"), origin: None }
    }

    fn of(key: &[String], value: &Shown, origin: &str) -> Self {
        let key = toml_text::dotted(key.iter().map(String::as_str));
        let text = match value {
            Shown::Value(value) => format!("{key} = {}", toml_text::value(value)),
            Shown::Nothing(words) => format!("# {key}: {words}"),
        };
        Self { text, origin: Some(origin.to_owned()) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

fn aligned(lines: &[Line]) -> String {
    let with_origin = lines.iter().filter(|line| line.origin.is_some()).map(Line::width);
    let column = with_origin.filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        out.push_str(&line.text);
        if let Some(origin) = &line.origin {
            let padding = column.saturating_sub(line.width());
            out.push_str(&format!("{:padding$}  # {origin}", ""));
        }
        out.push('\n');
    }
    out
}
