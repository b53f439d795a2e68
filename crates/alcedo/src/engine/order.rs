//! From a call to a plan: which release, which slot, which ports, and what stands against it.

use super::drive::{Engine, EngineError};
use super::ports::{EffectError, FetchOrder, Instance, Source};
use crate::api::{ConfigText, DeployCall, Failed, RollbackCall, What};
use alcedo_core::binding::{Address, Binding, BindingId};
use alcedo_core::config::{self, BindFacts, Config, PORTS, Ports};
use alcedo_core::event::Event;
use alcedo_core::facts::Request;
use alcedo_core::names::{DeployId, ServiceName};
use alcedo_core::nginx::Upstream;
use alcedo_core::plan::Purpose;
use alcedo_core::planning::{self, Proposal, Refusal};
use alcedo_core::state::WayBack;
use alcedo_core::{AppName, ReleaseId, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the files of a release may be measured before they are fetched.
const MEASURE: Duration = Duration::from_secs(60);
/// The same while a deploy is under way; what takes longer is taken to be as large as the newest release.
const MEASURE_BESIDE: Duration = Duration::from_millis(500);

/// Where the host keeps what belongs to apps.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Holds a directory for each app.
    pub(crate) apps: PathBuf,
    /// Holds sockets and active files.
    pub(crate) run: PathBuf,
    /// Ports that are some app's on this host.
    pub(crate) ports: Arc<Mutex<BTreeMap<u16, AppName>>>,
}

impl Places {
    /// The app's directory.
    pub(crate) fn root(&self, app: &AppName, config: &Config) -> PathBuf {
        config.root.clone().unwrap_or_else(|| self.apps.join(app.as_str()))
    }

    /// Where the sockets of a slot are made.
    pub(crate) fn sockets(&self, app: &AppName, slot: Slot) -> PathBuf {
        // A socket's path has 107 bytes at most; a long name is told by its hash.
        let long = app.as_str().len() > 16;
        let short = if long {
            blake3::hash(app.as_str().as_bytes()).to_hex()[..16].to_owned()
        } else {
            app.to_string()
        };
        self.run.join("sockets").join(format!("{short}-{slot}"))
    }

    /// The file that exists while the slot has the traffic.
    pub(crate) fn active_file(&self, app: &AppName, slot: Slot) -> PathBuf {
        self.run.join("apps").join(app.as_str()).join(format!("active-{slot}"))
    }
}

/// A plan and what is needed to do it.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    pub(crate) proposal: Proposal,
    pub(crate) fetch: Option<FetchOrder>,
}

impl Engine {
    /// The configuration of a call: as typed, or what the host runs.
    pub(crate) fn config_of(&self, typed: Option<&ConfigText>) -> Result<Config, Failed> {
        let Some(typed) = typed else {
            let known = self.state.config.as_ref().map(|c| Config::clone(c));
            return known.ok_or_else(|| {
                Failed::usage(format!("nothing of {} was ever deployed here", self.app))
            });
        };
        let input = config::Input {
            text: &typed.text,
            file: &typed.file,
            environment: typed.environment.as_deref(),
        };
        let loaded = config::load(input).map_err(|errors| Failed::config(&errors))?;
        Ok(loaded.config)
    }

    /// Plans a deploy. Nothing is changed, but that ports once picked are kept.
    pub(crate) fn order_deploy(
        &mut self,
        call: &DeployCall,
        places: &Places,
    ) -> Result<Ordered, Failed> {
        let config = self.config_of(call.config.as_ref())?;
        refuse_waiting(self.world.machine.unprepared(&self.app, &config))?;
        let root = places.root(&self.app, &config);
        let (release, source, commit) = match &call.what {
            What::Files { source, release, commit } => {
                (release.clone(), source.clone(), commit.clone())
            }
            What::Kept(name) => (self.kept(name, &root)?, Source::Kept, None),
        };
        let content = self.content(&source, &release);
        let order = FetchOrder {
            root: root.clone(),
            release: release.clone(),
            source,
            config: config.clone(),
            commit,
        };
        let (instance, fetch) = self.instance(&order)?;
        let request = Request {
            purpose: Purpose::Deploy,
            release: release.clone(),
            content,
            fetch,
            stage: call.stage,
            accept: call.accept.clone(),
            retry: call.retry,
        };
        let slot = self.state.idle();
        let binding = self.bind(&config, &release, slot, instance, places, &call.inherit)?;
        let upstreams = self.upstreams(&config, &binding);
        refuse_waiting(self.world.router.unprepared(&self.app, &config, &upstreams))?;
        let needed_bytes = if fetch { self.needed_bytes(&order)? } else { 0 };
        let facts = self.facts(&root, &config, &binding, needed_bytes, request.purpose);
        let proposal = planning::plan(&config, &self.state, &facts, &request, binding)
            .map_err(|r| self.refused(&r))?;
        Ok(Ordered { proposal, fetch: fetch.then_some(order) })
    }

