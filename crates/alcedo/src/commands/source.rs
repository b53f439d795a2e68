//! From what was typed after `deploy` and `plan` to what is sent: builds here, while a sign of life is shown.

mod send;

use super::app::{App, File};
use super::session::{Session, wall};
use super::signals::Signals;
use crate::adapters::clock;
use crate::api::{ConfigText, Failed, What};
use crate::engine::ports::{Call, EffectError, Millis, Source};
use crate::paths::Paths;
use crate::report::line::{Mark, StepLine};
use crate::source::{self, Request, Resolved};
use crate::transport::Client;
use crate::views::{AppView, PlanStepView, ReleasesView};
use alcedo_core::ReleaseId;
use alcedo_core::config::Loaded;
use alcedo_core::release::Machine;
use std::collections::BTreeMap;
use std::time::Duration;

/// A build may take so long.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// The sign of life is renewed this often.
const LOOK: Duration = Duration::from_millis(100);

/// The code of a failed build: it has its own line, so people are not told twice what failed.
pub(crate) const BUILD: &str = "build";

/// What is sent, and what must stay until the host has fetched it.
pub(crate) struct Brought {
    pub(crate) what: What,
    /// Of a git ref, the one of that commit.
    pub(crate) config: Option<ConfigText>,
    /// Subjects of the commits since the live release.
    pub(crate) note: Option<String>,
    /// The build that ran here for it.
    pub(crate) built: Option<PlanStepView>,
    /// Dropped, it removes the checkout.
    _resolved: Option<Resolved>,
}

/// Finds out what was meant and makes it ready.
///
/// # Errors
/// What stands in the way: a failed build, nothing of that name, a source that cannot be shipped.
pub(crate) fn bring(
    session: &mut Session,
    client: &Client,
    signals: &Signals,
    app: &App,
    status: Option<&AppView>,
    typed: Option<&str>,
) -> anyhow::Result<Brought> {
    if app.typed().is_none() {
        return by_name(app, typed);
    }
    let (file, loaded) = app.file()?;
    let host = Host::ask(client, app, status)?;
    let begun = clock::now();
    let resolved = resolve(session, signals, app, (file, loaded), &host, typed)?;
    let took = clock::now().since(begun);
    let config = config_of(file, &resolved);
    let was_built = typed.is_none() || resolved.checkout.is_some();
    let built =
        loaded.config.release.build.as_ref().filter(|_| was_built).map(|command| PlanStepView {
            step: "build".to_owned(),
            text: format!("{command}, here"),
            expected_ms: u64::try_from(took.as_millis()).ok(),
        });
    if resolved.dirty {
        let notice = "uncommitted changes are shipped: the release is marked +dirty";
        session.reporter.client_step(&wall(), &StepLine::new(Mark::Warn, "build", notice));
    }
    for notice in &resolved.notices {
        session.reporter.client_step(&wall(), &StepLine::new(Mark::Warn, "build", notice));
    }
    let source = if client.is_far() {
        let seeds = host.kept.is_empty().then_some(&loaded.config);
        let call = send::Upload { client, signals, app: app.name.as_str(), config: &config };
        call.bring(session, &resolved, seeds)?
    } else {
        resolved.source.clone()
    };
    let what = match source {
        Source::Kept => What::Kept(resolved.release.to_string()),
        Source::Directory { .. }
        | Source::File { .. }
        | Source::Archive { .. }
        | Source::Upload { .. } => What::Files {
            source,
            release: resolved.release.clone(),
            commit: resolved.commit.clone(),
        },
    };
    Ok(Brought {
        what,
        config: Some(config),
        note: resolved.note.clone(),
        built,
        _resolved: Some(resolved),
    })
}

/// Without a file only what the host keeps can be meant.
fn by_name(app: &App, typed: Option<&str>) -> anyhow::Result<Brought> {
    let Some(name) = typed else {
        app.file()?;
        return Err(Failed::usage("name a kept release").hint("alcedo releases").into());
    };
    let name = name.strip_prefix("release:").unwrap_or(name).to_owned();
    Ok(Brought { what: What::Kept(name), config: None, note: None, built: None, _resolved: None })
}

/// A commit is deployed with its own `alcedo.toml`, when it has one.
fn config_of(file: &File, resolved: &Resolved) -> ConfigText {
    let name = std::path::Path::new(&file.typed.file).file_name().unwrap_or_default();
    let of_commit =
        resolved.checkout.as_ref().and_then(|dir| std::fs::read_to_string(dir.join(name)).ok());
    ConfigText { text: of_commit.unwrap_or_else(|| file.typed.text.clone()), ..file.typed.clone() }
}

/// What the host is and keeps.
struct Host {
    target: Machine,
    is_far: bool,
    kept: Vec<ReleaseId>,
    named: BTreeMap<String, ReleaseId>,
    commit: Option<String>,
}

