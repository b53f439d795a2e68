//! The only place where steps become effects. No decision is made here that a plan could have made.

use super::drive::Engine;
use super::ports::{
    Call, EffectError, FetchOrder, Instance, PrepareOrder, Source, SwitchError, Traffic,
};
use super::words;
use alcedo_core::Slot;
use alcedo_core::binding::{Address, Binding, Process};
use alcedo_core::config::{Config, Ports, Smoke};
use alcedo_core::event::Failure;
use alcedo_core::judge::Counts;
use alcedo_core::nginx::Upstream;
use alcedo_core::plan::Plan;
use alcedo_core::step::Step;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A judged deploy waits so long for the end of its drain: what lasts longer goes on beside the bake, since a new
/// release must be watched from its first second, and the old slot is stopped long after.
const DRAIN_BEFORE_BAKE: Duration = Duration::from_secs(1);

/// What a step saw.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) text: String,
    /// Measured by the adapter where that says more than the clock around it, in microseconds.
    pub(crate) took_us: Option<u64>,
    pub(crate) skipped: bool,
    pub(crate) generation: Option<u64>,
    /// At a switch: how often the new slot's processes had been started again by then.
    pub(crate) restarts: u32,
    /// At a verification: what it asked, as the router counts it.
    pub(crate) own: Counts,
    pub(crate) notices: Vec<String>,
}