    /// Plans the way back: a flip to the warm slot, else a start of a kept release.
    pub(crate) fn order_rollback(
        &mut self,
        call: &RollbackCall,
        places: &Places,
    ) -> Result<Ordered, Failed> {
        let today = self.config_of(call.config.as_ref())?;
        let root = places.root(&self.app, &today);
        let way = self.way_back(call.release.as_deref(), &root)?;
        let (purpose, release, config) = match &way {
            WayBack::Flip(binding) => (Purpose::Flip, binding.release.clone(), today),
            WayBack::Return(release) => {
                let part = self.state.releases.get(release).map(|r| r.config.release_part());
                let config =
                    part.map_or_else(|| today.clone(), |part| today.with_release_part(part));
                (Purpose::Return, release.clone(), config)
            }
        };
        let binding = match way {
            WayBack::Flip(binding) => binding,
            WayBack::Return(release) => {
                let inherit = self.inherited();
                // The way back runs the release as it ran: its first instance, with the files it was sealed with.
                let instance = root.join("releases").join(release.as_str());
                self.bind(&config, &release, self.state.idle(), instance, places, &inherit)?
            }
        };
        let content =
            self.state.releases.get(&release).map(|r| r.content.clone()).unwrap_or_default();
        let request = Request {
            purpose,
            release,
            content,
            fetch: false,
            stage: false,
            accept: Vec::new(),
            retry: true,
        };
        let facts = self.facts(&root, &config, &binding, 0, request.purpose);
        let proposal = planning::plan(&config, &self.state, &facts, &request, binding)
            .map_err(|r| self.refused(&r))?;
        Ok(Ordered { proposal, fetch: None })
    }

    /// The release that a rollback would go to.
    pub(crate) fn goes_back_to(
        &mut self,
        call: &RollbackCall,
        places: &Places,
    ) -> Result<ReleaseId, Failed> {
        let today = self.config_of(call.config.as_ref())?;
        let root = places.root(&self.app, &today);
        Ok(match self.way_back(call.release.as_deref(), &root)? {
            WayBack::Flip(binding) => binding.release,
            WayBack::Return(release) => release,
        })
    }

    /// Makes a plan a deploy: from here on it exists.
    pub(crate) fn begin(
        &mut self,
        ordered: Ordered,
        by: &str,
        note: Option<String>,
        operation: &str,
    ) -> Result<DeployId, EngineError> {
        let id = ordered.proposal.plan.deploy;
        self.cancel.clear();
        let planned = Event::Planned {
            plan: Box::new(ordered.proposal.plan),
            by: by.to_owned(),
            note,
            operation: Some(operation.to_owned()),
        };
        self.order = ordered.fetch;
        self.append(Some(id), planned)?;
        Ok(id)
    }

    /// Where the release will run from, and whether files must be brought for that.
    fn instance(&self, order: &FetchOrder) -> Result<(PathBuf, bool), Failed> {
        if order.source != Source::Kept {
            return Ok((order.root.join("releases").join(order.release.as_str()), true));
        }
        let (path, instance) = self.world.releases.locate(order).map_err(Failed::effect)?;
        Ok((path, instance == Instance::Missing))
    }

    fn needed_bytes(&self, order: &FetchOrder) -> Result<u64, Failed> {
        // While a deploy is under way this thread is its judge, too, and must not look away for long.
        let limit = if self.state.current.is_some() { MEASURE_BESIDE } else { MEASURE };
        match self.call(limit, |call| self.world.releases.needed_bytes(order, call)) {
            Ok(bytes) => Ok(bytes),
            Err(EffectError::TimedOut { .. }) if self.state.current.is_some() => {
                let kept = self.world.releases.list(&order.root).map_err(Failed::effect)?;
                Ok(kept.first().map_or(0, |newest| newest.size_bytes))
            }
            Err(error) => Err(Failed::effect(error)),
        }
    }

