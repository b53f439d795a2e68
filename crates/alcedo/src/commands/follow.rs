//! Following a deploy to the point that was asked for, and the last words.

use super::session::{Session, wall};
use super::signals::Signals;
use crate::adapters::clock;
use crate::api::{Accepted, Failed, LogLine, VerbCall};
use crate::engine::ports::Millis;
use crate::report::Form;
use crate::report::closing::{Around, closing};
use crate::report::ended::{Asked, Ended, Stop};
use crate::report::track::Track;
use crate::transport::{CallError, Client, Follow, Heard, Next};
use crate::views::{ReleasesView, StatusView};
use alcedo_core::event::Outcome;
use alcedo_core::judge::Finding;
use alcedo_core::names::DeployId;
use alcedo_core::step::Step;
use std::time::Duration;

/// Signals and the sign of life are looked at this often.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of the new slot's log under a failure.
const LOG_LINES: u32 = 20;
/// The log's lines are waited for so long.
const LOG_WAIT: Duration = Duration::from_secs(2);

/// Until when it is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The release is on the host.
    Fetched,
    /// The switch, or the switch back, is verified.
    Switched,
    /// The verdict.
    Verdict,
    /// The deploy's last word.
    End,
    /// What there is.
    Now,
}

/// What Ctrl-C does before the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// It gives the deploy up: this client asked for it.
    GiveUp,
    /// It stops watching.
    StopWatching,
}

/// What is followed, and how.
pub(crate) struct Order<'a> {
    /// The app's name on the host.
    pub(crate) app: &'a str,
    /// What the call said.
    pub(crate) accepted: &'a Accepted,
    pub(crate) until: Until,
    pub(crate) asked: Asked,
    pub(crate) on_interrupt: OnInterrupt,
    /// Show what was before the call as well.
    pub(crate) from_start: bool,
}

/// Follows, says the last words, and returns the exit code.
///
/// # Errors
/// When the daemon stays away too long; the deploy goes on without us.
pub(crate) fn follow(
    session: &mut Session,
    client: &Client,
    signals: &Signals,
    order: &Order<'_>,
) -> anyhow::Result<u8> {
    let deploy: DeployId = match order.accepted.deploy.as_deref().map(str::parse) {
        Some(Ok(deploy)) => deploy,
        Some(Err(_)) | None => {
            return Err(
                Failed::new("unread", "the daemon did not say which deploy it is", 1).into()
            );
        }
    };
    let shown_after = if order.from_start { 0 } else { order.accepted.since };
    let mut watch = Watch {
        session,
        client,
        signals,
        order,
        shown_after,
        track: Track::default(),
        follow: if order.until == Until::Now {
            Follow::replay(client, order.app, deploy)
        } else {
            Follow::new(client, order.app, deploy)
        },
        gave_up: false,
    };
    let stop = watch.follow_to_end()?;
    Ok(watch.last_words(stop))
}

struct Watch<'a> {
    session: &'a mut Session,
    client: &'a Client,
    signals: &'a Signals,
    order: &'a Order<'a>,
    shown_after: u64,
    track: Track,
    follow: Follow<'a>,
    gave_up: bool,
}

