//! `abort`: gives up what is under way and returns to stable.

use super::follow::{self, OnInterrupt, Order, Until};
use super::session::{Session, by, operation};
use super::signals::Signals;
use crate::api::{Accepted, VerbCall};
use crate::report::ended::Asked;

/// Runs `abort`.
pub(crate) fn run(session: &mut Session) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    let call =
        VerbCall { operation: operation(), by: by(), slot: None, now: false, before_switch: false };
    let accepted: Accepted = client.post(&format!("/v1/apps/{}/abort", app.name), &call)?;
    if let Some(text) = &accepted.text {
        session.reporter.words(&format!("{text}."));
    }
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        // Whoever types `abort && deploy` must not meet the deploy that is just being taken back.
        until: Until::End,
        asked: Asked::GiveUp,
        on_interrupt: OnInterrupt::StopWatching,
        from_start: false,
    };
    follow::follow(session, &client, &signals, &order)
}
