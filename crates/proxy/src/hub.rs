//! Decides nothing and does what it is told, in this order: durable on disk, then published, then answered.
//!
//! One lock for what is structure, one for each service's switches; requests take neither.

use crate::cidr::CidrError;
use crate::control::wire::{
    Drained, Failure, FailureKind, Hello, Listening, Observed, Status, Switched, TargetTraffic,
    WIRE_VERSION,
};
use crate::disk::Disk;
use crate::listen::{ListenAddress, ListenAddressError, Listeners};
use crate::live::{LiveTarget, Service, TargetError};
use crate::pass::Pass;
use crate::shared::Shared;
use crate::state::{
    BadFile, Conflict, DrainLimits, SaveError, ServiceRecord, StateDir, Structure, Switch, Target,
    is_service_name,
};
use crate::stats::lock;
use crate::table::{Claimed, Entry, Rules, Table};
use crate::worker::Command;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

/// The process as its control socket sees it.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    state: StateDir,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    structure: Mutex<Structures>,
}

struct Structures {
    listeners: Listeners,
    known: BTreeMap<String, Known>,
    bad: Vec<BadFile>,
}

#[derive(Clone)]
struct Known {
    service: Arc<Service>,
    rules: Arc<Rules>,
    listen: Vec<ListenAddress>,
}

impl Hub {
    /// Loads every state file and serves what it can; what it cannot is told by [`Self::status`].
    pub(crate) fn load(
        shared: Arc<Shared>,
        disk: Box<dyn Disk>,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        listeners: Listeners,
    ) -> io::Result<Self> {
        let state = StateDir::new(&shared.options.state_dir);
        let loaded = state.load(disk.as_ref())?;
        let mut structures = Structures { listeners, known: BTreeMap::new(), bad: loaded.bad };
        for record in loaded.records {
            let name = record.service.clone();
            match Known::new(record, shared.workers) {
                Ok(known) => drop(structures.known.insert(name, known)),
                Err(reason) => {
                    let path = state.path(&name);
                    structures.bad.push(BadFile { service: name, path, reason: reason.message });
                }
            }
        }
        for bad in &structures.bad {
            let (path, reason) = (bad.path.display(), &bad.reason);
            tracing::error!(service = bad.service, %path, reason, "a service cannot be served");
        }
        let hub = Self { shared, disk, state, workers, structure: Mutex::new(structures) };
        let mut structures = lock(&hub.structure);
        for address in structures.wanted() {
            if let Err(error) = structures.listeners.open(address) {
                tracing::error!(%address, %error, "cannot listen");
            }
        }
        for claimed in hub.publish_table(&structures) {
            tracing::error!("failed to {claimed}");
        }
        drop(structures);
        Ok(hub)
    }

    /// See [`crate::control::Request::Configure`].
    pub(crate) fn configure(
        &self,
        service: &str,
        structure: &Structure,
    ) -> Result<Observed, Failure> {
        if !is_service_name(service) {
            return Err(refused(format!("configure {service:?}: use a-z, 0-9 and - in its name")));
        }
        let rules = Arc::new(Rules::new(structure)?);
        let listen = parse_listen(service, structure)?;
        let mut structures = lock(&self.structure);
        structures.check_state_file(service, &self.state)?;
        let result = self.configure_locked(&mut structures, service, structure, rules, listen);
        structures.close_unused();
        result?;
        Ok(structures.observe(service).expect("it was just configured"))
    }

