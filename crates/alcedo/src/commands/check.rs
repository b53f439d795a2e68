//! `check`: findings of the config, found here, and of the host, found there.

use super::session::Session;
use crate::cli::CheckArgs;
use crate::report::check;
use crate::report::ended::exit;
use crate::transport::CallError;
use crate::views::CheckView;
use alcedo_core::lint::{Finding, lint};

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
    if !args.local {
        let client = session.client(Some(&app))?;
        findings.extend(of_host(&client, &app)?);
        let alcedo = client.hello()?.alcedo;
        let machine = session.machine_name(Some(&app));
        session.reporter.words(&format!("{machine:<16} ok: alcedo {alcedo}"));
    }
    findings.sort_by_key(|finding| finding.severity);
    let view = CheckView { ok: check::ok(&findings), findings };
    if session.json() {
        session.print_json(&view);
    } else {
        session.reporter.words("");
        session.print(&check::check(&view.findings, session.reporter.width));
    }
    Ok(if view.ok { exit::DONE } else { exit::FAILED })
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