    fn content(&self, source: &Source, release: &ReleaseId) -> String {
        match source {
            Source::Directory { hash, .. }
            | Source::File { hash, .. }
            | Source::Archive { hash, .. }
            | Source::Upload { hash, .. } => hash.clone(),
            Source::Kept => {
                self.state.releases.get(release).map(|r| r.content.clone()).unwrap_or_default()
            }
        }
    }

    fn inherited(&self) -> BTreeMap<String, String> {
        let process = self.state.active_binding().and_then(|b| b.processes.first());
        let names = ["PATH", "HOME", "LANG", "USER", "TZ"];
        let of = |p: &alcedo_core::binding::Process| {
            p.env
                .iter()
                .filter(|(name, _)| names.contains(&name.as_str()))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect()
        };
        process.map(of).unwrap_or_default()
    }

    fn way_back(&self, release: Option<&str>, root: &Path) -> Result<WayBack, Failed> {
        let Some(name) = release else {
            if self.state.just_went_back() {
                return Err(Failed::usage("the last thing that happened was a rollback already; name the release to go to")
                    .hint("alcedo releases"));
            }
            return self.way_back_now().ok_or_else(|| {
                Failed::usage("there is no older good release to go back to")
                    .hint("alcedo releases")
            });
        };
        let release = self.kept(name, root)?;
        if self.state.active_binding().is_some_and(|b| b.release == release) {
            return Err(Failed::usage(format!("{release} is live already")));
        }
        match self.way_back_now() {
            Some(WayBack::Flip(binding)) if binding.release == release => {
                Ok(WayBack::Flip(binding))
            }
            _ => Ok(WayBack::Return(release)),
        }
    }

    /// The way back as it is at this moment: a warm slot that is down, or does not answer, is started anew.
    fn way_back_now(&self) -> Option<WayBack> {
        match self.state.way_back()? {
            WayBack::Flip(binding) if !self.is_warm(&binding) => {
                Some(WayBack::Return(binding.release))
            }
            way @ (WayBack::Flip(_) | WayBack::Return(_)) => Some(way),
        }
    }

    fn is_warm(&self, binding: &Binding) -> bool {
        let slot = self.world.runner.observe(&self.app, binding.slot).unwrap_or_default();
        slot.is_up() && self.probe_once(binding).is_ok()
    }

