//! `promote`: passes the gate of a staged deploy, or with `--now` accepts what is being judged.

use super::follow::{self, OnInterrupt, Order, Until};
use super::session::{Session, by, operation, status_of};
use super::signals::Signals;
use crate::api::{Accepted, VerbCall};
use crate::cli::PromoteArgs;
use crate::report::ended::Asked;

/// Runs `promote`.
pub(crate) fn run(session: &mut Session, args: &PromoteArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    let status = status_of(&client, &app)?;
    let at_gate = status.is_some_and(|(view, _)| view.deploy.is_some_and(|d| d.gate.is_some()));
    let call = VerbCall {
        operation: operation(),
        by: by(),
        slot: None,
        now: args.now,
        before_switch: false,
    };
    let accepted: Accepted = client.post(&format!("/v1/apps/{}/promote", app.name), &call)?;
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        // Passed at the gate, the switch follows; accepted while or after it was judged, the end does.
        until: if at_gate { Until::Switched } else { Until::End },
        asked: Asked::Promote,
        on_interrupt: OnInterrupt::StopWatching,
        from_start: false,
    };
    follow::follow(session, &client, &signals, &order)
}