impl Watch<'_> {
    fn follow_to_end(&mut self) -> anyhow::Result<Stop> {
        loop {
            if self.signals.take()
                && let Some(stop) = self.interrupted()?
            {
                return Ok(stop);
            }
            let now = clock::now();
            match self.follow.next(LOOK)? {
                Heard::Record(record) => {
                    self.track.record(&record);
                    if record.seq > self.shown_after {
                        self.session.reporter.record(&record, now);
                        self.footer();
                    }
                    if record.seq > self.order.accepted.since
                        && let Some(stop) = self.enough()
                    {
                        return Ok(stop);
                    }
                }
                Heard::Progress(text) => {
                    self.session.reporter.progress(&self.track, &wall(), &text, now)
                }
                Heard::Quiet => {
                    self.countdown(now);
                    self.session.reporter.tick(now);
                }
                Heard::Lost(seen) => {
                    let text = format!(
                        "the connection is lost ({seen}); the deploy goes on, and this is tried again"
                    );
                    self.session.reporter.note(&wall(), &text);
                }
                Heard::Back => self.session.reporter.note(&wall(), "it is back"),
                Heard::Over => return Ok(Stop::Over),
            }
        }
    }

    /// Of the bake, on a terminal: what is left of it, and what was seen so far.
    fn countdown(&mut self, now: Millis) {
        let is_live = matches!(self.session.reporter.form, Form::Live(_));
        let judges = self.track.going.is_some_and(|going| going.step == Some(Step::Bake));
        if let Some(text) = self.track.countdown(&wall()).filter(|_| is_live && judges) {
            self.session.reporter.progress(&self.track, &wall(), &text, now);
        }
    }

    /// Whether what was waited for has happened.
    fn enough(&self) -> Option<Stop> {
        let track = &self.track;
        if track.outcome.is_some() {
            return Some(Stop::Over);
        }
        if self.order.until == Until::Now {
            return None;
        }
        let fetches = track.plan.as_ref().is_some_and(|plan| plan.steps.contains(&Step::Fetch));
        let goes_wrong = track.given_up_by.is_some() || track.failure.is_some();
        if track.at_gate && !goes_wrong {
            return Some(Stop::AtGate);
        }
        match self.order.until {
            Until::Fetched if !fetches || track.fetched => Some(Stop::Detached),
            Until::Switched if track.back_verified => Some(Stop::Enough),
            // Without a judge the end follows at once, and a way back does not wait for its drain.
            Until::Switched
                if track.verified && !goes_wrong && (track.is_judged() || track.goes_back()) =>
            {
                Some(Stop::Enough)
            }
            Until::Verdict if self.is_held() => Some(Stop::AtGate),
            Until::Fetched | Until::Switched | Until::Verdict | Until::End | Until::Now => None,
        }
    }

    /// After a verdict that may not act, a person is waited for: only the daemon knows.
    fn is_held(&self) -> bool {
        let acts =
            self.track.verdict.as_ref().is_none_or(|verdict| verdict.finding == Finding::Pass);
        if acts
            || self.track.back_at.is_some()
            || self.track.going.is_none_or(|going| going.step != Some(Step::Bake))
        {
            return false;
        }
        self.status().is_some_and(|status| {
            status
                .apps
                .first()
                .and_then(|app| app.deploy.as_ref())
                .is_some_and(|deploy| deploy.held)
        })
    }

    fn footer(&mut self) {
        let gives_up = self.order.on_interrupt == OnInterrupt::GiveUp;
        let text = match (self.gave_up, self.track.switched) {
            (true, _) => "Given up; what was begun is taken back.",
            (false, true) => "Ctrl-C stops watching; the deploy goes on.",
            (false, false) if gives_up => {
                "Ctrl-C gives this deploy up; your users have seen nothing of it."
            }
            (false, false) => "Ctrl-C stops watching; it goes on.",
        };
        self.session.reporter.footer(Some(text));
    }

    /// Before the switch one conditional verb is sent, and its outcome waited for; else only the watching stops.
    fn interrupted(&mut self) -> anyhow::Result<Option<Stop>> {
        if self.gave_up
            || self.track.switched
            || self.order.on_interrupt == OnInterrupt::StopWatching
        {
            return Ok(Some(Stop::Interrupted));
        }
        let call = VerbCall {
            operation: super::session::operation(),
            by: super::session::by(),
            slot: None,
            now: false,
            before_switch: true,
        };
        match self.client.post::<Accepted>(&format!("/v1/apps/{}/abort", self.order.app), &call) {
            Ok(_) => {
                self.gave_up = true;
                self.footer();
                Ok(None)
            }
            // It has switched meanwhile, or is over.
            Err(CallError::Refused(_)) => Ok(Some(Stop::Interrupted)),
            Err(error) => Err(error.into()),
        }
    }

    fn last_words(&mut self, stop: Stop) -> u8 {
        let stop =
            if self.gave_up && self.track.outcome.is_some() { Stop::Interrupted } else { stop };
        let log = self.log();
        let kept = self.kept();
        let status = self.status();
        let app = status.as_ref().and_then(|status| status.apps.first());
        let url = app.and_then(|app| app.url.clone());
        let mut ended = Ended::of(&self.track, stop, self.order.asked);
        // The daemon counts observed time; it knows better than a sum.
        let until = app.and_then(|app| app.deploy.as_ref()?.bake.as_ref()?.until.clone());
        ended.judged_until = ended.judged_until.map(|ours| until.unwrap_or(ours));
        let zone = self.session.reporter.zone.clone();
        let around = Around {
            flags: &self.session.flags,
            url: url.as_deref(),
            zone: &zone,
            log: &log,
            kept: &kept,
        };
        let lines = closing(&self.track, &ended, stop, self.order.asked, &around);
        self.session.reporter.ended(&ended, &lines);
        self.summarize(lines.last().map_or("", String::as_str));
        ended.exit
    }

    /// What the new slot wrote, when the failure itself says nothing.
    fn log(&self) -> Vec<String> {
        let Some((step, failure)) = &self.track.failure else { return Vec::new() };
        let of_slot = [Step::Start, Step::Probe, Step::Smoke, Step::Warm].contains(step);
        if !of_slot || !failure.detail.is_empty() || self.track.outcome != Some(Outcome::Unchanged)
        {
            return Vec::new();
        }
        let Some((_, release)) = self.track.brings() else { return Vec::new() };
        let path = format!(
            "/v1/apps/{}/logs?release={}&n={LOG_LINES}",
            self.order.app,
            super::logs::encoded(release)
        );
        let Ok(mut lines) = self.client.lines_once(&path) else { return Vec::new() };
        let mut text = Vec::new();
        while let Next::Line(line) = lines.next(LOG_WAIT) {
            text.extend(serde_json::from_str::<LogLine>(&line).ok().map(|line| line.text));
        }
        text
    }

    /// Only the words about a release that did not stay live name it by a part.
    fn kept(&self) -> Vec<String> {
        if self.track.failure.is_none() && self.track.outcome.is_none_or(|o| o == Outcome::Live) {
            return Vec::new();
        }
        let path = format!("/v1/apps/{}/releases", self.order.app);
        let view = self.client.get_once::<ReleasesView>(&path).unwrap_or_default();
        view.releases.into_iter().map(|release| release.release).collect()
    }

    /// Once and briefly: the last words do not wait for a daemon that is away.
    fn status(&self) -> Option<StatusView> {
        self.client.get_once(&format!("/v1/status?app={}", self.order.app)).ok()
    }

    fn summarize(&self, last: &str) {
        let (Form::Actions(job), Ok(file)) =
            (&self.session.reporter.form, std::env::var("GITHUB_STEP_SUMMARY"))
        else {
            return;
        };
        let title = match self.track.brings() {
            Some((slot, release)) => format!("{}: {release} to {slot}", self.order.app),
            None => self.order.app.to_owned(),
        };
        if let Err(error) = job.summary(&title, last, std::path::Path::new(&file)) {
            tracing::debug!("the job's summary cannot be written: {error}");
        }
    }
}