    /// A kept release by id, unique part, or role.
    pub(crate) fn kept(&self, name: &str, root: &Path) -> Result<ReleaseId, Failed> {
        let role = match name {
            "active" => Some(self.state.active_binding().map(|b| b.release.clone())),
            "stable" => Some(self.state.stable()),
            "previous" => Some(self.state.way_back().map(|way| match way {
                WayBack::Flip(binding) => binding.release,
                WayBack::Return(release) => release,
            })),
            _ => None,
        };
        if let Some(found) = role {
            return found.ok_or_else(|| Failed::usage(format!("there is no {name} release")));
        }
        let stored = self.world.releases.list(root).map_err(Failed::effect)?;
        let fits: Vec<_> = stored
            .into_iter()
            .map(|s| s.release)
            .filter(|r| r.as_str() == name || r.as_str().contains(name))
            .collect();
        match fits.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                Err(Failed::usage(format!("no kept release is called {name}"))
                    .hint("alcedo releases"))
            }
            many if many.iter().any(|r| r.as_str() == name) => {
                ReleaseId::new(name).map_err(|e| Failed::usage(format!("failed to {e}")))
            }
            many => {
                let names: Vec<_> = many.iter().map(ReleaseId::as_str).collect();
                Err(Failed::usage(format!(
                    "{name} fits {} releases: {}",
                    names.len(),
                    names.join(", ")
                )))
            }
        }
    }

    fn bind(
        &mut self,
        config: &Config,
        release: &ReleaseId,
        slot: Slot,
        instance: PathBuf,
        places: &Places,
        inherited: &BTreeMap<String, String>,
    ) -> Result<Binding, Failed> {
        let addresses = self.addresses(config, slot, places)?;
        let facts = BindFacts {
            id: BindingId::new(DeployId(self.state.last_deploy + 1), slot),
            slot,
            release: release.clone(),
            instance,
            addresses,
            socket_dir: places.sockets(&self.app, slot),
            inherited: inherited.clone(),
            active_file: places.active_file(&self.app, slot),
            php_fpm: self.pools(config)?,
        };
        let mut binding = config::bind(config, facts)
            .map_err(|e| Failed::usage(format!("failed to {}", chain(&e))))?;
        binding.app = self.app.clone();
        Ok(binding)
    }

    /// The php-fpm of each service that is a pool.
    fn pools(&self, config: &Config) -> Result<BTreeMap<ServiceName, PathBuf>, Failed> {
        let mut found = BTreeMap::new();
        for (name, service) in &config.services {
            let Some(pool) = &service.php_fpm else { continue };
            let version = pool.version.as_deref();
            let program = self.world.machine.php_fpm(version).ok_or_else(|| {
                let what = version.map_or("php-fpm".to_owned(), |v| format!("php-fpm {v}"));
                Failed::usage(format!("{name} wants {what}, and this host has none"))
                    .hint(format!("sudo apt-get install php{}-fpm", version.unwrap_or_default()))
            })?;
            found.insert(name.clone(), program);
        }
        Ok(found)
    }

    /// Loopback addresses of the slot's services; ports are picked once and kept.
    fn addresses(
        &mut self,
        config: &Config,
        slot: Slot,
        places: &Places,
    ) -> Result<BTreeMap<ServiceName, SocketAddr>, Failed> {
        let mut picked = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (name, service) in &config.services {
            if service.listens_on_socket(config.runner) {
                continue;
            }
            let ports = match service.ports.or_else(|| self.state.ports.get(name).copied()) {
                Some(ports) => ports,
                None => {
                    let ports = self.pick(name, places)?;
                    picked.insert(name.clone(), ports);
                    ports
                }
            };
            let port = if slot == Slot::Blue { ports.blue } else { ports.green };
            addresses.insert(name.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        if !picked.is_empty() {
            self.append(None, Event::PortsPicked { ports: picked }).map_err(Failed::engine)?;
        }
        Ok(addresses)
    }

    /// Where the processes of `config` are reached in either slot, for a router whose structure is written before the
    /// first deploy. What is live stays where it is.
    pub(crate) fn entries(
        &mut self,
        call: &ConfigText,
        places: &Places,
    ) -> Result<Vec<Upstream>, Failed> {
        let config = self.config_of(Some(call))?;
        let mut by_slot = BTreeMap::new();
        for slot in Slot::BOTH {
            by_slot.insert(slot, self.addresses(&config, slot, places)?);
        }
        let live = self.state.active_binding();
        let at = |slot: Slot, name: &ServiceName| {
            let live = live.filter(|binding| binding.slot == slot);
            let live = live.and_then(|b| b.processes.iter().find(|p| p.name == *name));
            live.map(|process| process.address.clone()).unwrap_or_else(|| {
                match by_slot[&slot].get(name) {
                    Some(address) => Address::Tcp(*address),
                    None => Address::Unix(config::socket(&places.sockets(&self.app, slot), name)),
                }
            })
        };
        let one = |(name, service): (&ServiceName, &config::Service)| Upstream {
            service: name.clone(),
            routes: service.routes.clone(),
            blue: at(Slot::Blue, name),
            green: at(Slot::Green, name),
            is_fastcgi: service.php_fpm.is_some(),
        };
        Ok(config.services.iter().map(one).collect())
    }

    /// Two ports that are nobody's: no other app's by the journal, and nobody listens there now.
    fn pick(&self, service: &ServiceName, places: &Places) -> Result<Ports, Failed> {
        let mut book = places.ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mine: BTreeSet<u16> =
            self.state.ports.values().flat_map(|p| [p.blue, p.green]).collect();
        let all = candidates(&self.app, service);
        let is_free = |port: &u16| {
            let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
            !mine.contains(port) && self.world.probe.listeners(&address).is_ok_and(|l| l.is_empty())
        };
        let mut free = all.filter(|port| !book.contains_key(port)).filter(is_free);
        let (Some(blue), Some(green)) = (free.next(), free.next()) else {
            return Err(Failed::usage("no free port between 20000 and 29999").hint("set web.ports"));
        };
        drop(free);
        book.insert(blue, self.app.clone());
        book.insert(green, self.app.clone());
        Ok(Ports { blue, green, debug: None })
    }

    pub(crate) fn refused(&self, refusal: &Refusal) -> Failed {
        let message = format!("failed to {refusal}");
        match refusal {
            Refusal::RouterUnknown { detail } => {
                Failed::new("router-unknown", format!("{message}: {detail}"), 1)
                    .hint("alcedo check")
            }
            Refusal::Drift { .. } => Failed::new("drift", message, 1)
                .hint("alcedo resolve blue, or alcedo resolve green"),
            Refusal::Stuck { what, .. } => {
                Failed::new("stuck", format!("{message}: {what}"), 5).hint("alcedo status")
            }
            Refusal::Bad { .. } => {
                Failed::new("bad-release", message, 2).hint("alcedo deploy --retry")
            }
            Refusal::PortTaken(_) => Failed::new("port-taken", message, 1)
                .hint("free it, or set web.ports, router.listen or router.domains"),
            Refusal::DiskFull(_) => {
                Failed::new("disk-full", message, 1).hint("alcedo prune --dry-run")
            }
            Refusal::NotWarm(_) => Failed::new("not-warm", message, 1).hint("alcedo releases"),
            Refusal::NotKept(_) => Failed::new("not-kept", message, 1).hint("alcedo releases"),
            Refusal::NotAccepted(caveats) => {
                let open: Vec<_> = caveats
                    .iter()
                    .filter(|c| !c.accepted)
                    .map(|c| format!("NOT zero-downtime because {} ({})", c.reason, c.id))
                    .collect();
                let first =
                    caveats.iter().find(|c| !c.accepted).map(|c| c.id.clone()).unwrap_or_default();
                Failed::new("not-accepted", open.join("\n"), 2).hint(format!("--accept {first}"))
            }
        }
    }
}

/// Every port that may be picked, in the order in which they are tried.
fn candidates(app: &AppName, service: &ServiceName) -> impl Iterator<Item = u16> {
    let hash = blake3::hash(format!("{app}/{service}").as_bytes());
    let count = PORTS.end - PORTS.start;
    let start = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]) % count;
    (0..count).map(move |n| PORTS.start + (start + n) % count)
}

