//! `config`: every effective setting with its origin, or what differs from what the host runs.

use super::session::Session;
use crate::api::AppConfig;
use crate::cli::ConfigArgs;
use crate::report::ended::exit;
use alcedo_core::config::{diff, render, to_json};

/// Runs `config`.
pub(crate) fn run(session: &mut Session, args: &ConfigArgs) -> anyhow::Result<u8> {
    let app = session.app()?;
    let (_, loaded) = app.file()?;
    if !args.diff {
        if session.json() {
            session.print_json(&to_json(loaded));
        } else {
            session.print(&[render(loaded)]);
        }
        return Ok(exit::DONE);
    }
    let client = session.client(Some(&app))?;
    let there: AppConfig = client.get(&format!("/v1/apps/{}/config", app.name))?;
    let Some(there) = there.config else {
        session.reporter.words("The host runs nothing of this app yet.");
        return Ok(exit::DONE);
    };
    let changes = diff(&there, &loaded.config);
    if session.json() {
        session.print_json(&serde_json::json!({ "changes": changes }));
    } else if changes.is_empty() {
        session.reporter.words("The host runs these settings.");
    } else {
        session.print(&changes.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    Ok(exit::DONE)
}
