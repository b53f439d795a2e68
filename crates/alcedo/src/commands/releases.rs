//! `releases`: what can be gone back to.

use super::names;
use super::session::{Session, by, operation, status_of};
use crate::api::{Accepted, PinCall};
use crate::cli::{ReleasesArgs, ReleasesVerb};
use crate::report::{ended::exit, history};
use crate::views::ReleasesView;

/// Runs `releases`.
pub(crate) fn run(session: &mut Session, args: &ReleasesArgs) -> anyhow::Result<u8> {
    match &args.verb {
        Some(ReleasesVerb::Pin { release }) => pin(session, release, true),
        Some(ReleasesVerb::Unpin { release }) => pin(session, release, false),
        None => list(session),
    }
}

fn pin(session: &mut Session, release: &str, pinned: bool) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let release = release.to_owned();
    let call = PinCall { operation: operation(), by: by(), release, pinned };
    let accepted: Accepted = client.post(&format!("/v1/apps/{}/pin", app.name), &call)?;
    super::resolve::told(session, &client, &app, &accepted);
    Ok(exit::DONE)
}

fn list(session: &mut Session) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    let client = session.client(Some(&app))?;
    let view: ReleasesView = client.get(&format!("/v1/apps/{}/releases", app.name))?;
    names::keep_releases(app.name.as_str(), &view);
    if session.json() {
        session.print_json(&view);
        return Ok(exit::DONE);
    }
    let status = status_of(&client, &app)?;
    let lines = history::releases(&view, status.as_ref().map(|(view, _)| view), &session.reader());
    session.print(&lines);
    Ok(exit::DONE)
}
