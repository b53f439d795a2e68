//! `resolve`: a person says which slot is live.

use super::session::{Session, by, operation, status_of};
use crate::api::{Accepted, VerbCall};
use crate::cli::ResolveArgs;
use crate::report::ended::exit;

/// Runs `resolve`.
pub(crate) fn run(session: &mut Session, args: &ResolveArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let call = VerbCall {
        operation: operation(),
        by: by(),
        slot: Some(args.slot),
        now: false,
        before_switch: false,
    };
    let accepted: Accepted = client.post(&format!("/v1/apps/{}/resolve", app.name), &call)?;
    told(session, &client, &app, &accepted);
    Ok(exit::DONE)
}

/// What happened and what is live.
pub(super) fn told(
    session: &mut Session,
    client: &crate::transport::Client,
    app: &super::app::App,
    accepted: &Accepted,
) {
    let view = status_of(client, app).ok().flatten().map(|(view, _)| view);
    let live = view.as_ref().and_then(|view| Some((view.live_slot()?, view.live_release()?)));
    if session.json() {
        let value = serde_json::json!({
            "text": accepted.text,
            "active": live.map(|(slot, _)| slot),
            "release": live.map(|(_, release)| release),
        });
        session.print_json(&value);
        return;
    }
    if let Some(text) = &accepted.text {
        session.reporter.words(&format!("{text}."));
    }
    match live {
        Some((slot, release)) => session.reporter.words(&format!("Live: {slot} {release}")),
        None => session.reporter.words("Live: nothing yet"),
    }
}
