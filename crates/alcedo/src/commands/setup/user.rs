//! `setup --user`: starts at boot without root; `--remove` stops everything of this user and takes that back.

use super::super::session::Session;
use crate::api::Failed;
use crate::cli::SetupArgs;
use crate::paths::Paths;
use crate::report::ended::exit;
use crate::setup_user::{Boot, SetupUser, stop_everything};
use crate::views::StatusView;
use alcedo_core::AppName;
use anyhow::Context;
use serde_json::json;
use std::path::Path;

/// Runs `setup --user`.
pub(super) fn run(session: &mut Session, args: &SetupArgs) -> anyhow::Result<u8> {
    let exe = std::env::current_exe().context("find this program")?;
    if args.remove {
        return remove(session, args, &exe);
    }
    let boot = SetupUser::new(exe).install()?;
    let done = !matches!(boot, Boot::Nothing { .. });
    if session.json() {
        session.print_json(&json!({ "ok": done, "text": boot.to_string() }));
    } else {
        session.reporter.words(&format!("alcedo {boot}."));
        session.reporter.words("Privileges used: none beyond your own.");
    }
    Ok(if done { exit::DONE } else { exit::FAILED })
}

/// Everything of this user stops, and nothing of it starts at boot; its files stay.
fn remove(session: &mut Session, args: &SetupArgs, exe: &Path) -> anyhow::Result<u8> {
    let paths = Paths::prepare()?;
    let apps = apps(session)?;
    let names: Vec<_> = apps.iter().map(AppName::as_str).collect();
    if !apps.is_empty() && !args.dry_run && !session.globals.yes {
        let failed = Failed::usage(format!("this stops {}", names.join(", ")));
        return Err(failed.hint("alcedo setup --user --remove -y").into());
    }
    if !args.dry_run {
        SetupUser::new(exe.to_owned()).remove()?;
        stop_everything(&paths, exe, &apps)?;
    }
    if session.json() {
        session.print_json(&json!({ "ok": true, "dry_run": args.dry_run, "apps": names }));
        return Ok(exit::DONE);
    }
    let verb = if args.dry_run { "would be stopped" } else { "stopped" };
    let what = names.iter().copied().chain(["daemon and proxy"]);
    for what in what {
        session.reporter.words(&format!("{what}: {verb}"));
    }
    session.reporter.words(&format!(
        "kept: releases and shared files in {}, the journal in {}",
        paths.apps.display(),
        paths.state.display()
    ));
    session.reporter.words("Nothing starts at boot. `alcedo deploy` brings everything back.");
    Ok(exit::DONE)
}

/// The apps that the daemon knows: only it does, so it is started when it does not run.
fn apps(session: &Session) -> anyhow::Result<Vec<AppName>> {
    let status: StatusView = session.client(None)?.get("/v1/status")?;
    Ok(status.apps.iter().filter_map(|app| AppName::new(app.name()).ok()).collect())
}
