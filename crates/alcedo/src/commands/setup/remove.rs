//! `setup --remove`, and `--purge`, which also deletes what only its owner can throw away and so wants the app's name.

use super::{Target, not_adopted, refused};
use crate::adopt;
use crate::api::Failed;
use crate::cli::SetupArgs;
use crate::commands::question;
use crate::commands::session::Session;
use crate::paths::Paths;
use crate::report::ended::exit;
use crate::setup::{self, Really, Step};
use serde_json::json;

/// Takes back what `setup` did.
pub(super) fn run(
    session: &mut Session,
    args: &SetupArgs,
    steps: Vec<Step>,
    app: Option<&Target>,
) -> anyhow::Result<u8> {
    let name = app.map(|app| app.name.as_str());
    let steps = setup::part_of(steps, name);
    let mut would = setup::remove(&steps, name, Really::No).map_err(refused)?;
    let sites = app.map_or(Ok(Vec::new()), |app| setup::site_files(&app.name)).map_err(refused)?;
    would.files.splice(0..0, sites.iter().cloned());
    let purged = match (args.purge, app) {
        (true, None) => return Err(unnamed().into()),
        (true, Some(app)) => setup::purged(&app.name, &app.config),
        (false, _) => Vec::new(),
    };
    if !args.dry_run {
        confirm(session, args, &would.units, app)?;
    }
    let removed = match args.dry_run {
        true => would,
        false => {
            // First, so that nobody is sent to an app that is being stopped.
            hand_back(session, app)?;
            if let (false, Some(app)) = (sites.is_empty(), app) {
                setup::hand_back(&app.name).map_err(refused)?;
            }
            let mut removed = setup::remove(&steps, name, Really::Yes).map_err(refused)?;
            removed.files.splice(0..0, sites);
            removed
        }
    };
    if let (false, Some(app)) = (args.dry_run, app) {
        // Without orders nothing of it would start again, should its units come back.
        let _ = std::fs::remove_dir_all(Paths::system().orders(&app.name));
        if args.purge {
            setup::purge(&app.name, &app.config).map_err(refused)?;
        }
    }
    if session.json() {
        session.print_json(&json!({
            "ok": true, "dry_run": args.dry_run, "units": removed.units, "files": removed.files,
            "rights": removed.rights, "purged": purged, "kept": removed.kept,
        }));
        return Ok(exit::DONE);
    }
    let verb = if args.dry_run { "would go" } else { "gone" };
    let stopped = removed.units.iter().map(|unit| format!("{unit}: stopped, {verb}"));
    let files = removed.files.iter().map(|file| format!("{}: {verb}", file.display()));
    let rights = removed.rights.iter().map(|right| format!("{right}: {verb}"));
    let purged = purged.iter().map(|path| format!("{}: {verb}, for good", path.display()));
    let kept = removed.kept.iter().filter(|_| !args.purge).map(|kept| format!("kept: {kept}"));
    for line in stopped.chain(files).chain(rights).chain(purged).chain(kept) {
        session.reporter.words(&line);
    }
    Ok(exit::DONE)
}

/// Before anything stops: a site that was made by hand leads where it led before `setup`.
fn hand_back(session: &mut Session, app: Option<&Target>) -> anyhow::Result<()> {
    let Some(app) = app else { return Ok(()) };
    let said = adopt::hand_back(&app.name).map_err(not_adopted)?;
    if let (Some(said), false) = (said, session.json()) {
        session.reporter.words(&said);
    }
    Ok(())
}

/// Stopping what serves wants a yes; deleting what nothing brings back wants the name, typed.
fn confirm(
    session: &mut Session,
    args: &SetupArgs,
    units: &[String],
    app: Option<&Target>,
) -> Result<(), Failed> {
    let Some(app) = app.filter(|_| args.purge) else {
        if !units.iter().any(|unit| unit.contains('@')) || session.globals.yes {
            return Ok(());
        }
        let failed = Failed::usage(format!("this stops {}", units.join(", ")));
        return Err(failed.hint("alcedo setup --remove -y; see it first: --dry-run"));
    };
    let name = app.name.as_str();
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None if question::can_ask() => {
            let text = format!(
                "This deletes every release of {name} and all that is shared, for good. Its name, to go on:"
            );
            question::ask_word(&mut session.reporter, &text)
        }
        None => String::new(),
    };
    if typed == name {
        return Ok(());
    }
    let failed = Failed::usage(format!(
        "`--purge` deletes every release of {name} and all that is shared; it wants the app's name"
    ));
    Err(failed.hint(format!("alcedo setup --purge --confirm {name}; see it first: --dry-run")))
}

fn unnamed() -> Failed {
    Failed::usage("`--purge` deletes what belongs to an app, and none is named")
        .hint("type it in the app's directory, or name the app with -C or -c")
}
