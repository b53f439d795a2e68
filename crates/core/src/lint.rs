//! Findings of the configuration alone: what will bite later, and the line that mends it.
//!
//! Pure, and never an error by itself: a config that loads may be deployed; these are for `check`.

use crate::config::{Config, HealthCheck, Runner, Service};
use crate::names::ServiceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One thing that `check` found. Wire type of `check --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable, for `accept`: `unit.dev-server`.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a key, a file, a port.
    pub subject: String,
    /// One line.
    pub message: String,
    /// What to write or type.
    #[serde(default)]
    pub fix: Option<String>,
    /// Taken knowingly, by the file.
    #[serde(default)]
    pub accepted: bool,
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A deploy will not start.
    Error,
    /// It will work, and hurt.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word shown for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Every rule of this page, for the "in order" count.
pub const RULES: u32 = 6;

/// What the configuration alone shows, the worst first.
pub fn lint(config: &Config) -> Vec<Finding> {
    let services = config.services.iter();
    let mut found: Vec<Finding> =
        services.flat_map(|(name, service)| of_service(name, service)).collect();
    found.extend(sqlite_without_its_directory(config));
    found.extend(pool_for_everybody(config));
    found.extend(judged_by_nothing(config));
    for finding in &mut found {
        finding.accepted = config.accept.contains(&finding.id);
    }
    found.sort_by(|a, b| (a.severity, &a.id, &a.subject).cmp(&(b.severity, &b.id, &b.subject)));
    found
}

fn of_service(name: &ServiceName, service: &Service) -> Vec<Finding> {
    let checks = [health_none, dev_server, gunicorn_quit, port_not_taken];
    checks.iter().filter_map(|check| check(name, service)).collect()
}

fn health_none(name: &ServiceName, service: &Service) -> Option<Finding> {
    let none = service.health.check == HealthCheck::None;
    none.then(|| {
        let message =
            "there is no [health]: an open port counts as ready, whatever it would answer";
        warning("health.none", &format!("services.{name}"), message, "health.path = \"/healthz\"")
    })
}

/// Servers that were made for one developer: one request at a time, code reloaded on each.
fn dev_server(name: &ServiceName, service: &Service) -> Option<Finding> {
    let (server, fix) = development_server(&words(&service.command))?;
    let message = format!("`{server}` is a development server");
    Some(warning("unit.dev-server", &format!("services.{name}.command"), &message, fix))
}

pub(crate) fn development_server(words: &[&str]) -> Option<(&'static str, &'static str)> {
    let first = words.first().map(|word| base(word))?;
    let has = |word: &str| words.contains(&word);
    let names = |word: &str| words.iter().any(|w| base(w) == word);
    let runs_vite = names("vite") && !has("build");
    match first {
        f if f.starts_with("php") && has("-S") => Some((
            "php -S",
            "web.php_fpm = { root = \"public\", children = 4 }, with router.kind = \"nginx\"",
        )),
        _ if names("flask") && has("run") => Some((
            "flask run",
            "web.command = \"venv/bin/gunicorn --bind 127.0.0.1:{port} app:app\"",
        )),
        _ if names("manage.py") && has("runserver") => Some((
            "manage.py runserver",
            "web.command = \"venv/bin/gunicorn --bind 127.0.0.1:{port} PROJECT.wsgi\"",
        )),
        _ if names("next") && has("dev") => Some((
            "next dev",
            "release.build = \"npx next build\" and web.command = \"npx next start -p {port}\"",
        )),
        _ if runs_vite => {
            Some(("vite", "release.build = \"npx vite build\", and a web server for dist/"))
        }
        _ => None,
    }
}

/// gunicorn's QUIT drops requests in flight; TERM is the graceful one.
fn gunicorn_quit(name: &ServiceName, service: &Service) -> Option<Finding> {
    let gunicorn = words(&service.command).iter().any(|word| base(word) == "gunicorn");
    let hard = ["SIGQUIT", "SIGINT"].contains(&service.stop.signal.as_str());
    (gunicorn && hard).then(|| {
        let message = format!(
            "{} makes gunicorn drop the requests in flight; SIGTERM lets them end",
            service.stop.signal
        );
        warning(
            "stop.gunicorn-quit",
            &format!("services.{name}.stop.signal"),
            &message,
            "leave stop.signal out, or stop.signal = \"SIGTERM\"",
        )
    })
}

/// Two slots cannot both have a port that is written into the command.
fn port_not_taken(name: &ServiceName, service: &Service) -> Option<Finding> {
    let asks =
        |word: &String| ["{port}", "{socket}", "$PORT", "${PORT}"].iter().any(|p| word.contains(p));
    if service.command.iter().any(asks) {
        return None;
    }
    let fixed = fixed_port(&words(&service.command))?;
    let message = format!("the command names port {fixed}, and both slots cannot have it");
    Some(warning(
        "command.fixed-port",
        &format!("services.{name}.command"),
        &message,
        "write {port} there, or let the app read $PORT",
    ))
}

/// A port behind a flag, or behind an address's colon.
fn fixed_port(words: &[&str]) -> Option<u16> {
    let flagged = words
        .windows(2)
        .find(|pair| ["--port", "-p", "--bind", "-b", "--listen", "--addr"].contains(&pair[0]));
    let joined = words
        .iter()
        .filter_map(|w| w.strip_prefix("--port=").or_else(|| w.strip_prefix("--bind=")));
    let candidates = flagged.map(|pair| pair[1]).into_iter().chain(joined);
    candidates.filter_map(|text| text.rsplit(':').next()?.parse().ok()).find(|port: &u16| *port > 0)
}

/// SQLite writes `-wal` and `-shm` beside its file: shared alone, each slot would have its own and lose the other's.
fn sqlite_without_its_directory(config: &Config) -> Vec<Finding> {
    let is_database = |file: &&std::path::PathBuf| {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        [".sqlite", ".sqlite3", ".db", ".db3"].iter().any(|end| name.ends_with(end))
    };
    let alone =
        config.shared.files.iter().filter(is_database).filter(|file| !in_shared_dir(config, file));
    alone
        .map(|file| {
            let dir = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("data"));
            let subject = format!("shared.files = [\"{}\"]", file.display());
            let message = "files are copied into each slot: a database there would be two, and its -wal beside it is not shared";
            let fix = format!("shared.dirs = [\"{}\"], with the database inside it", dir.display());
            Finding { severity: Severity::Error, ..warning("shared.sqlite", &subject, message, &fix) }
        })
        .collect()
}

fn in_shared_dir(config: &Config, file: &Path) -> bool {
    config.shared.dirs.iter().any(|dir| file.starts_with(dir))
}

/// Whoever may speak FastCGI with a pool may have it run any file that it can read.
fn pool_for_everybody(config: &Config) -> Option<Finding> {
    let (name, _) = config.services.iter().find(|(_, service)| service.php_fpm.is_some())?;
    (config.runner == Runner::Process).then(|| {
        warning(
            "php-fpm.open-port",
            &format!("services.{name}.php_fpm"),
            "every user of the host can speak to the pool, which listens on a port",
            "runner = \"systemd\": a socket for the app and nginx alone",
        )
    })
}

/// Without a limit only a dead release is given back: said, because "judged" sounds like more.
fn judged_by_nothing(config: &Config) -> Option<Finding> {
    let bake = &config.bake;
    let none = bake.max_error_rate.is_none() && bake.max_failed_requests.is_none();
    none.then(|| Finding {
        severity: Severity::Info,
        ..warning(
            "bake.no-limit",
            "bake",
            "no limit on errors: only failed probes and crashes give a release back",
            "bake.max_error_rate = 0.05",
        )
    })
}

fn warning(id: &str, subject: &str, message: &str, fix: &str) -> Finding {
    Finding {
        id: id.to_owned(),
        severity: Severity::Warning,
        subject: subject.to_owned(),
        message: message.to_owned(),
        fix: Some(fix.to_owned()),
        accepted: false,
    }
}

/// The words of a command; of `sh -c '…'` those inside.
fn words(command: &[String]) -> Vec<&str> {
    let shell = command.first().is_some_and(|first| ["sh", "bash", "dash"].contains(&base(first)));
    if !shell {
        return command.iter().map(String::as_str).collect();
    }
    let inside = command.iter().skip(1).filter(|word| !word.starts_with('-'));
    inside.flat_map(|text| text.split_whitespace()).filter(|word| *word != "exec").collect()
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests;
