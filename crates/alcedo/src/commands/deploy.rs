//! `deploy`: build, send, and follow to the point that was asked for.

use super::app::App;
use super::follow::{self, OnInterrupt, Order, Until};
use super::question;
use super::session::{Session, by, operation, status_of, wall};
use super::signals::Signals;
use super::source::{self, Brought};
use crate::adapters::clock;
use crate::api::{Accepted, DeployCall, Failed};
use crate::cli::{DeployArgs, Wait};
use crate::report::ended::{Asked, exit};
use crate::report::plan;
use crate::report::status::locked;
use crate::report::time;
use crate::report::track::Track;
use crate::transport::{CallError, Client};
use crate::views::{AppView, CaveatView, PlanView, StatusView};
use std::collections::BTreeMap;
use std::time::Duration;

/// A lock is looked at this often.
const LOCK_LOOK: Duration = Duration::from_millis(500);

/// Variables of whoever typed it that the app's processes inherit.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TZ"];

/// Runs `deploy`.
pub(crate) fn run(session: &mut Session, args: &DeployArgs) -> anyhow::Result<u8> {
    let app = session.app()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    let status = status_of(&client, &app)?;
    if args.follow {
        return join(session, &client, &signals, &app, status.as_ref());
    }
    let view = status.as_ref().map(|(view, _)| view);
    what_is_live(session, status.as_ref());
    refuse_locked(session, status.as_ref(), args)?;
    let wait_lock = args.wait_lock.or_else(|| view.and_then(time_to_end));
    let brought =
        match source::bring(session, &client, &signals, &app, view, args.source.as_deref()) {
            Ok(brought) => brought,
            Err(error) => return Ok(stopped_early(session, &error)),
        };
    if let Some(note) = &brought.note {
        session.reporter.words(&format!("  Brings: {note}"));
    }
    let call = call(&app, &brought, args);
    let accepted = match post(session, &client, &signals, &app, call, wait_lock) {
        Ok(Posted::Accepted(accepted)) => accepted,
        Ok(Posted::GivenUp) => return Ok(exit::INTERRUPTED),
        Err(error) => return Ok(stopped_early(session, &error)),
    };
    let until = match (args.detach, args.wait) {
        (true, _) => Until::Fetched,
        (false, Wait::Switch) => Until::Switched,
        (false, Wait::Bake) => Until::Verdict,
    };
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        until,
        asked: Asked::Deploy,
        on_interrupt: OnInterrupt::GiveUp,
        from_start: false,
    };
    let code = follow::follow(session, &client, &signals, &order);
    // A checkout must stay until the host has fetched it.
    drop(brought);
    if let (true, Ok(exit::DONE), Some(id)) =
        (args.detach && !session.json(), &code, &accepted.deploy)
    {
        session.print(std::slice::from_ref(id));
    }
    code
}

/// What is sent for `deploy` and `plan`.
pub(super) fn call(app: &App, brought: &Brought, args: &DeployArgs) -> DeployCall {
    // On another machine, `alcedo host` puts its own there.
    let inherit =
        INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    DeployCall {
        operation: operation(),
        config: brought.config.clone().or_else(|| app.typed()),
        what: brought.what.clone(),
        stage: args.stage,
        accept: args.accept.clone(),
        retry: args.retry,
        supersede: args.supersede,
        plan: args.plan.clone(),
        by: by(),
        note: args.note.clone().or_else(|| brought.note.clone()),
        inherit: inherit.collect::<BTreeMap<_, _>>(),
    }
}

fn what_is_live(session: &mut Session, status: Option<&(AppView, StatusView)>) {
    let live = status.and_then(|(view, status)| {
        Some((view, view.live_slot()?, view.live_release()?, &status.at))
    });
    match live {
        Some((view, slot, release, now)) => {
            let since = view.slots.get(&slot).and_then(|seen| seen.since.as_deref());
            let age = since
                .and_then(|since| time::seconds_between(since, now))
                .map(|s| format!(" ({})", time::age(s)));
            let text = format!(
                "{slot} is live with {release}{}; this deploy goes to {}.",
                age.unwrap_or_default(),
                slot.other()
            );
            session.reporter.words(&text);
        }
        None if status.is_none_or(|(view, _)| view.active.is_none()) => {
            session.reporter.words("First deploy: nothing is live yet, so there is nothing to go back to until the second one.");
        }
        None => {}
    }
    session.reporter.words("");
}

/// Before anything is built: somebody else is at it.
fn refuse_locked(
    session: &Session,
    status: Option<&(AppView, StatusView)>,
    args: &DeployArgs,
) -> anyhow::Result<()> {
    let Some((view, status)) = status else { return Ok(()) };
    let judged = view.deploy.as_ref().is_some_and(|deploy| deploy.bake.is_some());
    let waits = args.wait_lock.is_some() || time_to_end(view).is_some();
    let goes_on = waits || (args.supersede && judged);
    let Some(lock) = view.lock.as_ref().filter(|_| !goes_on) else {
        return Ok(());
    };
    let zone = &session.reporter.zone;
    let until = view.deploy.as_ref().and_then(|deploy| deploy.bake.as_ref()?.until.as_deref());
    let judged_until = until
        .map(|until| format!("; it is judged until {}", zone.minute(until)))
        .unwrap_or_default();
    let (message, way) = (
        locked(lock, &status.at, zone),
        if judged {
            "--supersede goes back to stable first, then deploys"
        } else {
            "alcedo abort gives it up"
        },
    );
    let failed = Failed::new("locked", format!("locked, {message}{judged_until}"), 4);
    Err(failed.hint(format!("--wait-lock 15m waits for it; {way}")).into())
}

