//! `releases`: what can be gone back to.

use super::names;
use super::session::{Session, status_of};
use crate::report::{ended::exit, history};
use crate::views::ReleasesView;

/// Runs `releases`.
pub(crate) fn run(session: &mut Session) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    let client = session.client(Some(&app))?;
    let view: ReleasesView = client.get(&format!("/v1/apps/{}/releases", app.name))?;
    names::keep_releases(app.name.as_str(), &view);
    if session.json() {
        session.print_json(&view);
        return Ok(exit::DONE);
    }
    let status = status_of(&client, &app)?;
    let lines = history::releases(&view, status.as_ref().map(|(view, _)| view), &session.flags);
    session.print(&lines);
    Ok(exit::DONE)
}
