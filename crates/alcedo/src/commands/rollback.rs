//! `rollback`: the way back. Asks nothing, waits for no gate, and an error in `alcedo.toml` does not stand before it.

use super::app::App;
use super::follow::{self, OnInterrupt, Order, Until};
use super::session::{Session, by, operation, status_of};
use super::signals::Signals;
use crate::api::{Accepted, Failed, RollbackCall};
use crate::cli::RollbackArgs;
use crate::report::ended::Asked;
use crate::report::history;
use crate::transport::{CallError, Client};
use crate::views::ReleasesView;

/// Runs `rollback`.
pub(crate) fn run(session: &mut Session, args: &RollbackArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    let call = RollbackCall {
        operation: operation(),
        release: args.release.clone(),
        by: by(),
        config: app.typed(),
    };
    let answer = client.post::<Accepted>(&format!("/v1/apps/{}/rollback", app.name), &call);
    let accepted = answer.map_err(|error| match error {
        // Nobody goes back twice by reflex: what there is to choose from stands below the refusal.
        CallError::Refused(failed)
            if args.release.is_none() && names_releases(&failed) && !session.json() =>
        {
            listed(session, &client, &app, failed).into()
        }
        error @ (CallError::Refused(_)
        | CallError::Unreached { .. }
        | CallError::Version { .. }
        | CallError::Unread { .. }) => anyhow::Error::from(error),
    })?;
    if let Some(text) = &accepted.text {
        session.reporter.words(&format!("{text}."));
    }
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        until: Until::Switched,
        asked: Asked::GoBack,
        on_interrupt: OnInterrupt::StopWatching,
        from_start: false,
    };
    follow::follow(session, &client, &signals, &order)
}

fn names_releases(failed: &Failed) -> bool {
    failed.hint.as_deref() == Some("alcedo releases")
}

fn listed(session: &Session, client: &Client, app: &App, failed: Failed) -> Failed {
    let Ok(view) = client.get::<ReleasesView>(&format!("/v1/apps/{}/releases", app.name)) else {
        return failed;
    };
    let status = status_of(client, app).ok().flatten();
    let lines = history::releases(&view, status.as_ref().map(|(view, _)| view), &session.reader());
    let message = format!("{}\n{}", failed.message, lines.join("\n"));
    Failed { message, hint: Some("alcedo rollback RELEASE".to_owned()), ..failed }
}