impl Done {
    pub(crate) fn saw(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// The longest a step may take.
pub(crate) fn limit(step: Step, plan: &Plan) -> Duration {
    let longest = |of: fn(&alcedo_core::binding::Process) -> Duration| {
        plan.binding.processes.iter().map(of).max().unwrap_or_default()
    };
    match step {
        Step::Fetch => Duration::from_secs(30 * 60),
        Step::Prepare => plan.config.release.prepare_timeout + Duration::from_secs(120),
        Step::Clear | Step::Retire => longest(|p| p.stop.timeout) + Duration::from_secs(30),
        Step::Start => Duration::from_secs(30),
        Step::Probe => longest(|p| p.health.deadline) + Duration::from_secs(10),
        Step::Smoke | Step::Warm => Duration::from_secs(300),
        Step::Gate | Step::Bake => Duration::from_secs(0),
        Step::Switch => Duration::from_secs(20),
        Step::Verify => Duration::from_secs(10),
        Step::Drain => plan.config.drain.requests + Duration::from_secs(5),
    }
}

impl Engine {
    /// Does a step whose intent is durable.
    pub(crate) fn perform(&mut self, step: Step, plan: &Plan) -> Result<Done, Failure> {
        let limit = limit(step, plan);
        match step {
            Step::Fetch => self.fetch(limit),
            Step::Prepare => self.prepare(plan, limit),
            Step::Clear => self.clear(plan),
            Step::Start => self.start(plan, limit),
            Step::Probe => self.wait_ready(&plan.binding, limit),
            Step::Smoke => self.smoke(plan, limit),
            Step::Warm => self.warm(plan, limit),
            Step::Gate => Ok(Done::saw(format!("{} is ready and has no traffic", plan.to()))),
            Step::Switch => self.switch(plan).inspect_err(|_| self.configure_as_before(plan)),
            Step::Verify => {
                let done = self.verify(&plan.binding, &plan.config, limit)?;
                self.smoke_in_public(plan, done)
            }
            Step::Drain => self.drain_left(plan),
            Step::Bake => Ok(Done::default()),
            Step::Retire => self.retire_left(plan),
        }
    }

    /// Finds out about a step whose intent is durable and whose end is not known. Everything but the switch can simply
    /// be done again; of the switch only the router knows, and before the switch nothing new is begun.
    pub(crate) fn inspect(&mut self, step: Step, plan: &Plan) -> Result<Done, Failure> {
        if step != Step::Switch {
            return self.perform(step, plan);
        }
        let asked = self.ask_router_patiently()?;
        let is_ours = |operation: Option<&str>| operation == Some(&plan.switch_operation());
        let pointed = match asked.filter(|e| is_ours(e.operation.as_deref())) {
            Some(effective) => Ok((effective.generation, 0)),
            None => self.fence(
                plan,
                Failure::new("the daemon was stopped during the switch, which did not take effect"),
            ),
        };
        let (generation, took_us) = pointed.inspect_err(|_| self.configure_as_before(plan))?;
        let mut done = self.switched(plan, generation, took_us);
        done.notices.push(
            "the daemon was stopped during the switch; the router says that it took effect"
                .to_owned(),
        );
        Ok(done)
    }

    fn fetch(&self, limit: Duration) -> Result<Done, Failure> {
        let order = self.order()?;
        let fetched = self.call(limit, |call| self.world.releases.fetch(order, call))?;
        let text = words::fetched(&order.release, &fetched);
        Ok(Done { text, skipped: fetched.already, notices: fetched.notices, ..Done::default() })
    }

    /// The user's command, then the seal: from there on the release survives a power cut whole.
    fn prepare(&self, plan: &Plan, limit: Duration) -> Result<Done, Failure> {
        let order = self.order()?;
        let command = plan.config.release.prepare.clone().filter(|_| !self.is_sealed(order));
        if let Some(command) = &command {
            let mut env = plan.binding.processes.first().map(|p| p.env.clone()).unwrap_or_default();
            for of_a_slot in ["PORT", "ALCEDO_SLOT", "ALCEDO_ACTIVE_FILE"] {
                env.remove(of_a_slot);
            }
            // A unit's user has a home of its own, which is not that of whoever prepares.
            let cache = order.root.join("cache");
            env.entry("HOME".to_owned()).or_insert_with(|| cache.display().to_string());
            let log = order.root.join("logs").join(plan.deploy.to_string()).join("prepare.log");
            let instance = plan.binding.instance.clone();
            let prepare = PrepareOrder {
                instance,
                command: command.clone(),
                env,
                timeout: plan.config.release.prepare_timeout,
                log,
            };
            self.call(limit, |call| self.world.releases.prepare(&prepare, call))?;
        }
        let sealed = self.world.releases.seal(order)?;
        let text = match command {
            Some(command) => format!("{command}; sealed, {}", words::mib(sealed.size_bytes)),
            None => format!("sealed, {}", words::mib(sealed.size_bytes)),
        };
        Ok(Done::saw(text))
    }

    /// A sealed instance was prepared, and nothing runs in it that could change it.
    fn is_sealed(&self, order: &FetchOrder) -> bool {
        let releases = &self.world.releases;
        match order.source {
            Source::Kept => {
                releases.locate(order).is_ok_and(|(_, instance)| instance == Instance::Sealed)
            }
            Source::Directory { .. }
            | Source::File { .. }
            | Source::Archive { .. }
            | Source::Upload { .. } => {
                releases.is_sealed(&order.root, &order.release).unwrap_or(false)
            }
        }
    }

    fn order(&self) -> Result<&FetchOrder, Failure> {
        self.order
            .as_ref()
            .ok_or_else(|| Failure::new("the files of this deploy are no longer known"))
    }

    /// Lets what the target slot still serves come to its end, then stops it.
    fn clear(&self, plan: &Plan) -> Result<Done, Failure> {
        let slot = plan.to();
        if let Some(occupant) = &plan.occupant {
            let id = occupant.as_str();
            self.await_quiet(id, plan.config.drain.requests, |t| t.in_flight);
        }
        let was = self.stop_slot(slot)?;
        match (&plan.occupant, was.binding) {
            (Some(occupant), _) => Ok(Done::saw(format!(
                "{slot} stopped, it ran {}",
                words::binding(&self.state, occupant)
            ))),
            (None, Some(binding)) => {
                Ok(Done::saw(format!("{slot} stopped, it still ran {binding}")))
            }
            (None, None) => Ok(Done { skipped: true, ..Done::saw(format!("{slot} was empty")) }),
        }
    }

    fn start(&self, plan: &Plan, limit: Duration) -> Result<Done, Failure> {
        let state = self.call(limit, |call| self.world.runner.start(&plan.binding, call))?;
        Ok(Done::saw(words::started(&plan.binding, &state)))
    }

    /// Compare-and-set, after one fresh probe of the target. Nothing of the router is touched before that probe.
    fn switch(&self, plan: &Plan) -> Result<Done, Failure> {
        self.probe_once(&plan.binding).map_err(|seen| {
            Failure::new(format!("{} stopped answering just before the switch: {seen}", plan.to()))
        })?;
        self.configure(&plan.config, &plan.binding)?;
        let operation = plan.switch_operation();
        let pointed = self.point(plan.generation, &plan.binding, &operation);
        let (generation, took_us) = pointed.or_else(|failure| self.fence(plan, failure))?;
        Ok(self.switched(plan, generation, took_us))
    }

    /// A switch that did not take effect may still lie before a router that was held up. A switch to where it points
    /// anyway raises the generation, so that the abandoned one is refused; when that one came first, it took effect.
    fn fence(&self, plan: &Plan, failure: Failure) -> Result<(u64, u64), Failure> {
        let Some(from) = &plan.from else { return Err(failure) };
        let fenced =
            self.world.router.switch(&self.app, plan.generation, from, &plan.fence_operation());
        match fenced {
            Err(SwitchError::Conflict(now))
                if now.operation.as_deref() == Some(plan.switch_operation().as_str()) =>
            {
                Ok((now.generation, 0))
            }
            Ok(_) | Err(SwitchError::Conflict(_) | SwitchError::Effect(_)) => Err(failure),
        }
    }

    fn switched(&self, plan: &Plan, generation: u64, took_us: u64) -> Done {
        let slot = self.world.runner.observe(&self.app, plan.to()).unwrap_or_default();
        Done {
            took_us: Some(took_us),
            generation: Some(generation),
            restarts: slot.restarts(),
            ..Done::saw(format!("{} is live", plan.to()))
        }
    }

    /// After a switch that did not take effect: the router's structure as the live slot has it. A failure is only
    /// reported, since the deploy has failed already; the next switch configures again.
    fn configure_as_before(&self, plan: &Plan) {
        let Some((config, binding)) = self.before(plan) else { return };
        if let Err(error) = self.configure(&config, &binding) {
            tracing::error!(app = %self.app, "failed to give the router its former settings: {error}");
        }
    }

    /// What the router is configured with while the slot that the plan starts from is live.
    pub(crate) fn before(&self, plan: &Plan) -> Option<(Arc<Config>, Binding)> {
        let slot = self.state.slots.get(&plan.from_slot()?)?;
        Some((slot.config.clone(), slot.binding.clone()))
    }

    /// Gives the router what does not change with a switch, as `binding` is to be reached by `config`.
    pub(crate) fn configure(&self, config: &Config, binding: &Binding) -> Result<(), EffectError> {
        let upstreams = self.upstreams(config, binding);
        self.world.router.configure(&self.app, config, &upstreams)
    }

    /// Where every process of the binding listens, in either slot: the other slot keeps the address that it runs on
    /// now, and what has never run gets the one that it will have.
    pub(crate) fn upstreams(&self, config: &Config, binding: &Binding) -> Vec<Upstream> {
        let to = binding.slot;
        let other = self.state.slots.get(&to.other()).map(|record| &record.binding);
        let one = |process: &Process| {
            let there = other.and_then(|b| b.processes.iter().find(|p| p.name == process.name));
            let ports = config.services.get(&process.name).and_then(|s| s.ports);
            let ports = ports.or_else(|| self.state.ports.get(&process.name).copied());
            let there = there.map_or_else(
                || in_other_slot(&process.address, to, ports),
                |process| process.address.clone(),
            );
            let (blue, green) = match to {
                Slot::Blue => (process.address.clone(), there),
                Slot::Green => (there, process.address.clone()),
            };
            let is_fastcgi = process.pool.is_some();
            let (service, routes) = (process.name.clone(), process.routes.clone());
            Upstream { service, routes, blue, green, is_fastcgi }
        };
        binding.processes.iter().map(one).collect()
    }

    /// Points the router; `(generation, µs)`. When it is not known whether that took effect, the router is asked.
    pub(crate) fn point(
        &self,
        expected: u64,
        to: &alcedo_core::Binding,
        operation: &str,
    ) -> Result<(u64, u64), Failure> {
        match self.world.router.switch(&self.app, expected, to, operation) {
            Ok(switched) => Ok((switched.generation, switched.took_us)),
            Err(SwitchError::Conflict(now)) => Err(Failure {
                what: format!(
                    "somebody else switched the router: it is at generation {} and points at {}; expected generation {expected}",
                    now.generation,
                    now.target.as_deref().unwrap_or("nothing")
                ),
                detail: String::new(),
                hint: Some("alcedo status".to_owned()),
            }),
            Err(SwitchError::Effect(error)) => match self.ask_router_patiently()? {
                Some(e) if e.operation.as_deref() == Some(operation) => Ok((e.generation, 0)),
                _ => Err(error.into()),
            },
        }
    }

    /// The router boots again by itself when it died, so a missing answer is waited for, within limits.
    pub(crate) fn ask_router_patiently(&self) -> Result<Option<super::ports::Effective>, Failure> {
        const TRIES: u32 = 40;
        let mut tries = 0;
        loop {
            match self.world.router.observe(&self.app) {
                Ok(effective) => return Ok(effective),
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => {
                    tries += 1;
                    let pause = self.now().after(Duration::from_millis(250));
                    self.world.clock.sleep_until(pause, &super::ports::Cancel::default());
                }
            }
        }
    }

    /// Requests of the slot that lost traffic; its upgraded connections end by themselves within their own, longer limit.
    fn drain_left(&self, plan: &Plan) -> Result<Done, Failure> {
        let Some(from) = &plan.from else { return Ok(Done { skipped: true, ..Done::default() }) };
        if !plan.is_judged() {
            return self.drain(from.slot, &from.id, plan);
        }
        self.world.router.drain(&self.app, &from.id, &plan.config)?;
        let limit = plan.config.drain.requests;
        let rest =
            self.await_quiet(from.id.as_str(), limit.min(DRAIN_BEFORE_BAKE), |t| t.in_flight);
        let left = rest.as_ref().map_or(0, |traffic| traffic.in_flight);
        if left > 0 && limit > DRAIN_BEFORE_BAKE {
            return Ok(Done::saw(format!(
                "{} still in flight at {}; {} may take up to {} more",
                words::count(left, "request"),
                from.slot,
                if left == 1 { "it" } else { "they" },
                words::span(limit.saturating_sub(DRAIN_BEFORE_BAKE))
            )));
        }
        drained(rest, from.slot, plan)
    }

    /// Starts the drain at the router and waits until no request is in flight.
    pub(crate) fn drain(
        &self,
        slot: Slot,
        id: &alcedo_core::BindingId,
        plan: &Plan,
    ) -> Result<Done, Failure> {
        self.world.router.drain(&self.app, id, &plan.config)?;
        let rest = self.await_quiet(id.as_str(), plan.config.drain.requests, |t| t.in_flight);
        drained(rest, slot, plan)
    }

    /// Waits until `of` is zero for the target; the last counters, if the router still knows it.
    pub(crate) fn await_quiet(
        &self,
        target: &str,
        limit: Duration,
        of: fn(&Traffic) -> u64,
    ) -> Option<Traffic> {
        let deadline = self.now().after(limit);
        loop {
            let seen = self
                .world
                .router
                .traffic(&self.app)
                .ok()?
                .into_iter()
                .find(|t| t.target == target)?;
            let left = of(&seen);
            if left == 0 || self.now() >= deadline || self.cancel.is_cancelled() {
                return Some(seen);
            }
            self.feed.progress(&format!("{} in flight", words::count(left, "request")), self.now());
            let next = self.now().after(Duration::from_millis(20)).min(deadline);
            self.world.clock.sleep_until(next, &self.cancel);
        }
    }

    fn retire_left(&self, plan: &Plan) -> Result<Done, Failure> {
        let Some(from) = &plan.from else { return Ok(Done { skipped: true, ..Done::default() }) };
        self.stop_slot(from.slot)?;
        Ok(Done::saw(format!("{} stopped; its files and logs are kept", from.slot)))
    }

    fn smoke(&self, plan: &Plan, limit: Duration) -> Result<Done, Failure> {
        let total = plan.binding.smoke.len();
        for smoke in &plan.binding.smoke {
            self.call(limit, |call| self.smoke_one(smoke, &plan.binding, call))
                .map_err(|seen| Failure { what: seen.0, detail: seen.1, hint: None })?;
        }
        Ok(Done::saw(format!("{total} of {total} passed against {}", plan.to())))
    }

    /// The smoke requests once more, as users' come. Commands are not run again: a name that they would look up need not
    /// lead here yet.
    fn smoke_in_public(&self, plan: &Plan, mut done: Done) -> Result<Done, Failure> {
        let limit = limit(Step::Smoke, plan);
        let entrance = self.world.router.entrance(&self.app, &plan.config)?;
        let mut passed = 0_u64;
        for smoke in &plan.binding.smoke {
            let Smoke::Request { path, expect } = smoke else { continue };
            self.call(limit, |call| self.ask_in_public(&entrance, path, expect, call)).map_err(
                |seen| Failure::new(format!("GET {}{path} answered {seen}", entrance.url)),
            )?;
            passed += 1;
        }
        if passed > 0 {
            done.own.requests += passed;
            done.text =
                format!("{}; {} passed there", done.text, words::count(passed, "smoke check"));
        }
        Ok(done)
    }

    fn warm(&self, plan: &Plan, limit: Duration) -> Result<Done, Failure> {
        let Some(warmup) = &plan.binding.warmup else {
            return Ok(Done { skipped: true, ..Done::default() });
        };
        let (good, last) =
            self.call(limit, |call: &Call<'_>| self.warm_up(warmup, &plan.binding, call));
        // A page that cannot be warmed is not a reason to give up a release that passed its checks; it is said.
        let notices = last.map(|seen| format!("warm-up: {seen}")).into_iter().collect();
        let text = format!("{good} of {} requests answered", warmup.requests);
        Ok(Done { text, notices, ..Done::default() })
    }
}

/// How a drain that was waited for ended.
fn drained(rest: Option<Traffic>, slot: Slot, plan: &Plan) -> Result<Done, Failure> {
    match rest {
        Some(t) if t.in_flight > 0 => Err(Failure::new(format!(
            "{} still in flight at {slot} after {} s",
            words::count(t.in_flight, "request"),
            plan.config.drain.requests.as_secs()
        ))),
        Some(t) if t.tunnels > 0 => Ok(Done::saw(format!(
            "{slot} has no request left; {} may stay up to {} more",
            words::count(t.tunnels, "WebSocket"),
            words::span(plan.config.drain.websockets)
        ))),
        Some(_) | None => Ok(Done::saw(format!("{slot} has no request left"))),
    }
}

/// The address that a process of `slot` would have in the other one.
fn in_other_slot(address: &Address, slot: Slot, ports: Option<Ports>) -> Address {
    match address {
        Address::Tcp(address) => {
            let port = ports.map_or(address.port(), |ports| match slot {
                Slot::Blue => ports.green,
                Slot::Green => ports.blue,
            });
            Address::Tcp(SocketAddr::new(address.ip(), port))
        }
        // `…/sockets/shop-blue/web.sock`
        Address::Unix(path) => {
            let dir = path.parent().and_then(|dir| dir.to_str()).unwrap_or_default();
            let dir = dir.strip_suffix(slot.as_str()).unwrap_or(dir);
            let name = path.file_name().unwrap_or_default();
            Address::Unix(PathBuf::from(format!("{dir}{}", slot.other())).join(name))
        }
    }
}

impl From<SwitchError> for EffectError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Conflict(now) => {
                Self::failed("switch", format!("the router is at generation {}", now.generation))
            }
            SwitchError::Effect(error) => error,
        }
    }
}