/// What a service gets on a host where nothing is taken.
pub(crate) fn likely_ports(app: &AppName, service: &ServiceName) -> Ports {
    let mut first = candidates(app, service);
    let mut next = || first.next().unwrap_or(PORTS.start);
    Ports { blue: next(), green: next(), debug: None }
}

/// What changes with `setup` is not mixed into a deploy, and never ignored. The way back does not ask.
fn refuse_waiting(waiting: Vec<String>) -> Result<(), Failed> {
    if waiting.is_empty() {
        return Ok(());
    }
    let message = format!(
        "this host is not prepared for what alcedo.toml says: {} waits for setup",
        waiting.join(", ")
    );
    Err(Failed::new("setup-pending", message, 2)
        .hint("sudo alcedo setup; what it would change: alcedo setup --dry-run"))
}

/// An error with its causes, for a message.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Failed {
    /// A failure with its code and exit code.
    pub(crate) fn new(code: &str, message: impl Into<String>, exit: u8) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            file: None,
            line: None,
            hint: None,
            exit,
        }
    }

    /// A call that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message, 2)
    }

    /// What to type.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A port's failure.
    pub(crate) fn effect(error: super::ports::EffectError) -> Self {
        let failure = alcedo_core::event::Failure::from(error);
        let message = if failure.detail.is_empty() {
            failure.what
        } else {
            format!("{}: {}", failure.what, failure.detail)
        };
        Self { hint: failure.hint, ..Self::new("failed", message, 1) }
    }

    /// The engine cannot go on.
    pub(crate) fn engine(error: EngineError) -> Self {
        let hint = match &error {
            EngineError::Journal(_) => "free disk space, then try again",
            EngineError::State(_) => "alcedo status",
        };
        Self::new("journal", format!("failed to {}", chain(&error)), 1).hint(hint)
    }

    /// Errors of a configuration.
    pub(crate) fn config(errors: &config::ConfigErrors) -> Self {
        Self::new("config", errors.to_string(), 2)
    }
}
