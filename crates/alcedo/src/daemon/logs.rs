//! What slots and `prepare` wrote: the last lines, and what comes.

use crate::adapters::runner_systemd::Stretch;
use crate::api::{Failed, LogLine};
use crate::paths::Paths;
use alcedo_core::binding::BindingId;
use alcedo_core::names::DeployId;
use alcedo_core::state::AppState;
use alcedo_core::{AppName, Slot};
use serde::Deserialize;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Lines shown when nothing else is said.
const LINES: usize = 100;
/// Bytes read from the end of a file for its last lines.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// New lines are looked for this often.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// The same in systemd's journal.
const JOURNAL_EVERY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(super) struct LogQuery {
    slot: Option<Slot>,
    release: Option<String>,
    process: Option<String>,
    deploy: Option<String>,
    n: Option<usize>,
    #[serde(default)]
    follow: bool,
}

struct Source {
    process: String,
    text: Text,
}

/// Where the lines are.
enum Text {
    /// In a file, read so far.
    File { path: PathBuf, read_to: u64 },
    /// In systemd's journal, read up to this place.
    Journal { stretch: Stretch, cursor: Option<String> },
}

/// Lines for one reader.
pub(super) fn stream(
    state: &AppState,
    paths: &Paths,
    query: LogQuery,
) -> Result<Receiver<LogLine>, Failed> {
    let mut sources = sources(state, paths, &query)?;
    if let Some(wanted) = &query.process {
        sources.retain(|s| s.process == *wanted);
        if sources.is_empty() {
            return Err(Failed::usage(format!("no process is called {wanted}"))
                .hint("alcedo status --json"));
        }
    }
    let (sender, receiver) = channel(256);
    let (lines, follow) = (query.n.unwrap_or(LINES), query.follow);
    tokio::task::spawn_blocking(move || send(&mut sources, lines, follow, &sender));
    Ok(receiver)
}

fn sources(state: &AppState, paths: &Paths, query: &LogQuery) -> Result<Vec<Source>, Failed> {
    if let Some(deploy) = &query.deploy {
        let id: DeployId = deploy.parse().map_err(|e| Failed::usage(format!("failed to {e}")))?;
        let past = state.history.iter().find(|p| p.deploy == id);
        let past = past.ok_or_else(|| {
            Failed::usage(format!("there is no deploy {id}")).hint("alcedo history")
        })?;
        let mut found = of_binding(state, paths, &BindingId::new(id, past.to));
        let app = state.config.as_ref().and_then(|c| AppName::on_host(&c.app, &c.environment).ok());
        let root = state
            .config
            .as_ref()
            .and_then(|c| c.root.clone())
            .or_else(|| app.map(|a| paths.apps.join(a.as_str())));
        if let Some(root) = root {
            found.insert(
                0,
                Source {
                    process: "prepare".to_owned(),
                    text: Text::file(root.join("logs").join(id.to_string()).join("prepare.log")),
                },
            );
        }
        return Ok(found);
    }
    let binding = match (&query.release, query.slot) {
        (Some(release), _) => {
            let fits =
                |p: &&alcedo_core::state::Past| p.release.as_str().contains(release.as_str());
            let past = state.history.iter().rev().find(fits);
            let past = past.ok_or_else(|| {
                Failed::usage(format!("no release of this app is called {release}"))
                    .hint("alcedo history")
            })?;
            BindingId::new(past.deploy, past.to)
        }
        (None, Some(slot)) => {
            let held = state.slots.get(&slot).map(|s| s.binding.id.clone());
            let last = || {
                state
                    .history
                    .iter()
                    .rev()
                    .find(|p| p.to == slot)
                    .map(|p| BindingId::new(p.deploy, p.to))
            };
            held.or_else(last).ok_or_else(|| Failed::usage(format!("{slot} never ran anything")))?
        }
        (None, None) => {
            let active = state.active_binding().map(|b| b.id.clone());
            active
                .ok_or_else(|| Failed::usage("nothing is live").hint("alcedo logs --deploy d1"))?
        }
    };
    Ok(of_binding(state, paths, &binding))
}

fn of_binding(state: &AppState, paths: &Paths, id: &BindingId) -> Vec<Source> {
    let Some(app) =
        state.config.as_ref().and_then(|c| AppName::on_host(&c.app, &c.environment).ok())
    else {
        return Vec::new();
    };
    let dir = paths.logs(&app, id);
    let names = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut found: Vec<Source> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if let Some(process) = Stretch::service(&name) {
                let stretch = Stretch::read(&entry.path())?;
                let text = Text::Journal { stretch, cursor: None };
                return Some(Source { process: process.to_owned(), text });
            }
            let process = name.strip_suffix(".log")?.to_owned();
            Some(Source { process, text: Text::file(entry.path()) })
        })
        .collect();
    found.sort_by(|a, b| a.process.cmp(&b.process));
    found
}

fn send(sources: &mut [Source], lines: usize, follow: bool, sender: &Sender<LogLine>) {
    for source in sources.iter_mut() {
        for text in source.last(lines) {
            if sender.blocking_send(LogLine { process: source.process.clone(), text }).is_err() {
                return;
            }
        }
    }
    let every = sources.iter().map(Source::every).max().unwrap_or(FOLLOW_EVERY);
    while follow && !sender.is_closed() {
        std::thread::park_timeout(every);
        for source in sources.iter_mut() {
            for text in source.news() {
                if sender.blocking_send(LogLine { process: source.process.clone(), text }).is_err()
                {
                    return;
                }
            }
        }
    }
}

impl Source {
    fn last(&mut self, lines: usize) -> Vec<String> {
        match &mut self.text {
            Text::File { path, read_to } => {
                let size = std::fs::metadata(&*path).map_or(0, |m| m.len());
                let text = read_from(path, size.saturating_sub(TAIL_BYTES), read_to);
                let all: Vec<_> = text.lines().collect();
                all[all.len().saturating_sub(lines)..].iter().map(|l| (*l).to_owned()).collect()
            }
            Text::Journal { stretch, cursor } => {
                let (found, place) = stretch.last(lines);
                *cursor = place;
                found
            }
        }
    }

    /// Whole new lines. A file that became shorter was cut at its limit: it is read from its start again.
    fn news(&mut self) -> Vec<String> {
        match &mut self.text {
            Text::File { path, read_to } => {
                let size = std::fs::metadata(&*path).map_or(0, |m| m.len());
                if size < *read_to {
                    *read_to = 0;
                }
                if size == *read_to {
                    return Vec::new();
                }
                read_from(path, *read_to, read_to).lines().map(str::to_owned).collect()
            }
            Text::Journal { stretch, cursor } => {
                let (found, place) = match &cursor {
                    Some(place) => stretch.after(place),
                    None => stretch.last(LINES),
                };
                *cursor = place.or(cursor.take());
                found
            }
        }
    }

    /// Asking the journal starts a program.
    fn every(&self) -> Duration {
        match &self.text {
            Text::File { .. } => FOLLOW_EVERY,
            Text::Journal { .. } => JOURNAL_EVERY,
        }
    }
}

impl Text {
    fn file(path: PathBuf) -> Self {
        Self::File { path, read_to: 0 }
    }
}

/// Whole lines from `start` on.
fn read_from(path: &Path, start: u64, read_to: &mut u64) -> String {
    let mut read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        if let Some(end) = bytes.iter().rposition(|b| *b == b'\n') {
            bytes.truncate(end + 1);
        }
        *read_to = start + bytes.len() as u64;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