impl Host {
    fn ask(client: &Client, app: &App, status: Option<&AppView>) -> anyhow::Result<Self> {
        let is_far = client.is_far();
        let machine = client.hello()?.machine;
        let target =
            machine.as_deref().and_then(Machine::parse).filter(|_| is_far).unwrap_or(Machine::HERE);
        let none = Self { target, is_far, kept: Vec::new(), named: BTreeMap::new(), commit: None };
        let Some(status) = status else { return Ok(none) };
        let view: ReleasesView = client.get(&format!("/v1/apps/{}/releases", app.name))?;
        let live = status.live_release();
        let roles = [
            ("active", live),
            ("stable", status.stable_release.as_deref()),
            ("previous", status.previous_release.as_deref()),
        ];
        let id = |text: &str| ReleaseId::new(text).ok();
        let named = roles
            .into_iter()
            .filter_map(|(role, release)| Some((role.to_owned(), id(release?)?)))
            .collect();
        let commit = view
            .releases
            .iter()
            .find(|r| live == Some(r.release.as_str()))
            .and_then(|r| r.commit.clone());
        Ok(Self {
            kept: view.releases.iter().filter_map(|r| id(&r.release)).collect(),
            named,
            commit,
            ..none
        })
    }
}

/// Resolves on another thread, so that a long build does not look dead.
fn resolve(
    session: &mut Session,
    signals: &Signals,
    app: &App,
    (file, loaded): (&File, &Loaded),
    host: &Host,
    typed: Option<&str>,
) -> anyhow::Result<Resolved> {
    let cwd = std::env::current_dir()?;
    let paths = Paths::choose()?;
    let root = loaded.config.root.clone().unwrap_or_else(|| paths.apps.join(app.name.as_str()));
    let request = Request {
        typed,
        cwd: &cwd,
        app_dir: &file.dir,
        config: &loaded.config,
        kept: &host.kept,
        named: &host.named,
        target: host.target,
        root: if host.is_far { None } else { Some(&root) },
        unix_seconds: wall().parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second),
        since: host.commit.as_deref(),
    };
    let begun = clock::now();
    // A program hears of a build only when there is one.
    if !session.json() || (typed.is_none() && loaded.config.release.build.is_some()) {
        session.reporter.client_begins("build", &wall(), begun);
    }
    let deadline = begun.after(BUILD_LIMIT);
    let result = std::thread::scope(|scope| {
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let request = &request;
        let work = scope.spawn(move || {
            // Dropped at the end, however that comes: whoever waits hears of it at once.
            let _done = done;
            let call = Call { deadline, cancel: signals.cancel(), progress: &|_| {} };
            source::resolve(request, &source::run, &call)
        });
        while ended.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            session.reporter.tick(clock::now());
        }
        work.join()
    });
    let result = result.unwrap_or_else(|_| Err(EffectError::failed("build", "it ended early")));
    told(session, loaded, typed, begun, result)
}

/// The build's line, and its failure in the words of an error.
fn told(
    session: &mut Session,
    loaded: &Loaded,
    typed: Option<&str>,
    begun: Millis,
    result: Result<Resolved, EffectError>,
) -> anyhow::Result<Resolved> {
    let took_us = u64::try_from(clock::now().since(begun).as_micros()).unwrap_or(u64::MAX);
    match result {
        Ok(resolved) => {
            let was_built = typed.is_none() || resolved.checkout.is_some();
            if let Some(command) = loaded.config.release.build.as_ref().filter(|_| was_built) {
                let line =
                    StepLine::new(Mark::Ok, "build", command.lines().next().unwrap_or_default());
                session.reporter.client_step(&wall(), &line.taking(took_us));
            }
            Ok(resolved)
        }
        Err(EffectError::Cancelled) => {
            session.reporter.client_step(
                &wall(),
                &StepLine::new(Mark::Undo, "build", "given up").taking(took_us),
            );
            Err(Failed::new("interrupted", "given up before anything was sent to the host", 130)
                .into())
        }
        Err(error @ (EffectError::TimedOut { .. } | EffectError::Failed { .. })) => {
            let failure = alcedo_core::event::Failure::from(error);
            let failed = failed(failure);
            if failed.code == BUILD {
                let what = failed.message.lines().next().unwrap_or_default().trim_end_matches(':');
                let what = what.trim_start_matches("failed to build: ");
                session.reporter.client_step(
                    &wall(),
                    &StepLine::new(Mark::Fail, "build", what).taking(took_us),
                );
            }
            Err(failed.into())
        }
    }
}

/// A build that failed is a failure, a SOURCE that names nothing is a mistake in typing.
fn failed(failure: alcedo_core::event::Failure) -> Failed {
    let built = failure.what.contains("build:");
    let lines: Vec<String> = failure.detail.lines().map(|line| format!("    {line}")).collect();
    let detail = if lines.is_empty() { String::new() } else { format!(":\n{}", lines.join("\n")) };
    let message = format!("{}{detail}\nNothing was sent to the host.", failure.what);
    let (code, exit) = if built { (BUILD, 1) } else { ("source", 2) };
    Failed { hint: failure.hint, ..Failed::new(code, message, exit) }
}
