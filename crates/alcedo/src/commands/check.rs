//! `check`: findings of the config, found here, and of the host, found there.

use super::session::Session;
use crate::api::Failed;
use crate::cli::CheckArgs;
use crate::paths::{Keeper, Paths};
use crate::report::check;
use crate::report::ended::exit;
use crate::transport::CallError;
use crate::views::CheckView;
use alcedo_core::config::Runner;
use alcedo_core::lint::{Finding, Severity, lint};
use anyhow::Context;
use std::os::unix::fs::OpenOptionsExt as _;

/// Runs `check`.
pub(crate) fn run(session: &mut Session, args: &CheckArgs) -> anyhow::Result<u8> {
    let app = session.app()?;
    let mut findings: Vec<Finding> = match &app.file {
        Some(file) => file.loaded.as_ref().map(|loaded| lint(&loaded.config)).unwrap_or_default(),
        None => Vec::new(),
    };
    if let Some(file) = &app.file {
        session.reporter.words(&format!("{:<16} ok", file.typed.file));
    }
    if args.bundle.is_some() && !session.is_here(Some(&app)) {
        let failed =
            Failed::usage("`alcedo check --bundle` of another machine is not in this version");
        return Err(failed.hint("type it on that machine").into());
    }
    let waits = !args.local && waits_for_setup(session, &app);
    if waits {
        findings.push(not_prepared());
    } else if !args.local {
        let client = session.client(Some(&app))?;
        findings.extend(of_host(&client, &app)?);
        let alcedo = client.hello()?.alcedo;
        let machine = session.machine_name(Some(&app));
        session.reporter.words(&format!("{machine:<16} ok: alcedo {alcedo}"));
    }
    if let (false, true) = (args.local, session.is_here(Some(&app))) {
        let dir = app.file.as_ref().map(|file| file.dir.as_path());
        findings =
            with_own_eyes(findings, dir, app.file.as_ref().and_then(|file| file.loaded.as_ref()));
    }
    findings.sort_by_key(|finding| finding.severity);
    if let Some(file) = &args.bundle {
        bundle(session, file, &findings, app.file.as_ref().map(|file| file.typed.text.as_str()))?;
    }
    let view = CheckView { ok: check::ok(&findings), findings };
    if session.json() {
        session.print_json(&view);
    } else {
        session.reporter.words("");
        session.print(&check::check(&view.findings, session.reporter.width));
    }
    Ok(if view.ok { exit::DONE } else { exit::FAILED })
}

/// A host that `setup` has not prepared yet has no daemon, and one of root's own would be in its way.
fn waits_for_setup(session: &Session, app: &super::app::App) -> bool {
    let config =
        app.file.as_ref().and_then(|file| file.loaded.as_ref()).map(|loaded| &loaded.config);
    let wants_units = config.is_some_and(|config| config.runner == Runner::Systemd);
    let is_prepared = Paths::choose().is_ok_and(|paths| paths.keeper == Keeper::System);
    wants_units
        && session.is_here(Some(app))
        && !is_prepared
        && std::env::var_os("ALCEDO_HOME").is_none()
}

fn not_prepared() -> Finding {
    Finding {
        id: "setup.missing".to_owned(),
        severity: Severity::Info,
        subject: "this host".to_owned(),
        message: "it is not prepared for runner = \"systemd\" yet".to_owned(),
        fix: Some("sudo alcedo setup --dry-run, then: sudo alcedo setup".to_owned()),
        accepted: false,
    }
}

/// What whoever types this may see, and the daemon may not: sites and scripts that are root's.
fn with_own_eyes(
    mut findings: Vec<Finding>,
    dir: Option<&std::path::Path>,
    loaded: Option<&alcedo_core::config::Loaded>,
) -> Vec<Finding> {
    let mut seen = crate::survey::look(dir);
    let accept = loaded.map(|loaded| loaded.config.accept.clone()).unwrap_or_default();
    seen.iter_mut().for_each(|finding| finding.accepted = accept.contains(&finding.id));
    if rustix::process::geteuid().is_root() {
        findings.retain(|finding| finding.id != "nginx.not-looked-at");
    }
    let is_new = |finding: &Finding| {
        !findings.iter().any(|known| known.id == finding.id && known.subject == finding.subject)
    };
    let new: Vec<Finding> = seen.into_iter().filter(is_new).collect();
    findings.extend(new);
    findings
}

/// A report to send, of the machine that it is typed on.
fn bundle(
    session: &mut Session,
    file: &std::path::Path,
    findings: &[Finding],
    config: Option<&str>,
) -> anyhow::Result<()> {
    let text = crate::survey::bundle(findings, config, &super::session::wall());
    // What helps somebody who helps is nobody else's business.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.with_context(|| format!("write {}", file.display()))?;
    std::io::Write::write_all(&mut made, text.as_bytes())
        .with_context(|| format!("write {}", file.display()))?;
    session.reporter.words(&format!("{} is written; read it before you send it.", file.display()));
    Ok(())
}

/// A host that does not know the app yet is looked at all the same, as far as it can be.
fn of_host(
    client: &crate::transport::Client,
    app: &super::app::App,
) -> anyhow::Result<Vec<Finding>> {
    match client.get::<CheckView>(&format!("/v1/apps/{}/check", app.name)) {
        Ok(view) => Ok(view.findings),
        Err(CallError::Refused(failed)) if failed.exit == exit::USAGE => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
