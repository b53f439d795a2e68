//! `SimHost`: one coherent simulated machine behind every port. It keeps what a crash keeps.
//!
//! A daemon crash ends the engine and nothing else; a power cut ends every process, too, and loses what was not synced.
//! The router's durable half is the proxy's own code ([`alcedo_proxy::state`]) on a simulated disk.

mod cases;
mod disk;
mod faults;
mod fixture;
mod releases;
mod sabotage;
mod scenario;

use super::ports::*;
use alcedo_core::binding::{Address, Binding, BindingId};
use alcedo_core::config::Config;
use alcedo_core::event::Record;
use alcedo_core::{AppName, ReleaseId, Slot};
use alcedo_proxy::state::{self, ServiceRecord, StateDir, Structure, Target};
use disk::SimDisk;
use faults::{Crash, Faults, Op, When};
use sabotage::{Sabotage, SabotagedDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// How a release behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Behaviour {
    #[default]
    Good,
    /// It never answers.
    NeverReady,
    /// It answers its probes and fails every fifth request of its users.
    FailsRequests,
    /// It stops answering altogether some time after it got the traffic.
    DiesLater,
}

#[derive(Clone)]
struct SimHost {
    world: Arc<Mutex<Inner>>,
    disk: SimDisk,
    faults: Faults,
    /// Leaves out what makes it safe, to show that the checks bite.
    sabotage: Sabotage,
}

struct Inner {
    now_ms: u64,
    boot: u32,
    journal: Vec<Record>,
    /// What runs, by slot.
    running: BTreeMap<Slot, (Binding, BTreeSet<String>)>,
    /// What the proxy has published; `None` while it does not run.
    published: Option<BTreeMap<String, ServiceRecord>>,
    /// Releases: sealed or not, synced or not.
    releases: BTreeMap<ReleaseId, (bool, bool)>,
    behaviour: BTreeMap<ReleaseId, Behaviour>,
    /// When a target got the traffic.
    since_ms: BTreeMap<String, u64>,
    /// Bindings that answered a probe as their release.
    proven: BTreeSet<BindingId>,
    /// How often the processes of a slot were started again.
    restarts: BTreeMap<Slot, u32>,
    /// Addresses of the router that somebody else has.
    entrances_taken: Vec<std::net::SocketAddr>,
    /// The next switch is held up at the router: whoever asked is told that it failed.
    holds_up: bool,
    /// Broken laws, seen the moment they broke.
    broken: Vec<String>,
}

impl SimHost {
    fn new(sabotage: Sabotage) -> Self {
        let faults = Faults::default();
        let inner = Inner {
            now_ms: 1_000,
            boot: 1,
            journal: Vec::new(),
            running: BTreeMap::new(),
            published: Some(BTreeMap::new()),
            releases: BTreeMap::new(),
            behaviour: BTreeMap::new(),
            since_ms: BTreeMap::new(),
            proven: BTreeSet::new(),
            restarts: BTreeMap::new(),
            entrances_taken: Vec::new(),
            holds_up: false,
            broken: Vec::new(),
        };
        Self {
            world: Arc::new(Mutex::new(inner)),
            disk: SimDisk::new(faults.clone()),
            faults,
            sabotage,
        }
    }

    fn world(&self) -> World {
        let me = Arc::new(self.clone());
        World {
            runner: me.clone(),
            router: me.clone(),
            probe: me.clone(),
            releases: me.clone(),
            journal: me.clone(),
            clock: me.clone(),
            machine: me,
        }
    }

    /// Every process dies, what was not synced is gone, and the proxy boots from its state files alone.
    fn power_cut(&self) {
        self.disk.power_cut();
        let loaded = self.state_dir().load(&self.disk).expect("the simulated disk can be read");
        let mut inner = self.lock();
        inner.boot += 1;
        inner.now_ms = 500;
        inner.running.clear();
        // A release whose files were not synced comes back without them.
        inner.releases.retain(|_, (_, synced)| *synced);
        if !loaded.bad.is_empty() {
            inner.broken.push(format!("state file lost at a power cut: {:?}", loaded.bad));
        }
        inner.published =
            Some(loaded.records.into_iter().map(|r| (r.service.clone(), r)).collect());
    }

