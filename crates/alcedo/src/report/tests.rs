//! What people and programs see, whole: changed words show here first.

use super::closing::{Around, closing};
use super::ended::{Asked, Ended, Stop};
use super::ink::{Color, Ink, Script};
use super::status::Reader;
use super::time::Zone;
use super::track::Track;
use super::{
    Form, Paper, Reporter, actions, check, error, history, json, line, plan, status, watch,
};
use crate::api::Failed;
use crate::engine::ports::Millis;
use alcedo_core::config::{self, BindFacts, Config, Input};
use alcedo_core::event::{Event, Failure, Outcome, Record};
use alcedo_core::judge::{Finding, Verdict};
use alcedo_core::names::DeployId;
use alcedo_core::plan::{Parts, Plan, Purpose, steps};
use alcedo_core::step::{Step, Undo};
use alcedo_core::{Binding, BindingId, ReleaseId, ServiceName, Slot};
use insta::assert_snapshot;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;

mod events;
mod views;
mod words;

const OLD: &str = "r20261119-170211-9f3c21a";
const NEW: &str = "r20261120-191405-4be1c07";

fn config() -> Config {
    let text = "app = \"api\"\nweb.command = \"./api --port {port}\"\nhealth.path = \"/healthz\"\n";
    config::load(Input { text, file: "alcedo.toml", environment: None }).unwrap().config
}

fn binding(deploy: u64, slot: Slot, release: &str) -> Binding {
    let web = ServiceName::new("web").unwrap();
    let facts = BindFacts {
        id: BindingId::new(DeployId(deploy), slot),
        slot,
        release: ReleaseId::new(release).unwrap(),
        instance: format!("/srv/api/releases/{release}").into(),
        addresses: [(web, ([127, 0, 0, 1], 20110).into())].into(),
        socket_dir: "/run/alcedo/api".into(),
        inherited: BTreeMap::new(),
        php_fpm: BTreeMap::new(),
        active_file: "/run/alcedo/api/active".into(),
    };
    config::bind(&config(), facts).unwrap()
}

fn planned(purpose: Purpose, first: bool) -> Event {
    let parts = Parts { fetch: purpose == Purpose::Deploy, first, ..Parts::default() };
    let plan = Plan {
        deploy: DeployId(42),
        app: alcedo_core::AppName::new("api").unwrap(),
        environment: "production".to_owned(),
        purpose,
        from: (!first).then(|| binding(41, Slot::Blue, OLD)),
        binding: binding(42, Slot::Green, NEW),
        occupant: None,
        config: config(),
        generation: 7,
        basis: "7f3a90aa".to_owned(),
        steps: steps(purpose, parts),
        content: String::new(),
    };
    Event::Planned {
        plan: Box::new(plan),
        by: "ana".to_owned(),
        note: Some("faster checkout".to_owned()),
        operation: None,
    }
}

fn started(step: Step) -> Event {
    Event::StepStarted { step, deadline_ms: 0 }
}

fn done(step: Step, text: &str, took_us: u64) -> Event {
    Event::StepDone {
        step,
        text: text.to_owned(),
        took_us,
        skipped: false,
        generation: None,
        restarts: 0,
        own: alcedo_core::judge::Counts::default(),
    }
}

fn failed(step: Step, what: &str, detail: &str) -> Event {
    let failure = Failure { what: what.to_owned(), detail: detail.to_owned(), hint: None };
    Event::StepFailed { step, failure, took_us: 60_000_000 }
}

fn undone(undo: Undo, text: &str, took_us: u64) -> Event {
    Event::UndoDone { undo, text: text.to_owned(), took_us, generation: None }
}

fn verdict(finding: Finding) -> Event {
    let (text, errors) = match finding {
        Finding::Pass => ("3611 requests, 0 errors; 600 of 600 probes good", 0),
        Finding::Fail => ("errors 6.0 % (17 of 281); at most 5.0 % are allowed", 17),
        Finding::Inconclusive => ("14 requests, 0 errors; 600 of 600 probes good", 0),
    };
    let not_seen = (errors == 0)
        .then(|| "14 requests: an error rate under 19 % would have gone unnoticed".to_owned());
    let verdict = Verdict {
        finding,
        text: text.to_owned(),
        not_seen,
        observed_ms: 21_000,
        requests: 281,
        errors,
    };
    Event::Judged { verdict }
}

fn ended(outcome: Outcome) -> Event {
    Event::Ended { outcome, reason: None }
}

/// A record a second, numbered from 1.
fn records(events: Vec<Event>) -> Vec<Record> {
    let record = |(at, event): (usize, Event)| Record {
        seq: at as u64 + 1,
        at: format!("2026-11-20T19:14:{at:02}Z"),
        at_ms: at as u64 * 1000,
        deploy: Some(DeployId(42)),
        event,
    };
    events.into_iter().enumerate().map(record).collect()
}

fn track(events: Vec<Event>) -> Track {
    let mut track = Track::default();
    records(events).iter().for_each(|record| track.record(record));
    track
}

fn to_ready() -> Vec<Event> {
    vec![
        planned(Purpose::Deploy, false),
        started(Step::Fetch),
        done(
            Step::Fetch,
            "r20261120-191405-4be1c07: 141 of 9204 files changed, 1.2 MiB of 212 MiB copied",
            2_000_000,
        ),
        started(Step::Prepare),
        done(Step::Prepare, "php artisan optimize; sealed, 212 MiB", 1_100_000),
        started(Step::Start),
        done(Step::Start, "green on 127.0.0.1:20110, pid 4127", 100_000),
        started(Step::Probe),
    ]
}

fn to_verified() -> Vec<Event> {
    let mut events = to_ready();
    events.extend([
        done(
            Step::Probe,
            "GET /healthz 200, twice in a row, from this release (proved by the process)",
            300_000,
        ),
        started(Step::Switch),
        done(Step::Switch, "green is live", 400),
        started(Step::Verify),
        done(Step::Verify, "https://api.example.com answers r20261120-191405-4be1c07", 200_000),
    ]);
    events
}

/// What was written: data, words.
#[derive(Clone, Default)]
struct Sheet(Rc<RefCell<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sheet {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

fn reporter(form: Form, width: usize, script: Script) -> (Reporter, Sheet, Sheet) {
    let (data, words) = (Sheet::default(), Sheet::default());
    let paper = Paper { data: Box::new(data.clone()), words: Box::new(words.clone()) };
    let ink = Ink { color: Color::Off, script };
    (
        Reporter { form, ink, width, zone: Zone::named("Europe/Berlin"), paper, lost: None },
        data,
        words,
    )
}

fn shown(events: Vec<Event>, width: usize, script: Script) -> String {
    let (mut reporter, _, words) = reporter(Form::Lines, width, script);
    records(events).iter().for_each(|record| reporter.record(record, Millis(record.at_ms)));
    words.text()
}

fn last_words(events: Vec<Event>, stop: Stop, asked: Asked, flags: &str, log: &[&str]) -> String {
    let track = track(events);
    let ended = Ended::of(&track, stop, asked);
    let zone = Zone::named("Europe/Berlin");
    let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
    let around = Around {
        flags,
        url: Some("https://api.example.com"),
        zone: &zone,
        log: &log,
        kept: &[OLD, NEW].map(str::to_owned),
    };
    let lines = closing(&track, &ended, stop, asked, &around);
    format!("{}\n(exit {})", lines.join("\n"), ended.exit)
}
