//! `history`: the deploys so far; with an id, one of them again, through the same words as when it happened.

use super::follow::{self, OnInterrupt, Order, Until};
use super::session::Session;
use super::signals::Signals;
use crate::api::{Accepted, Failed};
use crate::cli::HistoryArgs;
use crate::report::ended::{Asked, exit};
use crate::report::history;
use crate::views::HistoryView;
use alcedo_core::names::DeployId;

/// Runs `history`.
pub(crate) fn run(session: &mut Session, args: &HistoryArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    let client = session.client(Some(&app))?;
    if let Some(id) = &args.id {
        let id: DeployId =
            id.parse().map_err(|error| Failed::usage(format!("failed to {error}")))?;
        return replay(session, &client, &app, id);
    }
    let view: HistoryView = client.get(&format!("/v1/apps/{}/history", app.name))?;
    if session.json() {
        session.print_json(&view);
    } else {
        let lines = history::history(&view, &session.reader());
        session.print(&lines);
    }
    Ok(exit::DONE)
}

fn replay(
    session: &mut Session,
    client: &crate::transport::Client,
    app: &super::app::App,
    id: DeployId,
) -> anyhow::Result<u8> {
    session.header(app);
    let signals = Signals::catch()?;
    let accepted = Accepted { deploy: Some(id.to_string()), since: 0, text: None };
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        until: Until::Now,
        asked: Asked::Replay,
        on_interrupt: OnInterrupt::StopWatching,
        from_start: true,
    };
    follow::follow(session, client, &signals, &order)
}
