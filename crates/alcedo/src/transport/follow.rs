//! Following a deploy's events: "since n", through restarts of the daemon.

use super::client::Tried;
use super::{CallError, Client, Lines, Next};
use crate::adapters::clock;
use crate::api::Line;
use crate::engine::ports::Millis;
use alcedo_core::event::{Event, Record};
use alcedo_core::names::DeployId;
use std::time::Duration;

/// A daemon says something every second; a connection without a word for so long is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A deploy's events, from its first.
pub(crate) struct Follow<'a> {
    local: &'a Client,
    app: String,
    deploy: DeployId,
    since: u64,
    /// Ends with what there is.
    replay: bool,
    ended: bool,
    lines: Option<Lines<'a>>,
    heard_at: Millis,
    lost: Option<Lost>,
}

/// The connection is lost.
struct Lost {
    at: Millis,
    tries: u32,
    seen: String,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Something happened.
    Record(Box<Record>),
    /// How far the step under way is.
    Progress(String),
    /// Nothing new.
    Quiet,
    /// The connection is lost; it is tried again. Said once.
    Lost(String),
    /// It is back.
    Back,
    /// Everything was said.
    Over,
}

impl<'a> Follow<'a> {
    /// Follows `deploy` of `app` (its name on the host) from the beginning.
    pub(crate) fn new(local: &'a Client, app: &str, deploy: DeployId) -> Self {
        Self {
            local,
            app: app.to_owned(),
            deploy,
            since: 0,
            replay: false,
            ended: false,
            lines: None,
            heard_at: clock::now(),
            lost: None,
        }
    }

    /// The same, but ends with what has happened so far.
    pub(crate) fn replay(local: &'a Client, app: &str, deploy: DeployId) -> Self {
        Self { replay: true, ..Self::new(local, app, deploy) }
    }

    /// The next thing, waited for at most about so long.
    ///
    /// # Errors
    /// When the daemon refuses, or stays away longer than the client's patience.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<Heard, CallError> {
        if self.ended {
            return Ok(Heard::Over);
        }
        let Some(lines) = &mut self.lines else { return self.open(wait) };
        match lines.next(wait) {
            Next::Line(line) => {
                self.heard_at = clock::now();
                self.line(&line)
            }
            Next::Quiet if clock::now().since(self.heard_at) > SILENCE_MAX => {
                Ok(self.lose(format!("it said nothing for {} s", SILENCE_MAX.as_secs())))
            }
            Next::Quiet => Ok(Heard::Quiet),
            Next::Over if self.replay => {
                self.ended = true;
                Ok(Heard::Over)
            }
            // Before the deploy's end an end of the stream is the daemon's end.
            Next::Over => Ok(self.lose("it ended".to_owned())),
            Next::Broke(seen) => Ok(self.lose(seen)),
        }
    }

    fn line(&mut self, text: &str) -> Result<Heard, CallError> {
        if text.is_empty() {
            return Ok(Heard::Quiet);
        }
        let line: Line = serde_json::from_str(text).map_err(|error| CallError::Unread {
            call: "the events".to_owned(),
            seen: error.to_string(),
        })?;
        Ok(match line {
            Line::Alive => Heard::Quiet,
            Line::Progress(text) => Heard::Progress(text),
            // Told again after a reconnect.
            Line::Record(record) if record.seq <= self.since => Heard::Quiet,
            Line::Record(record) => {
                self.since = record.seq;
                self.ended = matches!(record.event, Event::Ended { .. })
                    && record.deploy == Some(self.deploy);
                Heard::Record(record)
            }
        })
    }

    fn lose(&mut self, seen: String) -> Heard {
        self.lines = None;
        self.lost = Some(Lost { at: clock::now(), tries: 0, seen: seen.clone() });
        Heard::Lost(seen)
    }

    fn open(&mut self, wait: Duration) -> Result<Heard, CallError> {
        let (app, deploy, since, follow) = (&self.app, self.deploy.0, self.since, !self.replay);
        let path = format!("/v1/apps/{app}/events?deploy={deploy}&since={since}&follow={follow}");
        match self.local.open_lines(&path) {
            Ok(lines) => {
                self.lines = Some(lines);
                self.heard_at = clock::now();
                Ok(if self.lost.take().is_some() { Heard::Back } else { Heard::Quiet })
            }
            Err(Tried::Final(error)) => Err(error),
            Err(Tried::Broke(seen)) => self.try_again(seen, wait),
        }
    }

    fn try_again(&mut self, mut seen: String, wait: Duration) -> Result<Heard, CallError> {
        if let Err(why) = self.local.revive() {
            seen = why;
        }
        let lost = self.lost.get_or_insert_with(|| Lost {
            at: clock::now(),
            tries: 0,
            seen: seen.clone(),
        });
        if clock::now().since(lost.at) >= self.local.patience() {
            let seen = format!("{seen}, after {}", lost.seen);
            return Err(self.local.unreached(seen));
        }
        let tries = lost.tries;
        lost.tries += 1;
        if !wait.is_zero() {
            self.local.pause(tries);
        }
        Ok(Heard::Quiet)
    }
}
