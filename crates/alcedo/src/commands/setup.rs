//! `setup`: prepares this host as root; with `--user`, makes daemon and proxy start at boot without root.

use super::session::Session;
use crate::adapters::clock;
use crate::adopt;
use crate::api::Failed;
use crate::cli::SetupArgs;
use crate::engine::ports::EffectError;
use crate::paths::Paths;
use crate::report::ended::exit;
use crate::setup::{self, Pending, SetupError, Step};
use crate::setup_user::{Boot, SetupUser};
use alcedo_core::AppName;
use alcedo_core::config::Config;
use anyhow::Context;
use serde_json::json;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The daemon answers by then.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `setup`.
pub(crate) fn run(session: &mut Session, args: &SetupArgs) -> anyhow::Result<u8> {
    if args.user {
        return user(session, args);
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && !args.dry_run {
        let failed = Failed::new("not-root", "setup changes the system, which only root may", 1);
        return Err(failed.hint("sudo alcedo setup; without root: alcedo setup --user").into());
    }
    let app = target(session)?;
    let exe = std::env::current_exe().context("find this program")?;
    let named = app.as_ref().map(|(name, config)| (name, config));
    let steps = setup::plan(exe, named).map_err(refused)?;
    if args.remove {
        return remove(session, args, steps, app.as_ref().map(|(name, _)| name));
    }
    let pending = setup::pending(&steps).map_err(refused)?;
    let take_over = match named.map(|(name, config)| adopt::plan(name, config)) {
        Some(Err(_)) if !is_root => {
            session.reporter.words("What is done to your nginx is shown to root alone.");
            None
        }
        Some(plan) => plan.map_err(not_adopted)?,
        None => None,
    };
    if args.dry_run {
        return Ok(dry(session, &pending, take_over.as_ref()));
    }
    let applied = {
        let json = session.json();
        let reporter = &mut session.reporter;
        setup::apply(&pending, &mut |title| {
            if !json {
                reporter.words(title);
            }
        })
    };
    let applied = applied.map_err(refused)?;
    wait_for_daemon()?;
    let mut privileges = applied.privileges();
    if let Some(plan) = &take_over {
        plan.apply().map_err(not_adopted)?;
        privileges.push(
            "root: changed the file that your nginx chooses by, and reloaded nginx".to_owned(),
        );
        if !session.json() {
            plan.shown().iter().for_each(|line| session.reporter.words(line));
        }
    }
    if session.json() {
        let adopted = take_over.as_ref().map(adopt::Plan::shown).unwrap_or_default();
        let mut changes: Vec<_> = pending.iter().map(shown).collect();
        changes.extend(
            adopted.split_first().map(|(what, diff)| json!({ "what": what, "diff": diff })),
        );
        session.print_json(&json!({ "ok": true, "changes": changes, "privileges": privileges }));
        return Ok(exit::DONE);
    }
    if pending.is_empty() && take_over.is_none() {
        session.reporter.words("Everything is as it should be; nothing was changed.");
    }
    session.reporter.words(match privileges.is_empty() {
        true => "Privileges used: none.",
        false => "Privileges used:",
    });
    for used in &privileges {
        session.reporter.words(&format!("  {used}"));
    }
    Ok(exit::DONE)
}

/// The app that is meant; without one the host alone is prepared.
fn target(session: &Session) -> anyhow::Result<Option<(AppName, Config)>> {
    if !super::app::is_named(&session.globals) {
        return Ok(None);
    }
    let app = session.app()?;
    let (_, loaded) = app.file()?;
    Ok(Some((app.name.clone(), loaded.config.clone())))
}

/// Every diff and command, and nothing done.
fn dry(session: &mut Session, pending: &[Pending<'_>], take_over: Option<&adopt::Plan>) -> u8 {
    let adopted = take_over.map(adopt::Plan::shown).unwrap_or_default();
    if session.json() {
        let mut changes: Vec<_> = pending.iter().map(shown).collect();
        changes.extend(
            adopted.split_first().map(|(what, diff)| json!({ "what": what, "diff": diff })),
        );
        session.print_json(&json!({ "ok": true, "dry_run": true, "changes": changes }));
        return exit::DONE;
    }
    let mut lines = Vec::new();
    for pending in pending {
        lines.push(pending.title.clone());
        lines.extend(pending.diff.iter().map(|line| format!("    {line}")));
    }
    let after: std::collections::BTreeSet<_> =
        pending.iter().flat_map(|pending| &pending.step.after).collect();
    lines.extend(after.into_iter().map(|after| format!("$ {}", after.argv().join(" "))));
    lines.extend(adopted.iter().cloned());
    session.print(&lines);
    session.reporter.words(match pending.is_empty() && adopted.is_empty() {
        true => "Everything is as it should be.",
        false => "Nothing was changed. Do it: sudo alcedo setup",
    });
    exit::DONE
}

fn shown(pending: &Pending<'_>) -> serde_json::Value {
    json!({ "what": pending.title, "diff": pending.diff })
}

/// Before anything stops: traffic goes where it went before `setup`.
fn hand_back(session: &mut Session, args: &SetupArgs, app: Option<&AppName>) -> anyhow::Result<()> {
    let (Some(app), false) = (app, args.dry_run) else { return Ok(()) };
    let said = adopt::hand_back(app).map_err(not_adopted)?;
    if let (Some(said), false) = (said, session.json()) {
        session.reporter.words(&said);
    }
    Ok(())
}

fn not_adopted(error: EffectError) -> anyhow::Error {
    let failure = alcedo_core::event::Failure::from(error);
    let message =
        format!("failed to {}: {}; your site serves what it served", failure.what, failure.detail);
    let failed = Failed::new("adopt", message, 1);
    match failure.hint {
        Some(hint) => failed.hint(hint).into(),
        None => failed.into(),
    }
}

fn remove(
    session: &mut Session,
    args: &SetupArgs,
    steps: Vec<Step>,
    app: Option<&AppName>,
) -> anyhow::Result<u8> {
    let name = app.map(AppName::as_str);
    let steps = setup::part_of(steps, name);
    let would = setup::remove(&steps, name, setup::Really::No).map_err(refused)?;
    let stops = would.units.iter().any(|unit| unit.contains('@'));
    if stops && !args.dry_run && !session.globals.yes {
        let failed = Failed::usage(format!("this stops {}", would.units.join(", ")));
        return Err(failed.hint("alcedo setup --remove -y; see it first: --dry-run").into());
    }
    hand_back(session, args, app)?;
    let removed = match args.dry_run {
        true => would,
        false => setup::remove(&steps, name, setup::Really::Yes).map_err(refused)?,
    };
    if let (false, Some(app)) = (args.dry_run, app) {
        // Without orders nothing of it would start again, should its units come back.
        let _ = std::fs::remove_dir_all(Paths::system().orders(app));
    }
    if session.json() {
        session.print_json(&json!({
            "ok": true, "dry_run": args.dry_run, "units": removed.units,
            "files": removed.files, "kept": removed.kept,
        }));
        return Ok(exit::DONE);
    }
    let verb = if args.dry_run { "would go" } else { "gone" };
    let mut lines: Vec<String> =
        removed.units.iter().map(|unit| format!("{unit}: stopped, {verb}")).collect();
    lines.extend(removed.files.iter().map(|file| format!("{}: {verb}", file.display())));
    lines.extend(removed.kept.iter().map(|kept| format!("kept: {kept}")));
    for line in lines {
        session.reporter.words(&line);
    }
    Ok(exit::DONE)
}

/// What was set up works when it answers.
fn wait_for_daemon() -> anyhow::Result<()> {
    let socket = Paths::system().daemon_socket();
    let deadline = clock::now().after(ANSWER_LIMIT);
    while UnixStream::connect(&socket).is_err() {
        if clock::left(deadline).is_zero() {
            let failed = Failed::new("daemon", "alcedo.service runs and does not answer", 1);
            return Err(failed.hint("journalctl -u alcedo -n 20").into());
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}

fn refused(error: SetupError) -> anyhow::Error {
    let hint = error.hint();
    let message = format!("failed to {}", crate::engine::order::chain(&error));
    let failed = Failed::new("setup", message, 1);
    match hint {
        Some(hint) => failed.hint(hint).into(),
        None => failed.into(),
    }
}

fn user(session: &mut Session, args: &SetupArgs) -> anyhow::Result<u8> {
    let exe = std::env::current_exe().context("find this program")?;
    let setup = SetupUser::new(exe);
    let boot = if args.remove {
        setup.remove()?;
        setup.describe()?
    } else {
        setup.install()?
    };
    let done = args.remove || !matches!(boot, Boot::Nothing { .. });
    if session.json() {
        session.print_json(&json!({ "ok": done, "text": boot.to_string() }));
    } else {
        session.reporter.words(&format!("alcedo {boot}."));
        session.reporter.words("Privileges used: none beyond your own.");
    }
    Ok(if done { exit::DONE } else { exit::FAILED })
}