/// A deploy that is live and only lets the old slot drain is waited for, not refused: so long, with some to spare.
fn time_to_end(view: &AppView) -> Option<Duration> {
    let limit = Duration::from_millis(view.deploy.as_ref()?.ends_within_ms?);
    Some(limit + Duration::from_secs(10))
}

enum Posted {
    Accepted(Accepted),
    /// Ctrl-C before the host knew of it.
    GivenUp,
}

/// Asks for the deploy; waits for a lock, and asks once about what is not zero-downtime.
fn post(
    session: &mut Session,
    client: &Client,
    signals: &Signals,
    app: &App,
    mut call: DeployCall,
    wait_lock: Option<Duration>,
) -> anyhow::Result<Posted> {
    let path = format!("/v1/apps/{}/deploy", app.name);
    let deadline = clock::now().after(wait_lock.unwrap_or_default());
    let mut told = false;
    let mut asked = false;
    loop {
        if signals.take() {
            session.reporter.words("Given up before anything was started.");
            return Ok(Posted::GivenUp);
        }
        let failed = match client.post::<Accepted>(&path, &call) {
            Ok(accepted) => return Ok(Posted::Accepted(accepted)),
            Err(CallError::Refused(failed)) => failed,
            Err(error) => return Err(error.into()),
        };
        match failed.code.as_str() {
            "locked" if clock::now() < deadline => {
                if !told {
                    session.reporter.client_begins("gate", &wall(), clock::now());
                    session.reporter.note(
                        &wall(),
                        &format!(
                            "waiting: {}",
                            super::session::localized(&failed, &session.reporter.zone).message
                        ),
                    );
                    told = true;
                }
                session.reporter.progress(
                    &Track::default(),
                    &wall(),
                    "waiting for the lock",
                    clock::now(),
                );
                std::thread::park_timeout(LOCK_LOOK);
            }
            "not-accepted" if !asked => {
                asked = true;
                call.accept.extend(accepted_now(session, client, app, &call, failed)?);
            }
            _ => return Err(failed.into()),
        }
    }
}

/// Shows every "NOT zero-downtime because"; on a terminal asks once, else names the flag. `-y` answers no such question.
fn accepted_now(
    session: &mut Session,
    client: &Client,
    app: &App,
    call: &DeployCall,
    failed: Failed,
) -> anyhow::Result<Vec<String>> {
    let view: PlanView = client.post(&format!("/v1/apps/{}/plan", app.name), call)?;
    let open: Vec<CaveatView> =
        view.not_zero_downtime.into_iter().filter(|caveat| !caveat.accepted).collect();
    if session.globals.yes || session.json() || !question::can_ask() {
        return Err(failed.into());
    }
    for line in plan::caveats(&open, session.reporter.width, &session.flags) {
        session.reporter.words(&line);
    }
    let ids: Vec<String> = open.into_iter().map(|caveat| caveat.id).collect();
    let question = "\nGo on? yes: deploys all the same; no: nothing is changed.";
    if question::ask(&mut session.reporter, question) {
        return Ok(ids);
    }
    let hint = ids.iter().map(|id| format!("--accept {id}")).collect::<Vec<_>>().join(" ");
    Err(Failed::new("not-accepted", "not accepted, so nothing was done", 2).hint(hint).into())
}

/// The build or the SOURCE: the host knows of nothing, and what is live is said as after everything.
fn stopped_early(session: &mut Session, error: &anyhow::Error) -> u8 {
    let failed = crate::report::error::failed(error);
    if failed.code == source::BUILD && !session.json() {
        let rest: Vec<&str> = failed.message.lines().skip(1).collect();
        session.refuse(&Failed { message: rest.join("\n"), ..failed.clone() });
    } else {
        session.refuse(&failed);
    }
    session.nothing_was_done(&failed);
    failed.exit
}

/// `--follow`: joins what is under way, and never starts anything.
fn join(
    session: &mut Session,
    client: &Client,
    signals: &Signals,
    app: &App,
    status: Option<&(AppView, StatusView)>,
) -> anyhow::Result<u8> {
    let deploy = status.and_then(|(view, _)| view.deploy.as_ref());
    let Some(deploy) = deploy else {
        return Err(Failed::usage("nothing is under way").hint("alcedo history").into());
    };
    session.reporter.words(&format!("{} brings {}.\n", deploy.id, deploy.release));
    let accepted = Accepted { deploy: Some(deploy.id.clone()), since: 0, text: None };
    let order = Order {
        app: app.name.as_str(),
        accepted: &accepted,
        until: Until::Verdict,
        asked: Asked::Deploy,
        on_interrupt: OnInterrupt::StopWatching,
        from_start: true,
    };
    follow::follow(session, client, signals, &order)
}
