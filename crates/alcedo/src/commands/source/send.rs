//! Sends what was built to another machine, while a sign of life is shown.

use crate::adapters::clock;
use crate::api::{ConfigText, Failed};
use crate::commands::session::{Session, wall};
use crate::commands::signals::Signals;
use crate::engine::ports::{EffectError, Source};
use crate::files::{FilesError, Until, human_bytes};
use crate::report::line::{Mark, StepLine};
use crate::report::track::Track;
use crate::source::Resolved;
use crate::transport::{Client, SendError, Sending, Told, send, tell};
use crate::upload::send::Outgoing;
use alcedo_core::config::Config;

/// Where it goes.
pub(super) struct Upload<'a> {
    pub(super) client: &'a Client,
    pub(super) signals: &'a Signals,
    /// The app's name on the host.
    pub(super) app: &'a str,
    pub(super) config: &'a ConfigText,
}

impl Upload<'_> {
    /// Sends what the host lacks of it, and says how the host knows it then. With `seeds` the host keeps nothing of the
    /// app yet, so what the build has at shared paths is sent as well.
    pub(super) fn bring(
        &self,
        session: &mut Session,
        resolved: &Resolved,
        seeds: Option<&Config>,
    ) -> anyhow::Result<Source> {
        let until = Until::cancelled(self.signals.cancel());
        let found = Outgoing::of(&resolved.source, &resolved.tree, seeds, &until);
        let Some(outgoing) = found.map_err(|error| told(error.into()))? else {
            return Ok(resolved.source.clone());
        };
        let what = Told { app: self.app, config: self.config, outgoing: &outgoing };
        if session.verb == "plan" {
            let lacks = tell(self.client, &what).map_err(told)?;
            let (files, lacking_bytes) = outgoing.lacking(&lacks);
            let sending = Sending { files, lacking_bytes, ..Sending::default() };
            session.reporter.words(&format!("{} would be sent.", lacking(&sending, &outgoing)));
            return Ok(outgoing.source());
        }
        self.send(session, &what, &until)?;
        Ok(outgoing.source())
    }

    fn send(&self, session: &mut Session, what: &Told<'_>, until: &Until) -> anyhow::Result<()> {
        let begun = clock::now();
        session.reporter.client_begins("fetch", &wall(), begun);
        let track = Track::default();
        let sent = send(self.client, what, until, &mut |sending| {
            if let Some(seen) = &sending.lost {
                let text = format!("the connection is lost ({seen}); sending goes on where it was");
                session.reporter.note(&wall(), &text);
            }
            let text = format!(
                "{} of {}",
                human_bytes(sending.content_bytes),
                human_bytes(sending.lacking_bytes)
            );
            session.reporter.progress(&track, &wall(), &text, clock::now());
        });
        let took_us = u64::try_from(clock::now().since(begun).as_micros()).unwrap_or(u64::MAX);
        let (mark, text) = match &sent {
            Ok(sending) => {
                let all = lacking(sending, what.outgoing);
                (Mark::Ok, format!("{all}, {} sent", human_bytes(sending.sent_bytes)))
            }
            Err(SendError::Files(FilesError::Cancelled)) => (Mark::Undo, "given up".to_owned()),
            Err(_) => (Mark::Fail, "the release is not on the host".to_owned()),
        };
        session.reporter.client_step(&wall(), &StepLine::new(mark, "fetch", &text).taking(took_us));
        sent.map(drop).map_err(told)
    }
}

/// `141 of 9204 files, 1.2 of 212 MiB`.
fn lacking(sending: &Sending, outgoing: &Outgoing) -> String {
    format!(
        "{} of {} files, {} of {}",
        sending.files,
        outgoing.files(),
        human_bytes(sending.lacking_bytes),
        human_bytes(outgoing.size_bytes())
    )
}

fn told(error: SendError) -> anyhow::Error {
    match error {
        SendError::Call(error) => error.into(),
        SendError::Files(FilesError::Cancelled) => Failed::new(
            "interrupted",
            "given up while sending; nothing was started, and the next try goes on from here",
            130,
        )
        .into(),
        SendError::Files(error) => Failed::effect(EffectError::from(error)).into(),
    }
}