    /// See [`crate::control::Request::Switch`]. `arrived` is when the command was read.
    pub(crate) fn switch(
        &self,
        arrived: Instant,
        service: &str,
        expected_generation: u64,
        operation: &str,
        target: &Target,
    ) -> Result<Switched, Failure> {
        let live = Arc::new(LiveTarget::new(target, self.shared.workers)?);
        let known = self.known(service)?;
        let mut record = lock(&known.service.record);
        if known.service.is_forgotten() {
            return Err(unknown(service));
        }
        let next = match record.switch(expected_generation, operation, target) {
            Ok(Switch::To(next)) => *next,
            Ok(Switch::Already) => {
                let (generation, took_us) = (record.generation, micros(arrived));
                return Ok(Switched {
                    generation,
                    took_us,
                    durable_us: 0,
                    published_ns: 0,
                    already: true,
                });
            }
            Err(conflict) => {
                drop(record);
                return Err(self.conflict(&conflict));
            }
        };
        if let Some(from) = known.service.target() {
            for worker in &self.workers {
                let _ = worker.send(Command::Expect(from.clone(), live.clone()));
            }
        }
        let durable_from = Instant::now();
        self.save(&record, &next)?;
        let durable_us = micros(durable_from);
        let generation = next.generation;
        let revived = known.service.publish(live);
        let published_ns = monotonic_ns();
        // What they led to may be what everybody sees now, or about to be stopped.
        known.service.end_passes();
        let took_us = micros(arrived);
        *record = next;
        drop(record);
        revived.into_iter().for_each(|target| self.tell_drain(&target));
        tracing::info!(service, target = target.id, generation, operation, took_us, "switched");
        Ok(Switched { generation, took_us, durable_us, published_ns, already: false })
    }

    /// See [`crate::control::Request::Observe`].
    pub(crate) fn observe(&self, service: &str) -> Option<Observed> {
        lock(&self.structure).observe(service)
    }

    /// See [`crate::control::Request::List`].
    pub(crate) fn list(&self) -> Vec<Observed> {
        let structures = lock(&self.structure);
        structures.known.keys().filter_map(|name| structures.observe(name)).collect()
    }

    /// See [`crate::control::Request::Traffic`].
    pub(crate) fn traffic(&self, service: &str) -> Result<Vec<TargetTraffic>, Failure> {
        Ok(self.known(service)?.service.traffic())
    }

    /// See [`crate::control::Request::Drain`].
    pub(crate) fn drain(
        &self,
        service: &str,
        id: &str,
        limits: Option<DrainLimits>,
    ) -> Result<Drained, Failure> {
        let known = self.known(service)?;
        let targets = known.service.without_traffic(id);
        if targets.is_empty() && known.service.target().is_some_and(|target| target.id == id) {
            return Err(refused(format!("drain {id}: it is the effective target of {service}")));
        }
        let limits = limits.unwrap_or_else(|| lock(&known.service.record).structure.drain);
        let until_ms = self.shared.now_ms().saturating_add(limits.websockets_ms).max(1);
        for target in &targets {
            target.set_drain_until_ms(Some(until_ms));
            self.tell_drain(target);
        }
        let traffic = known.service.traffic();
        let under_way = traffic.iter().find(|traffic| traffic.target == id && !targets.is_empty());
        Ok(Drained {
            in_flight: under_way.map_or(0, |traffic| traffic.in_flight),
            closing: under_way.map_or(0, |traffic| traffic.tunnels + traffic.streams),
        })
    }

    /// See [`crate::control::Request::Admit`].
    pub(crate) fn admit(
        &self,
        service: &str,
        target: &Target,
        token: &str,
        lifetime_s: u64,
    ) -> Result<(), Failure> {
        let known = self.known(service)?;
        let live = Arc::new(LiveTarget::new(target, self.shared.workers)?);
        let until_ms = self.shared.now_ms().saturating_add(lifetime_s.saturating_mul(1000));
        let pass = Pass::new(token, live, until_ms)
            .ok_or_else(|| refused(format!("admit to {service}: the token is not one")))?;
        known.service.admit(pass);
        Ok(())
    }

    /// See [`crate::control::Request::EndPasses`].
    pub(crate) fn end_passes(&self, service: &str) -> Result<(), Failure> {
        self.known(service)?.service.end_passes();
        Ok(())
    }

    /// See [`crate::control::Request::Maintenance`].
    pub(crate) fn maintenance(&self, service: &str, on: bool) -> Result<Observed, Failure> {
        let known = self.known(service)?;
        let mut record = lock(&known.service.record);
        if record.maintenance != on {
            let next = ServiceRecord { maintenance: on, ..record.clone() };
            self.save(&record, &next)?;
            known.service.set_maintenance(on);
            *record = next;
        }
        drop(record);
        self.observe(service).ok_or_else(|| unknown(service))
    }

