//! Runs slots as processes of this machine, each under a shim of its own that outlives the daemon.
//!
//! Talks to shims and never to the processes: starting, stopping and restarting is theirs. Repairs nothing while
//! observing; [`ProcessRunner::ensure`] does, when it is asked to.

mod order;

use crate::adapters::clock;
use crate::engine::ports::{Call, EffectError, Millis, Phase, ProcessState, Runner, SlotState};
use crate::paths::{self, Paths};
use crate::process_table::{Identity, Table};
use crate::shim::files::{self, ShimDir, State};
use crate::shim::protocol::{AskError, Reply, Verb, ask};
use crate::shim::{self, Purpose};
use alcedo_core::binding::{Binding, BindingId, Process};
use alcedo_core::{AppName, ServiceName, Slot};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For an answer that a shim has at hand.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks at a shim that is about to end.
const LOOK: Duration = Duration::from_millis(5);

/// The process runner.
#[derive(Debug, Clone)]
pub(crate) struct ProcessRunner {
    paths: Paths,
    exe: PathBuf,
}

impl ProcessRunner {
    /// With the alcedo binary that shims are made of.
    pub(crate) fn new(paths: Paths, exe: PathBuf) -> Self {
        Self { paths, exe }
    }

    fn start_process(
        &self,
        binding: &Binding,
        process: &Process,
        deadline: Millis,
    ) -> Result<(), EffectError> {
        let dir = self.paths.shim(&binding.app, binding.slot, &process.name);
        if self.is_running(&dir, deadline)? {
            return Ok(());
        }
        let what = || format!("start {} in {}", process.name, binding.slot);
        let failed = |error: &dyn std::fmt::Display| EffectError::failed(what(), error);
        self.write_order(binding, process, &dir).map_err(|e| failed(&e))?;
        let reply = self.launch(&dir, Purpose::Own, deadline)?;
        match reply.state {
            Some(state) if state.phase == files::Phase::GaveUp => {
                Err(failed(&state.last_exit.unwrap_or_default()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a shim owns the process and keeps it running; a dead shim is replaced, a stop under way waited for.
    fn is_running(&self, dir: &Path, deadline: Millis) -> Result<bool, EffectError> {
        let Some(found) = Found::read(dir) else { return Ok(false) };
        match (found.phase(), found.reply.is_some()) {
            (Some(files::Phase::Stopping), _) => self.stop_process(dir, deadline).map(|()| false),
            (Some(files::Phase::Stopped | files::Phase::GaveUp) | None, false) => Ok(false),
            (Some(files::Phase::Stopped | files::Phase::GaveUp) | None, true) => {
                wait_for_end(dir, deadline).map(|()| false)
            }
            (
                Some(files::Phase::Starting | files::Phase::Running | files::Phase::Restarting),
                true,
            ) => Ok(true),
            (
                Some(files::Phase::Starting | files::Phase::Running | files::Phase::Restarting),
                false,
            ) => self.launch(dir, Purpose::Own, deadline).map(|_| true),
        }
    }

    fn write_order(&self, binding: &Binding, process: &Process, dir: &Path) -> io::Result<()> {
        paths::make_private(dir).map_err(io::Error::other)?;
        let log = self.paths.log(&binding.app, &binding.id, &process.name);
        if let Some(parent) = log.parent() {
            paths::make_private(parent).map_err(io::Error::other)?;
        }
        let sockets = order::sockets(process);
        let files = sockets.iter().chain(process.pool.as_ref().map(|pool| &pool.file));
        for parent in files.filter_map(|file| file.parent()) {
            fs::create_dir_all(parent)?;
        }
        if let Some(pool) = &process.pool {
            fs::write(&pool.file, &pool.text)?;
        }
        let dir = ShimDir::open(dir)?;
        dir.forget()?;
        dir.write(files::SPEC, &order::spec(binding, process, log), files::Sync::No)
    }

    fn launch(&self, dir: &Path, purpose: Purpose, deadline: Millis) -> Result<Reply, EffectError> {
        let what = || format!("start a shim in {}", dir.display());
        wait_for_end(dir, deadline)?;
        let reply = shim::launch(&self.exe, dir, purpose, deadline)
            .map_err(|error| EffectError::failed(what(), chain(&error)))?;
        match reply.error {
            Some(error) => Err(EffectError::failed(what(), error)),
            None => Ok(reply),
        }
    }

    fn stop_process(&self, dir: &Path, deadline: Millis) -> Result<(), EffectError> {
        let begun = clock::now();
        while !clock::left(deadline).is_zero() {
            match ask(dir, Verb::Stop, clock::left(deadline)) {
                Ok(Reply { error: Some(error), .. }) => {
                    return Err(EffectError::failed(format!("stop {}", name(dir)), error));
                }
                Ok(_) => return remove(dir),
                Err(_) if is_stopped(dir) => return remove(dir),
                Err(AskError::NoShim(_)) => {
                    // One that has just done its work lets go of its directory a moment later.
                    wait_for_end(dir, deadline)?;
                    if is_without_order(dir) {
                        return remove(dir);
                    }
                    if !is_stopped(dir) {
                        self.launch(dir, Purpose::Stop, deadline)?;
                    }
                }
                // It was killed while we waited, or takes longer than we may wait.
                Err(AskError::NoAnswer { .. }) => {}
            }
        }
        Err(EffectError::TimedOut {
            what: format!("stop {}", name(dir)),
            limit_s: deadline.since(begun).as_secs(),
        })
    }

    fn services(&self, app: &AppName, slot: Slot) -> Vec<(ServiceName, PathBuf)> {
        let entries = fs::read_dir(self.paths.shims(app, slot)).into_iter().flatten();
        let mut services: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((ServiceName::new(path.file_name()?.to_str()?).ok()?, path))
            })
            .collect();
        services.sort();
        services
    }

    fn refuse_other_binding(&self, binding: &Binding) -> Result<(), EffectError> {
        for (service, dir) in self.services(&binding.app, binding.slot) {
            let Some(found) = Found::read(&dir) else { continue };
            let is_ours = found.binding == binding.id.as_str()
                && binding.processes.iter().any(|p| p.name == service);
            if !is_ours {
                return Err(EffectError::Failed {
                    what: format!("start {} in {}", binding.id, binding.slot),
                    detail: format!("the slot still holds {} of {}", service, found.binding),
                    hint: None,
                });
            }
        }
        Ok(())
    }
}

impl Runner for ProcessRunner {
    fn ensure(&self, binding: &Binding, call: &Call<'_>) -> Result<(), EffectError> {
        for process in &binding.processes {
            let dir = self.paths.shim(&binding.app, binding.slot, &process.name);
            let Some(found) = Found::read(&dir) else { continue };
            let is_wanted = found.binding == binding.id.as_str() && !found.is_over();
            if is_wanted && found.reply.is_none() && Found::has_no_shim(&dir) {
                self.launch(&dir, Purpose::Own, call.deadline)?;
                tracing::warn!(app = %binding.app, service = %process.name, "a dead shim was replaced");
            }
        }
        Ok(())
    }

    fn start(&self, binding: &Binding, call: &Call<'_>) -> Result<SlotState, EffectError> {
        self.refuse_other_binding(binding)?;
        for process in &binding.processes {
            if call.cancel.is_cancelled() {
                return Err(EffectError::Cancelled);
            }
            (call.progress)(&format!("starting {}", process.name));
            self.start_process(binding, process, call.deadline)?;
        }
        self.observe(&binding.app, binding.slot)
    }

    fn stop(&self, app: &AppName, slot: Slot, call: &Call<'_>) -> Result<SlotState, EffectError> {
        let services = self.services(app, slot);
        let deadline = call.deadline;
        let results: Vec<_> = std::thread::scope(|scope| {
            let stops: Vec<_> = services
                .iter()
                .map(|(_, dir)| scope.spawn(|| self.stop_process(dir, deadline)))
                .collect();
            stops.into_iter().map(|stop| stop.join().expect("a stop does not panic")).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
        let _ = fs::remove_dir(self.paths.shims(app, slot));
        self.observe(app, slot)
    }

    fn observe(&self, app: &AppName, slot: Slot) -> Result<SlotState, EffectError> {
        let mut state = SlotState::default();
        let table = Table::read();
        for (service, dir) in self.services(app, slot) {
            let Some(found) = Found::read(&dir) else { continue };
            if let Some(AskError::NoAnswer { .. }) = &found.failure {
                let error = found.failure.as_ref().map(|e| chain(e)).unwrap_or_default();
                return Err(EffectError::failed(format!("observe {service} in {slot}"), error));
            }
            state.binding = BindingId::parse(&found.binding);
            state.processes.push(found.process(service, &table));
        }
        Ok(state)
    }

    fn last_words(&self, _app: &AppName, _slot: Slot, seen: &ProcessState) -> String {
        tail(&seen.log)
    }
}

/// What is in a shim's directory: its spec, and what the shim says or has left behind.
struct Found {
    binding: String,
    log: PathBuf,
    reply: Option<Reply>,
    failure: Option<AskError>,
    state: Option<State>,
}

impl Found {
    /// `None` when nothing was ever ordered there.
    fn read(path: &Path) -> Option<Self> {
        let dir = ShimDir::open(path).ok()?;
        let spec = dir.stopped_spec().or_else(|| dir.spec().ok())?;
        let (reply, failure) = match ask(path, Verb::State, ANSWER) {
            Ok(reply) => (Some(reply), None),
            Err(error) => (None, Some(error)),
        };
        let state = reply.as_ref().and_then(|r| r.state.clone()).or_else(|| dir.state());
        let state = state.filter(|state| state.boot_id == clock::boot_id());
        Some(Self { binding: spec.binding, log: spec.log, reply, failure, state })
    }

    fn has_no_shim(path: &Path) -> bool {
        matches!(ask(path, Verb::Hello, ANSWER), Err(AskError::NoShim(_)))
    }

    fn phase(&self) -> Option<files::Phase> {
        self.state.as_ref().map(|state| state.phase)
    }

    /// Stopped, or not to be started again. A state of an earlier boot says nothing about this one.
    fn is_over(&self) -> bool {
        match self.phase() {
            Some(files::Phase::Stopping | files::Phase::Stopped | files::Phase::GaveUp) => true,
            Some(files::Phase::Starting | files::Phase::Running | files::Phase::Restarting) => {
                false
            }
            None => false,
        }
    }

    fn process(self, name: ServiceName, table: &Table) -> ProcessState {
        let alive = |state: &State| state.child.clone().filter(Identity::is_alive);
        let child = self.state.as_ref().and_then(alive);
        let is_owned = self.reply.is_some();
        let phase = match self.phase().filter(|_| child.is_none()) {
            None if child.is_some() => Phase::Running,
            // Dead and not yet noticed, or about to be started: by its shim, or by `ensure` when that is dead, too.
            Some(files::Phase::Starting | files::Phase::Running | files::Phase::Restarting) => {
                Phase::Restarting
            }
            Some(files::Phase::GaveUp) => Phase::GaveUp,
            Some(files::Phase::Stopping) if is_owned => Phase::Running,
            Some(files::Phase::Stopping | files::Phase::Stopped) | None => Phase::Stopped,
        };
        ProcessState {
            name,
            phase,
            pid: child.as_ref().map(|child| child.pid),
            restarts: self.state.as_ref().map_or(0, |state| state.restarts),
            user: None,
            memory_bytes: child.map_or(0, |child| table.memory_bytes(child.pid)),
            last_exit: self.state.and_then(|state| state.last_exit),
            log: self.log,
        }
    }
}

/// Until the last shim of `dir` has let go of it.
fn wait_for_end(dir: &Path, deadline: Millis) -> Result<(), EffectError> {
    let limit = clock::now().after(ANSWER).min(deadline);
    let what = || format!("take over {}", dir.display());
    let opened = ShimDir::open(dir).map_err(|error| EffectError::failed(what(), error))?;
    loop {
        match opened.lock() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if ask(dir, Verb::Hello, ANSWER).is_ok() => return Ok(()),
            Ok(None) if clock::left(limit).is_zero() => {
                let detail = "its shim neither answers nor ends";
                return Err(EffectError::failed(what(), detail));
            }
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(EffectError::failed(what(), error)),
        }
    }
}

fn is_stopped(path: &Path) -> bool {
    let Ok(dir) = ShimDir::open(path) else { return true };
    let is_ended = dir.state().is_some_and(|state| state.phase == files::Phase::Stopped);
    is_ended && dir.lock().is_ok_and(|lock| lock.is_some())
}

/// Nothing was ever ordered there: what a crash left of an order that was about to be written.
fn is_without_order(path: &Path) -> bool {
    let Ok(dir) = ShimDir::open(path) else { return true };
    !dir.has_order() && dir.lock().is_ok_and(|lock| lock.is_some())
}

/// The order is gone with its directory; what the program wrote is elsewhere and stays.
fn remove(dir: &Path) -> Result<(), EffectError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EffectError::failed(format!("remove {}", dir.display()), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The last lines of a log, for a failure's detail.
fn tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    const BYTES: i64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::End(-BYTES.min(i64::try_from(size).unwrap_or(BYTES))))?;
        let mut bytes = Vec::new();
        file.take(BYTES.unsigned_abs()).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn name(dir: &Path) -> String {
    dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
