//! `init`: looks at the directory (and with `--adopt` at this host), and writes a short `alcedo.toml`. Never overwrites.

use super::session::Session;
use crate::api::Failed;
use crate::cli::InitArgs;
use crate::report;
use crate::report::ended::exit;
use alcedo_core::HostAddress;
use alcedo_core::init::{Draft, HandMade, InitError, adopt, check, detect, render};
use alcedo_core::lint::Severity;
use anyhow::Context;
use serde_json::json;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// The file's name.
const FILE: &str = "alcedo.toml";

/// Runs `init`.
pub(crate) fn run(session: &mut Session, args: &InitArgs) -> anyhow::Result<u8> {
    let here = std::env::current_dir().context("find the current directory")?;
    let dir = session.globals.app_dir.as_ref().map_or(here.clone(), |dir| here.join(dir));
    let file = session.globals.file.as_ref().map_or_else(|| dir.join(FILE), |file| here.join(file));
    refuse_existing(&file)?;
    let directory = crate::init::read(&dir)
        .map_err(|error| Failed::usage(format!("failed to look at {}: {error}", dir.display())))?;
    let found = match args.adopt {
        true => adopt(&hand_made(session)?, &directory, session.globals.app.as_deref()),
        false => detect(&directory),
    };
    let mut draft = found.map_err(|error| refused(&error))?;
    if !args.adopt {
        tell_of_hand_made(&dir, &mut draft);
    }
    with_flags(session, &mut draft)?;
    check(&draft).map_err(|error| refused(&error))?;
    draft.notes.sort_by_key(|note| note.severity);
    write(&file, &render(&draft))?;
    let next = next(&draft);
    if session.json() {
        session.print_json(&shown(&draft, &file, &next));
        return Ok(exit::DONE);
    }
    let width = session.reporter.width;
    session.print(&report::init::init(&draft, &dir.display().to_string(), width));
    session.reporter.words("");
    session.reporter.words(&format!("{} is written; nothing else was changed.", file.display()));
    session.reporter.words(&format!("Next: {}", next.join(" ; ")));
    Ok(exit::DONE)
}

/// This host's own: another machine's is read there.
fn hand_made(session: &Session) -> anyhow::Result<HandMade> {
    let host = session.globals.host.as_deref().filter(|host| !host.is_empty());
    if let Some(host) = host.filter(|host| *host != "local") {
        let failed = Failed::usage(
            "`alcedo init --adopt --host` is not in this version: it reads the host that it is typed on",
        );
        return Err(failed.hint(format!("ssh {host}, then: sudo alcedo init --adopt")).into());
    }
    crate::adopt::look().map_err(|error| {
        let failure = alcedo_core::event::Failure::from(error);
        let failed = Failed::new(
            "adopt",
            format!("failed to {}: {}", failure.what, failure.detail),
            exit::FAILED,
        );
        let hint = if rustix::process::geteuid().is_root() {
            failure.hint
        } else {
            Some("sudo alcedo init --adopt".to_owned())
        };
        match hint {
            Some(hint) => failed.hint(hint).into(),
            None => failed.into(),
        }
    })
}

/// Units of this host that run from here: what is written would come beside them, not in their place.
fn tell_of_hand_made(dir: &Path, draft: &mut Draft) {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let is_here = |unit: &&alcedo_core::units::Unit| {
        let program = unit.exec.first().map(Path::new);
        [unit.dir.as_deref(), program].into_iter().flatten().any(|path| path.starts_with(&dir))
    };
    let units = crate::adopt::units();
    let here: Vec<&str> = units.iter().filter(is_here).map(|unit| unit.name.as_str()).collect();
    if !here.is_empty() {
        let message =
            "hand-made units of this host run from here; this configuration would come beside them";
        draft.note(
            "unit.hand-made",
            Severity::Warning,
            &here.join(", "),
            message,
            "sudo alcedo init --adopt takes them over",
        );
    }
}

/// Said before anything is looked at.
fn refuse_existing(file: &Path) -> Result<(), Failed> {
    if !file.exists() {
        return Ok(());
    }
    let message = format!("{} is there already, and nothing is overwritten", file.display());
    Err(Failed::usage(message).hint("alcedo check; or move it away first"))
}

/// What was typed goes before what was found.
fn with_flags(session: &Session, draft: &mut Draft) -> anyhow::Result<()> {
    if let Some(app) = &session.globals.app {
        draft.app = alcedo_core::AppName::new(app.clone())
            .map_err(|error| Failed::usage(error.to_string()))?;
    }
    let Some(host) = session.globals.host.as_deref().filter(|host| !host.is_empty()) else {
        return Ok(());
    };
    let address = HostAddress::parse(host).map_err(|error| super::session::not_a_host(&error))?;
    if address != HostAddress::Local {
        draft.set("host", address.to_string(), "as typed");
    }
    Ok(())
}

/// New, or not at all: what another program wrote meanwhile stays.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut made = match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            refuse_existing(file)?;
            return Err(error).context(format!("write {}", file.display()));
        }
        other => other.with_context(|| format!("write {}", file.display()))?,
    };
    made.write_all(text.as_bytes()).with_context(|| format!("write {}", file.display()))
}

fn next(draft: &Draft) -> Vec<String> {
    let is_far = draft.get("host").is_some();
    let is_unit = draft.get("runner").is_some_and(|runner| runner == "systemd");
    let words: &[&str] = match (is_unit, is_far) {
        (true, false) => {
            &["alcedo check", "sudo alcedo setup --dry-run", "sudo alcedo setup", "alcedo deploy"]
        }
        (_, true) => &["alcedo check --local", "alcedo check", "alcedo deploy"],
        (false, false) => &["alcedo check", "alcedo deploy"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shown(draft: &Draft, file: &Path, next: &[String]) -> serde_json::Value {
    let settings: Vec<_> = draft
        .settings
        .iter()
        .map(|s| json!({ "key": s.key, "value": s.value, "from": s.from, "set": s.state == alcedo_core::init::State::Set }))
        .collect();
    json!({
        "file": file, "app": draft.app, "kind": draft.kind, "settings": settings,
        "findings": draft.notes, "next": next,
    })
}

fn refused(error: &InitError) -> Failed {
    let failed = Failed::new("nothing-found", format!("failed to {error}"), exit::FAILED);
    match error {
        InitError::Nothing { .. } => failed.hint(
            "write alcedo.toml yourself, two lines are enough: app = \"shop\" and web.command = \"./shop --port {port}\"",
        ),
        InitError::NotKnown { .. } => failed.hint("alcedo init writes a fresh configuration; alcedo check looks at what is there"),
        InitError::Refused { .. } => failed.hint("write that line yourself: alcedo schema has every key"),
    }
}