    fn state_dir(&self) -> StateDir {
        StateDir::new(Path::new("/proxy"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn effect<T>(
        &self,
        op: Op,
        torn: impl FnOnce(&mut Inner),
        whole: impl FnOnce(&mut Inner) -> T,
    ) -> Result<T, EffectError> {
        let point = self.faults.enter(op);
        if let Some(detail) = point.fault() {
            return Err(EffectError::failed(format!("{op:?}"), detail));
        }
        if point.is_torn() {
            torn(&mut self.lock());
            point.crash();
        }
        let result = whole(&mut self.lock());
        point.leave();
        Ok(result)
    }

    /// The binding that answers on an address, if it answers.
    fn answering(&self, address: &Address) -> Option<Binding> {
        let inner = self.lock();
        let (binding, _) = inner.running.values().find(|(b, up)| {
            b.processes.iter().any(|p| p.address == *address && up.contains(p.name.as_str()))
        })?;
        let age = inner
            .since_ms
            .get(binding.id.as_str())
            .map_or(0, |since| inner.now_ms.saturating_sub(*since));
        match inner.behaviour.get(&binding.release).copied().unwrap_or_default() {
            Behaviour::NeverReady => None,
            Behaviour::DiesLater if age > 2_000 => None,
            Behaviour::Good | Behaviour::FailsRequests | Behaviour::DiesLater => {
                Some(binding.clone())
            }
        }
    }

    /// The disk as the proxy uses it, with what sabotage leaves out.
    fn proxy_disk(&self) -> SabotagedDisk<'_> {
        SabotagedDisk(self)
    }
}

impl Runner for SimHost {
    fn start(&self, binding: &Binding, _call: &Call<'_>) -> Result<SlotState, EffectError> {
        {
            let mut inner = self.lock();
            if let Some((other, _)) =
                inner.running.get(&binding.slot).filter(|(b, _)| b.id != binding.id)
            {
                let text = format!("{} was started over {}", binding.id, other.id);
                inner.broken.push(text);
            }
            if inner.releases.get(&binding.release).is_none_or(|(sealed, _)| !sealed) {
                let text = format!("{} was started without a sealed release", binding.id);
                inner.broken.push(text);
            }
        }
        let names = |n: usize| {
            binding.processes.iter().take(n).map(|p| p.name.to_string()).collect::<BTreeSet<_>>()
        };
        let put = |inner: &mut Inner, n: usize| {
            inner.running.insert(binding.slot, (binding.clone(), names(n)));
        };
        self.effect(Op::Start, |inner| put(inner, 1), |inner| put(inner, usize::MAX))?;
        self.observe_slot(binding.slot)
    }

    fn stop(&self, app: &AppName, slot: Slot, _call: &Call<'_>) -> Result<SlotState, EffectError> {
        {
            let mut inner = self.lock();
            let target = inner
                .published
                .as_ref()
                .and_then(|p| p.get(app.as_str()))
                .and_then(|r| r.target.clone());
            if let Some((binding, _)) = inner.running.get(&slot)
                && target.is_some_and(|t| t.id == binding.id.as_str())
            {
                let text = format!("{} was stopped while the router points at it", binding.id);
                inner.broken.push(text);
            }
        }
        self.effect(
            Op::Stop,
            |inner| {
                if let Some((_, up)) = inner.running.get_mut(&slot) {
                    up.pop_first();
                }
            },
            |inner| {
                inner.running.remove(&slot);
            },
        )?;
        Ok(SlotState::default())
    }

    fn ensure(&self, _binding: &Binding, _call: &Call<'_>) -> Result<(), EffectError> {
        Ok(())
    }

    fn observe(&self, _app: &AppName, slot: Slot) -> Result<SlotState, EffectError> {
        self.observe_slot(slot)
    }

    fn last_words(&self, _app: &AppName, _slot: Slot, _seen: &ProcessState) -> String {
        String::new()
    }
}

impl SimHost {
    fn observe_slot(&self, slot: Slot) -> Result<SlotState, EffectError> {
        let inner = self.lock();
        let Some((binding, up)) = inner.running.get(&slot) else { return Ok(SlotState::default()) };
        let processes = binding.processes.iter().map(|p| ProcessState {
            name: p.name.clone(),
            phase: if up.contains(p.name.as_str()) { Phase::Running } else { Phase::Stopped },
            pid: Some(1),
            restarts: inner.restarts.get(&slot).copied().unwrap_or(0),
            memory_bytes: 1,
            user: None,
            last_exit: None,
            log: PathBuf::from("/log"),
        });
        Ok(SlotState { binding: Some(binding.id.clone()), processes: processes.collect() })
    }
}

impl Router for SimHost {
    fn observe(&self, app: &AppName) -> Result<Option<Effective>, EffectError> {
        let inner = self.lock();
        let Some(published) = &inner.published else {
            return Err(EffectError::failed("ask the router", "down"));
        };
        Ok(published.get(app.as_str()).map(effective))
    }

    fn configure(
        &self,
        app: &AppName,
        config: &Config,
        _upstreams: &[alcedo_core::nginx::Upstream],
    ) -> Result<(), EffectError> {
        let known = self.lock().published.as_ref().and_then(|p| p.get(app.as_str()).cloned());
        let structure =
            Structure { domains: config.router.domains.clone(), ..Structure::default() };
        if known.as_ref().is_some_and(|known| known.structure == structure) {
            return Ok(());
        }
        let record = match known {
            Some(known) => ServiceRecord { structure, ..known },
            None => ServiceRecord::new(app.as_str(), structure),
        };
        self.save(&record)?;
        self.effect(Op::Configure, |_| {}, |inner| publish(inner, record))
    }

    fn switch(
        &self,
        app: &AppName,
        expected: u64,
        binding: &Binding,
        operation: &str,
    ) -> Result<Switched, SwitchError> {
        if std::mem::take(&mut self.lock().holds_up) {
            return Err(EffectError::failed("switch", "no answer").into());
        }
        let record = self.lock().published.as_ref().and_then(|p| p.get(app.as_str()).cloned());
        let record = record.ok_or_else(|| EffectError::failed("switch", "unknown service"))?;
        let target = Target { id: binding.id.to_string(), labels: Vec::new(), routes: Vec::new() };
        let next = match record.switch(expected, operation, &target) {
            Err(_) => return Err(SwitchError::Conflict(effective(&record))),
            Ok(state::Switch::Already) => {
                return Ok(Switched { generation: record.generation, took_us: 0 });
            }
            Ok(state::Switch::To(next)) => *next,
        };
        // A switch to where it points already (a fence) gives nobody traffic anew.
        if record.target.as_ref().is_none_or(|now| now.id != target.id) {
            self.check_target(binding);
        }
        if let Err(error) = self.save(&next) {
            // What a crash would leave is not known: the record held to be true is written once more, as the proxy does.
            self.save(&record).ok();
            return Err(error.into());
        }
        let generation = next.generation;
        self.effect(
            Op::Publish,
            |_| {},
            |inner| {
                let now = inner.now_ms;
                inner.since_ms.insert(binding.id.to_string(), now);
                publish(inner, next);
            },
        )?;
        Ok(Switched { generation, took_us: 1 })
    }

    fn drain(
        &self,
        _app: &AppName,
        _binding: &BindingId,
        _config: &Config,
    ) -> Result<(), EffectError> {
        Ok(())
    }

    fn traffic(&self, app: &AppName) -> Result<Vec<Traffic>, EffectError> {
        let inner = self.lock();
        let record = inner.published.as_ref().and_then(|p| p.get(app.as_str()));
        let Some(target) = record.and_then(|r| r.target.clone()) else { return Ok(Vec::new()) };
        let since = inner.since_ms.get(&target.id).copied().unwrap_or(inner.now_ms);
        let requests = inner.now_ms.saturating_sub(since) / 10;
        let release = inner
            .running
            .values()
            .find(|(b, _)| b.id.as_str() == target.id)
            .map(|(b, _)| b.release.clone());
        let fails = release.and_then(|r| inner.behaviour.get(&r).copied())
            == Some(Behaviour::FailsRequests);
        let errors = if fails { requests / 5 } else { 0 };
        Ok(vec![Traffic { target: target.id, requests, errors, ..Traffic::default() }])
    }

    fn entrances_taken(&self, _app: &AppName, _config: &Config) -> Vec<EntranceTaken> {
        let addresses = self.lock().entrances_taken.clone();
        addresses.into_iter().map(|address| EntranceTaken { address, app: None }).collect()
    }

    fn entrance(&self, _app: &AppName, _config: &Config) -> Result<Entrance, EffectError> {
        Ok(Entrance {
            address: Address::Unix("/entrance".into()),
            host: "sim".to_owned(),
            url: "http://sim".to_owned(),
            names_release: true,
        })
    }
}

impl SimHost {
    fn save(&self, record: &ServiceRecord) -> Result<(), EffectError> {
        self.state_dir()
            .save(&self.proxy_disk(), record)
            .map_err(|e| EffectError::failed("save", e.source))
    }

    /// What gets the traffic must run whole and must have been live before or have passed its checks.
    fn check_target(&self, binding: &Binding) {
        let up = binding
            .processes
            .iter()
            .all(|p| self.answering(&p.address).is_some_and(|b| b.id == binding.id));
        let mut inner = self.lock();
        let was_live = inner.since_ms.contains_key(binding.id.as_str());
        if !was_live && !inner.proven.contains(&binding.id) {
            inner
                .broken
                .push(format!("{} got traffic without having passed its checks", binding.id));
        }
        if !up {
            inner.broken.push(format!("{} got traffic while it did not answer", binding.id));
        }
    }
}

fn publish(inner: &mut Inner, record: ServiceRecord) {
    if let Some(published) = &mut inner.published {
        published.insert(record.service.clone(), record);
    }
}

fn effective(record: &ServiceRecord) -> Effective {
    Effective {
        target: record.target.as_ref().map(|t| t.id.clone()),
        generation: record.generation,
        operation: record.operation.clone(),
    }
}

impl Probe for SimHost {
    fn get(&self, request: &Get, _call: &Call<'_>) -> Result<Answer, String> {
        let binding = if request.address == Address::Unix("/entrance".into()) {
            let inner = self.lock();
            let target = inner
                .published
                .as_ref()
                .and_then(|p| p.values().next())
                .and_then(|r| r.target.clone());
            let target = target.ok_or("503")?;
            inner.running.values().map(|(b, _)| b.clone()).find(|b| b.id.as_str() == target.id)
        } else {
            self.answering(&request.address)
        };
        let binding = binding.ok_or("connection refused")?;
        self.lock().now_ms += 1;
        let headers = [
            ("x-alcedo-release".to_owned(), binding.release.to_string()),
            ("x-alcedo-slot".to_owned(), binding.slot.to_string()),
        ];
        Ok(Answer { status: 200, headers: headers.into(), body: Vec::new() })
    }

    fn connect(&self, address: &Address, _call: &Call<'_>) -> Result<(), String> {
        self.answering(address).map(|_| ()).ok_or_else(|| "connection refused".to_owned())
    }

    fn command(&self, _command: &str, _binding: &Binding, _call: &Call<'_>) -> Result<(), String> {
        Ok(())
    }

    fn listeners(&self, address: &Address) -> Result<Vec<Listener>, EffectError> {
        let Some(binding) = self.answering(address) else { return Ok(Vec::new()) };
        self.lock().proven.insert(binding.id.clone());
        let cwd = Some(binding.instance.clone());
        Ok(vec![Listener {
            pid: Some(1),
            user: None,
            command: "app".to_owned(),
            exe: None,
            cwd,
            public: false,
        }])
    }
}

impl Journal for SimHost {
    fn append(&self, _app: &AppName, record: &Record) -> Result<(), EffectError> {
        // A torn append is SQLite's to prevent: the transaction is there or it is not.
        self.effect(
            Op::Append,
            |_| {},
            |inner| {
                inner.journal.push(record.clone());
            },
        )
    }

    fn read(&self, _app: &AppName) -> Result<Vec<Record>, EffectError> {
        use alcedo_core::event::Event;
        let records = self.lock().journal.clone();
        if self.sabotage != Sabotage::NoIntents {
            return Ok(records);
        }
        // A journal that never knew intents: what is found at a crash is results alone.
        let last_is_intent = matches!(
            records.last().map(|r| &r.event),
            Some(Event::StepStarted { .. } | Event::UndoStarted { .. })
        );
        let keep = records.len() - usize::from(last_is_intent);
        self.lock().journal.truncate(keep);
        Ok(records[..keep].to_vec())
    }

    fn apps(&self) -> Result<Vec<AppName>, EffectError> {
        Ok(Vec::new())
    }
}

impl Clock for SimHost {
    fn now(&self) -> Millis {
        Millis(self.lock().now_ms)
    }

    fn wall(&self) -> String {
        // Set back at every boot and never used for a decision.
        format!("2026-11-20T00:00:{:02}Z", self.lock().boot % 60)
    }

    fn boot(&self) -> String {
        format!("boot-{}", self.lock().boot)
    }

    fn sleep_until(&self, until: Millis, _cancel: &Cancel) {
        let mut inner = self.lock();
        inner.now_ms = inner.now_ms.max(until.0);
    }
}

impl Machine for SimHost {
    fn token(&self) -> Result<String, EffectError> {
        Ok("0".repeat(32))
    }

    fn memory_available_bytes(&self) -> u64 {
        1 << 40
    }

    fn disk_available_bytes(&self, _path: &Path) -> u64 {
        1 << 40
    }

    fn mark_active(&self, _app: &AppName, _active: Option<Slot>) -> Result<(), EffectError> {
        Ok(())
    }
}
