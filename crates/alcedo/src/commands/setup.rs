//! `setup`: prepares this host as root; with `--user`, makes daemon and proxy start at boot without root.

mod far;
mod remove;
mod site;
mod user;

use super::session::Session;
use crate::adapters::clock;
use crate::adapters::exec::{self, Exit};
use crate::adopt;
use crate::api::{ConfigText, Failed};
use crate::cli::SetupArgs;
use crate::engine::ports::EffectError;
use crate::paths::Paths;
use crate::report::ended::exit;
use crate::setup::{self, Pending, PublicKey, SetupError, Site, SiteStep};
use alcedo_core::AppName;
use alcedo_core::config::Config;
use anyhow::Context;
use serde_json::json;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The daemon answers by then.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// A program that is asked for its version answers by then.
const BINARY_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `setup`.
pub(crate) fn run(session: &mut Session, args: &SetupArgs) -> anyhow::Result<u8> {
    if args.user {
        return user::run(session, args);
    }
    if let Some(address) = session.typed_machine()? {
        let app = target(session)?;
        return far::run(session, args, app.as_ref(), &address);
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && !args.dry_run {
        let failed = Failed::new("not-root", "setup changes the system, which only root may", 1);
        return Err(failed.hint("sudo alcedo setup; without root: alcedo setup --user").into());
    }
    let app = target(session)?;
    let exe = program(args)?;
    let named = app.as_ref().map(|app| (&app.name, &app.config));
    let mut steps = setup::plan(exe, named).map_err(refused)?;
    if let (Some(account), Some(app), false) = (&args.account, &app, args.remove || args.purge) {
        steps.extend(setup::account(account, account_key(args)?, &app.name));
    }
    if args.remove || args.purge {
        return remove::run(session, args, steps, app.as_ref());
    }
    let work = Work {
        app: app.as_ref(),
        pending: setup::pending(&steps).map_err(refused)?,
        site: app.as_ref().and_then(|app| Site::of(&app.name, &app.config)),
        take_over: take_over(session, app.as_ref(), is_root)?,
    };
    // What stands in nginx's way is told before anything is changed.
    let shown = work.shown(session)?;
    if args.dry_run {
        return Ok(dry(session, &work.pending, &shown));
    }
    let Done { sites, privileges } = work.apply(session)?;
    let pending = work.pending;
    if session.json() {
        let changes = all(&pending, &sites);
        session.print_json(&json!({ "ok": true, "changes": changes, "privileges": privileges }));
        return Ok(exit::DONE);
    }
    if pending.is_empty() && sites.is_empty() {
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

/// What is to be done.
struct Work<'a> {
    app: Option<&'a Target>,
    pending: Vec<Pending<'a>>,
    site: Option<Site>,
    take_over: Option<adopt::Plan>,
}

/// What was done beside the steps, and by which rights.
struct Done {
    sites: Vec<SiteStep>,
    privileges: Vec<String>,
}

/// A site that was made by hand and is to be taken over. Who may not read it is told so.
fn take_over(
    session: &mut Session,
    app: Option<&Target>,
    is_root: bool,
) -> anyhow::Result<Option<adopt::Plan>> {
    match app.map(|app| adopt::plan(&app.name, &app.config)) {
        Some(Err(_)) if !is_root => {
            session.reporter.words("What is done to your nginx is shown to root alone.");
            Ok(None)
        }
        Some(plan) => plan.map_err(not_adopted),
        None => Ok(None),
    }
}

impl Work<'_> {
    /// What would change in nginx.
    fn shown(&self, session: &Session) -> anyhow::Result<Vec<SiteStep>> {
        let sites = match (self.app, &self.site) {
            (Some(app), Some(site)) => site::shown(session, app, site)?,
            (Some(_) | None, _) => Vec::new(),
        };
        Ok(sites.into_iter().chain(self.take_over.as_ref().map(adopted)).collect())
    }

    fn apply(&self, session: &mut Session) -> anyhow::Result<Done> {
        let applied = {
            let json = session.json();
            let reporter = &mut session.reporter;
            setup::apply(&self.pending, &mut |title| {
                if !json {
                    reporter.words(title);
                }
            })
        };
        let mut privileges = applied.map_err(refused)?.privileges();
        wait_for_daemon()?;
        let mut sites = match (self.app, &self.site) {
            (Some(app), Some(site)) => site::install(session, app, site)?,
            (Some(_) | None, _) => Vec::new(),
        };
        if !sites.is_empty() {
            let used = "root: wrote a site of nginx, tested it and had nginx reload";
            privileges.push(used.to_owned());
        }
        if let Some(plan) = &self.take_over {
            plan.apply().map_err(not_adopted)?;
            let used = "root: changed the file that your nginx chooses by, and reloaded nginx";
            privileges.push(used.to_owned());
            if !session.json() {
                plan.shown().iter().for_each(|line| session.reporter.words(line));
            }
            sites.push(adopted(plan));
        }
        Ok(Done { sites, privileges })
    }
}

/// An app with its configuration, as it was typed and as it is meant.
struct Target {
    name: AppName,
    config: Config,
    typed: ConfigText,
}

/// The app that is meant; without one the host alone is prepared.
fn target(session: &Session) -> anyhow::Result<Option<Target>> {
    if !super::app::is_named(&session.globals) {
        return Ok(None);
    }
    let app = session.app()?;
    let (file, loaded) = app.file()?;
    let (config, typed) = (loaded.config.clone(), file.typed.clone());
    Ok(Some(Target { name: app.name.clone(), config, typed }))
}

fn account_key(args: &SetupArgs) -> Result<PublicKey, Failed> {
    let text = args.account_key.as_deref().unwrap_or_default();
    PublicKey::parse(text)
        .ok_or_else(|| Failed::usage("the key is no public key").hint("--key FILE: a file *.pub"))
}

/// What units will start: this program, or the one that was named, which has to be one of ours for this machine.
fn program(args: &SetupArgs) -> anyhow::Result<PathBuf> {
    let Some(named) = &args.binary else {
        return std::env::current_exe().context("find this program");
    };
    let path = std::path::absolute(named).context("find the current directory")?;
    let wrong = |why: String| {
        Failed::usage(format!("failed to use --binary {}: {why}", named.display()))
            .hint("the alcedo of this machine's kind, as `cargo build --release` makes it")
    };
    let argv = vec![path.display().to_string(), "--version".to_owned()];
    let ended = exec::run_simply(argv, BINARY_LIMIT)
        .map_err(|error| wrong(crate::engine::order::chain(&error)))?;
    let said = String::from_utf8_lossy(&ended.output).trim().to_owned();
    if ended.exit != Exit::Status(0) || !said.starts_with("alcedo ") {
        return Err(
            wrong(format!("asked for its version it said {said:?} ({})", ended.exit)).into()
        );
    }
    Ok(path)
}

/// Every diff and command, and nothing done.
fn dry(session: &mut Session, pending: &[Pending<'_>], sites: &[SiteStep]) -> u8 {
    if session.json() {
        let changes = all(pending, sites);
        session.print_json(&json!({ "ok": true, "dry_run": true, "changes": changes }));
        return exit::DONE;
    }
    let mut lines = Vec::new();
    for (title, diff) in pending.iter().map(|p| (&p.title, &p.diff)) {
        lines.push(title.clone());
        lines.extend(diff.iter().map(|line| format!("    {line}")));
    }
    let after: std::collections::BTreeSet<_> =
        pending.iter().flat_map(|pending| &pending.step.after).collect();
    lines.extend(after.into_iter().map(|after| format!("$ {}", after.argv().join(" "))));
    for (title, diff) in sites.iter().map(|s| (&s.title, &s.diff)) {
        lines.push(title.clone());
        lines.extend(diff.iter().map(|line| format!("    {line}")));
    }
    if !sites.is_empty() {
        lines.push("$ nginx -t && nginx -s reload, until nginx answers by it".to_owned());
    }
    session.print(&lines);
    session.reporter.words(match pending.is_empty() && sites.is_empty() {
        true => "Everything is as it should be.",
        false => "Nothing was changed. Do it: sudo alcedo setup",
    });
    exit::DONE
}

fn all(pending: &[Pending<'_>], sites: &[SiteStep]) -> Vec<serde_json::Value> {
    let steps = pending.iter().map(|p| json!({ "what": p.title, "diff": p.diff }));
    let sites = sites.iter().map(|s| json!({ "what": s.title, "diff": s.diff }));
    steps.chain(sites).collect()
}

/// What the take-over of a hand-made site changes.
fn adopted(plan: &adopt::Plan) -> SiteStep {
    let mut lines = plan.shown().into_iter();
    SiteStep { title: lines.next().unwrap_or_default(), diff: lines.collect() }
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