    /// See [`crate::control::Request::Forget`].
    pub(crate) fn forget(&self, service: &str) -> Result<(), Failure> {
        let mut structures = lock(&self.structure);
        let Some(known) = structures.known.get(service).cloned() else {
            return Err(unknown(service));
        };
        // Held, so that no switch writes the file again meanwhile.
        let _record = lock(&known.service.record);
        known.service.set_forgotten();
        self.state.remove(self.disk.as_ref(), service)?;
        structures.known.remove(service);
        self.publish_table(&structures);
        structures.close_unused();
        Ok(())
    }

    /// See [`crate::control::Request::Status`].
    pub(crate) fn status(&self) -> Status {
        let structures = lock(&self.structure);
        let (connections, refused_connections) = self.shared.connection_counts();
        Status {
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.shared.now_ms(),
            workers: self.shared.workers,
            connections,
            refused_connections,
            log_lines_dropped: self.shared.log_lines_dropped(),
            listeners: structures.listeners.tell_all(),
            bad_files: structures.bad.clone(),
            stopping: self.shared.is_stopping(),
        }
    }

    /// See [`crate::control::Request::Hello`].
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            version: WIRE_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        }
    }

    /// Listens where it could not before.
    pub(crate) fn retry_listening(&self) {
        let mut structures = lock(&self.structure);
        let missing = structures.listeners.missing();
        let mut is_changed = false;
        for address in missing {
            is_changed |= structures.listeners.open(address).is_ok();
        }
        if is_changed {
            self.publish_table(&structures);
        }
    }

    /// Tells the supervisor that the process serves.
    pub(crate) fn ready(&self) {
        lock(&self.structure).listeners.ready();
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopping()
    }

    /// No new connections.
    pub(crate) fn stop(&self) {
        self.shared.set_stopping();
        lock(&self.structure).listeners.stop();
    }

    /// The workers come to their end. Comes after what was accepted has reached them.
    pub(crate) fn stop_workers(&self) {
        for worker in &self.workers {
            let _ = worker.send(Command::Stop);
        }
    }

    fn configure_locked(
        &self,
        structures: &mut Structures,
        service: &str,
        structure: &Structure,
        rules: Arc<Rules>,
        listen: Vec<ListenAddress>,
    ) -> Result<(), Failure> {
        for address in &listen {
            structures.listeners.open(*address).map_err(|error| Failure {
                kind: FailureKind::Listen,
                message: format!("listen on {address}: {error}"),
                effective: None,
            })?;
        }
        let known = match structures.known.get(service) {
            Some(known) => Known { rules, listen, ..known.clone() },
            None => {
                let record = ServiceRecord::new(service, structure.clone());
                let fresh = Arc::new(Service::new(record, self.shared.workers)?);
                Known { service: fresh, rules, listen }
            }
        };
        structures.check_claims(service, &known)?;
        let mut record = lock(&known.service.record);
        let is_new = !structures.known.contains_key(service);
        if is_new || record.structure != *structure {
            let next = ServiceRecord { structure: structure.clone(), ..record.clone() };
            self.save(&record, &next)?;
            *record = next;
        }
        drop(record);
        structures.known.insert(service.to_owned(), known);
        structures.bad.retain(|bad| bad.service != service);
        self.publish_table(structures);
        Ok(())
    }

    /// Makes `next` durable. After a failure the disk may hold either record, so `current` is written once more.
    fn save(&self, current: &ServiceRecord, next: &ServiceRecord) -> Result<(), Failure> {
        let Err(error) = self.state.save(self.disk.as_ref(), next) else { return Ok(()) };
        tracing::error!(service = next.service, reason = %full(&error), "cannot save a service");
        if error.step == "sync the directory of" {
            let _ = self.state.save(self.disk.as_ref(), current);
        }
        Err(error.into())
    }

    fn publish_table(&self, structures: &Structures) -> Vec<Claimed> {
        let (mut table, lost) = structures.table(None);
        table.is_incomplete = !structures.bad.is_empty();
        self.shared.set_table(table);
        lost
    }

    fn tell_drain(&self, target: &Arc<LiveTarget>) {
        for worker in &self.workers {
            let _ = worker.send(Command::Drain(target.clone()));
        }
    }

    fn conflict(&self, conflict: &Conflict) -> Failure {
        Failure {
            kind: FailureKind::Conflict,
            message: conflict.to_string(),
            effective: self.observe(&conflict.service).map(Box::new),
        }
    }

    fn known(&self, service: &str) -> Result<Known, Failure> {
        lock(&self.structure).known.get(service).cloned().ok_or_else(|| unknown(service))
    }
}

impl Known {
    fn new(record: ServiceRecord, workers: usize) -> Result<Self, Failure> {
        let rules = Arc::new(Rules::new(&record.structure)?);
        let listen = parse_listen(&record.service, &record.structure)?;
        Ok(Self { service: Arc::new(Service::new(record, workers)?), rules, listen })
    }
}

impl Structures {
    fn wanted(&self) -> Vec<ListenAddress> {
        self.known.values().flat_map(|known| known.listen.clone()).collect()
    }

    /// A service that could not be read may have asked for what seems unused.
    fn close_unused(&mut self) {
        if self.bad.is_empty() {
            let wanted = self.wanted();
            self.listeners.keep_only(&wanted);
        }
    }

    fn observe(&self, service: &str) -> Option<Observed> {
        let known = self.known.get(service)?;
        let record = lock(&known.service.record);
        let listening: Vec<Listening> =
            known.listen.iter().map(|address| self.listeners.tell(*address)).collect();
        Some(Observed {
            service: record.service.clone(),
            generation: record.generation,
            operation: record.operation.clone(),
            target: record.target.clone(),
            maintenance: record.maintenance,
            structure: record.structure.clone(),
            listening,
        })
    }

    /// The table with one entry replaced.
    fn table(&self, replaced: Option<(&str, &Known)>) -> (Table, Vec<Claimed>) {
        let mut all: BTreeMap<&str, &Known> =
            self.known.iter().map(|(name, known)| (name.as_str(), known)).collect();
        all.extend(replaced);
        let entry = |(name, known): (&str, &Known)| Entry {
            name: name.to_owned(),
            service: known.service.clone(),
            rules: known.rules.clone(),
            listeners: known.listen.iter().filter_map(|a| self.listeners.number(*a)).collect(),
        };
        Table::build(all.into_iter().map(entry).collect())
    }

    fn check_claims(&self, service: &str, known: &Known) -> Result<(), Failure> {
        let (_, lost) = self.table(Some((service, known)));
        let Some(claimed) = lost.iter().find(|c| c.loser == service || c.owner == service) else {
            return Ok(());
        };
        let other = if claimed.loser == service { &claimed.owner } else { &claimed.loser };
        let what = &claimed.what;
        Err(Failure {
            kind: FailureKind::Claimed,
            message: format!("configure {service}: {what} belongs to {other} already"),
            effective: None,
        })
    }

    /// A file that an older version cannot read is not overwritten by it.
    fn check_state_file(&self, service: &str, state: &StateDir) -> Result<(), Failure> {
        let path = state.path(service);
        match self.bad.iter().find(|bad| bad.service == service && bad.path == path) {
            Some(bad) => Err(refused(format!(
                "configure {service}: its state file {} is kept as it is: {}",
                bad.path.display(),
                bad.reason
            ))),
            None => Ok(()),
        }
    }
}

fn parse_listen(service: &str, structure: &Structure) -> Result<Vec<ListenAddress>, Failure> {
    if structure.listen.is_empty() {
        return Err(refused(format!("configure {service}: it has no address to listen on")));
    }
    let parsed: Result<_, ListenAddressError> =
        structure.listen.iter().map(|text| text.parse()).collect();
    Ok(parsed?)
}

fn refused(message: String) -> Failure {
    Failure { kind: FailureKind::Refused, message, effective: None }
}

fn unknown(service: &str) -> Failure {
    let message = format!("find the service {service}");
    Failure { kind: FailureKind::UnknownService, message, effective: None }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// An error with its causes, for the one line that goes over the wire.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        Self { kind: FailureKind::NotDurable, message: full(&error), effective: None }
    }
}

impl From<CidrError> for Failure {
    fn from(error: CidrError) -> Self {
        refused(error.to_string())
    }
}

impl From<ListenAddressError> for Failure {
    fn from(error: ListenAddressError) -> Self {
        refused(error.to_string())
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        refused(error.to_string())
    }
}
