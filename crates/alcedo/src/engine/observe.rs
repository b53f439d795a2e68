//! Asking: readiness, smoke checks, warm-up, the public answer, and the bake's stretches.

use super::drive::{Engine, EngineError};
use super::perform::Done;
use super::ports::{Answer, Call, Entrance, Get, Listener, Millis, Phase, ProcessState};
use super::words;
use alcedo_core::binding::{Address, Binding, Process};
use alcedo_core::config::{Config, Expect, Health, HealthCheck, Smoke, Warmup};
use alcedo_core::deploy::Stage;
use alcedo_core::event::{Event, Failure};
use alcedo_core::judge::{Counts, Finding, Observation, Verdict};
use alcedo_core::names::DeployId;
use alcedo_core::probe::{self, ProbePolicy, Readiness, Seen};
use std::collections::BTreeMap;
use std::time::Duration;

/// A stretch of the bake is recorded at least this often, and at once when it decides something.
const STRETCH: Duration = Duration::from_secs(5);
/// Counters are looked at this often during the bake.
const LOOK: Duration = Duration::from_millis(200);
/// The live slot is probed this often during the bake.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Time that one look may count for: a daemon that was held up did not observe.
const LOOK_COUNTS_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// Polls every process of the binding until all are ready, as the expected release.
    pub(crate) fn wait_ready(&self, binding: &Binding, limit: Duration) -> Result<Done, Failure> {
        self.call(limit, |call| {
            let ready: Result<Vec<String>, Failure> = binding
                .processes
                .iter()
                .map(|process| self.wait_process(binding, process, call))
                .collect();
            let notices =
                binding.processes.iter().filter_map(|p| self.open_to_the_world(p)).collect();
            Ok(Done { notices, ..Done::saw(ready?.join("; ")) })
        })
    }

    fn wait_process(
        &self,
        binding: &Binding,
        process: &Process,
        call: &Call<'_>,
    ) -> Result<String, Failure> {
        let mut policy = ProbePolicy::new(&process.health, self.now().0);
        loop {
            if call.cancel.is_cancelled() {
                return Err(Failure::new("given up on request"));
            }
            let seen = self.try_process(binding, process, call);
            if seen.is_err() {
                self.refuse_dead(binding, process)?;
            }
            let proof = seen.clone().unwrap_or_default();
            match policy.record(self.now().0, seen.map(|_| ())) {
                Readiness::Ready { .. } => return Ok(ready_text(binding, process, proof)),
                Readiness::TooLate { tries, last } => {
                    return Err(self.never_ready(binding, process, tries, &last));
                }
                Readiness::TryAt(at) => {
                    let left = policy.deadline_ms().saturating_sub(self.now().0) / 1000;
                    let (what, tries) = (words::check(&process.health.check), policy.tries());
                    (call.progress)(&format!(
                        "{what}: {} ({tries} tries); {left} s left",
                        policy.last_seen()
                    ));
                    self.world.clock.sleep_until(Millis(at), call.cancel);
                }
            }
        }
    }

    /// One try; `Ok` says by what the release was proved.
    fn try_process(
        &self,
        binding: &Binding,
        process: &Process,
        call: &Call<'_>,
    ) -> Result<&'static str, String> {
        let by_app = self.ask_health(binding, process, call)?;
        if by_app {
            return Ok("the app");
        }
        self.owner_runs_release(binding, process)
    }

    /// Asks as `[health]` says; `true` when the answer itself proved its release.
    fn ask_health(
        &self,
        binding: &Binding,
        process: &Process,
        call: &Call<'_>,
    ) -> Result<bool, String> {
        let health = &process.health;
        match &health.check {
            HealthCheck::Http(path) => {
                let answer = self.world.probe.get(&health_request(process, path), call)?;
                let seen = seen(&answer);
                probe::matches(&health.expect, &seen)?;
                let Some(field) = &health.release else { return Ok(false) };
                probe::names_release(field, &binding.release, &seen).map(|()| true)
            }
            HealthCheck::Tcp | HealthCheck::None => {
                self.world.probe.connect(&process.address, call).map(|()| false)
            }
            HealthCheck::Command(command) => {
                self.world.probe.command(command, binding, call).map(|()| false)
            }
        }
    }

    /// The proof by the process: who listens runs from the release's directory; or by the unit, where its user is the
    /// app's alone and what it runs cannot be looked into: the port was nobody's before the unit started.
    fn owner_runs_release(
        &self,
        binding: &Binding,
        process: &Process,
    ) -> Result<&'static str, String> {
        let listeners =
            self.world.probe.listeners(&process.address).map_err(|e| format!("failed to {e}"))?;
        if listeners.is_empty() {
            return Err(format!("nobody seen listening on {}", process.address));
        }
        let is_hidden = |l: &Listener| l.exe.is_none() && l.cwd.is_none();
        let hidden = listeners.iter().any(is_hidden);
        let user = if hidden { self.unit_user(binding, process) } else { None };
        let is_unit = |l: &Listener| is_hidden(l) && user.is_some() && l.user == user;
        match listeners.iter().find(|l| !l.runs_from(&binding.instance) && !is_unit(l)) {
            None if hidden => Ok("the unit"),
            None => Ok("the process"),
            Some(other) => {
                let pid = other.pid.map_or_else(
                    || "another user's process".to_owned(),
                    |pid| format!("pid {pid}"),
                );
                Err(format!(
                    "{} is answered by {pid} ({}), which does not run from {}",
                    process.address,
                    other.command,
                    binding.instance.display()
                ))
            }
        }
    }

    /// The user of its own that a running process has.
    fn unit_user(&self, binding: &Binding, process: &Process) -> Option<u32> {
        self.runs(binding, process).filter(|seen| seen.phase == Phase::Running)?.user
    }

    /// S3-D5: what listens on every address answers from outside, past the router.
    fn open_to_the_world(&self, process: &Process) -> Option<String> {
        let port = process.address.port()?;
        let listeners = self.world.probe.listeners(&process.address).ok()?;
        let open = listeners.iter().any(|l| l.public);
        open.then(|| {
            format!(
                "port {port} answers on every address, past the router: bind {} to 127.0.0.1",
                process.name
            )
        })
    }

    /// A process that will not be started again cannot become ready: no need to wait for the deadline.
    fn refuse_dead(&self, binding: &Binding, process: &Process) -> Result<(), Failure> {
        match self.runs(binding, process) {
            Some(seen) if matches!(seen.phase, Phase::GaveUp | Phase::Stopped) => {
                Err(self.ended_early(binding, process, &seen))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn runs(&self, binding: &Binding, process: &Process) -> Option<ProcessState> {
        let state = self.world.runner.observe(&self.app, binding.slot).ok()?;
        state.processes.into_iter().find(|seen| seen.name == process.name)
    }

    fn never_ready(&self, binding: &Binding, process: &Process, tries: u32, last: &str) -> Failure {
        let ended = |seen: &ProcessState| seen.phase != Phase::Running || seen.restarts > 0;
        if let Some(seen) = self.runs(binding, process).filter(ended) {
            return self.ended_early(binding, process, &seen);
        }
        let what = format!(
            "{}: {last}, for {}, {tries} tries",
            words::check(&process.health.check),
            words::span(process.health.deadline)
        );
        Failure { what, detail: String::new(), hint: self.wrong_port_hint(process) }
    }

    /// The program ended before it was ready: how, how often, and what it wrote.
    fn ended_early(&self, binding: &Binding, process: &Process, seen: &ProcessState) -> Failure {
        let exit = seen.last_exit.as_deref().unwrap_or("no exit status known");
        // One that runs again at this moment has ended as often as it was restarted.
        let ends = seen.restarts + u32::from(seen.phase != Phase::Running);
        let program = process.argv.first().map_or("the process", String::as_str);
        Failure {
            what: format!("{program} ended {} before it was ready: {exit}", words::times(ends)),
            detail: self.world.runner.last_words(&self.app, binding.slot, seen),
            hint: Some(format!("alcedo logs --release {}", binding.release.tail())),
        }
    }

    /// The commonest mistake: the app listens on a port of its own choosing.
    fn wrong_port_hint(&self, process: &Process) -> Option<String> {
        let port = process.address.port()?;
        let nobody = self.world.probe.listeners(&process.address).ok()?.is_empty();
        nobody.then(|| {
            format!(
                "nothing listens on port {port}; does the app take its port from $PORT or {{port}}?"
            )
        })
    }

    /// One fresh probe of every process: precedes every switch, in either direction.
    pub(crate) fn probe_once(&self, binding: &Binding) -> Result<(), String> {
        for process in &binding.processes {
            let limit = process.health.timeout + Duration::from_secs(1);
            // One retry: a single lost probe on a busy machine must not decide where everybody's traffic goes.
            let once =
                || self.call(limit, |call| self.ask_health(binding, process, call).map(|_| ()));
            once().or_else(|_| once())?;
        }
        Ok(())
    }

    pub(crate) fn smoke_one(
        &self,
        smoke: &Smoke,
        binding: &Binding,
        call: &Call<'_>,
    ) -> Result<(), (String, String)> {
        match smoke {
            Smoke::Command(command) => {
                let failed = |output| (format!("the smoke check `{command}` failed"), output);
                let command = with_url(command, binding).map_err(failed)?;
                self.world.probe.command(&command, binding, call).map_err(failed)
            }
            Smoke::Request { path, expect } => {
                let Some(process) = process_for(binding, path) else { return Ok(()) };
                self.smoke_request(process, path, expect, call).map_err(|seen| {
                    (format!("the smoke check GET {path} answered {seen}"), String::new())
                })
            }
        }
    }

    fn smoke_request(
        &self,
        process: &Process,
        path: &str,
        expect: &Expect,
        call: &Call<'_>,
    ) -> Result<(), String> {
        let request = Get { timeout: Duration::from_secs(30), ..health_request(process, path) };
        let answer = self.world.probe.get(&request, call)?;
        probe::matches(expect, &seen(&answer))
    }

    /// One smoke request through the router's own listener.
    pub(crate) fn ask_in_public(
        &self,
        entrance: &Entrance,
        path: &str,
        expect: &Expect,
        call: &Call<'_>,
    ) -> Result<(), String> {
        let request = Get {
            address: entrance.address.clone(),
            path: path.to_owned(),
            host: entrance.host.clone(),
            headers: BTreeMap::new(),
            root: None,
            timeout: Duration::from_secs(30),
        };
        let answer = self.world.probe.get(&request, call)?;
        probe::matches(expect, &seen(&answer))
    }

    /// How many warm-up requests were answered, and what the last failed one saw.
    pub(crate) fn warm_up(
        &self,
        warmup: &Warmup,
        binding: &Binding,
        call: &Call<'_>,
    ) -> (u32, Option<String>) {
        let (mut good, mut last) = (0, None);
        for (n, path) in (0..warmup.requests).zip(warmup.paths.iter().cycle()) {
            let Some(process) = process_for(binding, path) else { continue };
            if call.cancel.is_cancelled() || self.now() >= call.deadline {
                break;
            }
            let request = Get { timeout: Duration::from_secs(30), ..health_request(process, path) };
            match self.world.probe.get(&request, call) {
                Ok(answer) if answer.status < 500 => good += 1,
                Ok(answer) => last = Some(format!("GET {path} answered {}", answer.status)),
                Err(seen) => last = Some(format!("GET {path}: {seen}")),
            }
            (call.progress)(&format!("{} of {} requests", n + 1, warmup.requests));
        }
        (good, last)
    }

    /// Who answers through the router's own listener.
    pub(crate) fn verify(
        &self,
        binding: &Binding,
        config: &Config,
        limit: Duration,
    ) -> Result<Done, Failure> {
        const TRIES: u32 = 5;
        let entrance = self.world.router.entrance(&self.app, config)?;
        let mut last = String::new();
        for attempt in 0..TRIES {
            match self.call(limit, |call| self.verify_once(binding, &entrance, call)) {
                Ok(status) => {
                    let text = format!("{} answers {}", entrance.url, binding.release);
                    let own = Counts { requests: 1, errors: u64::from(status >= 500) };
                    return Ok(Done { own, ..Done::saw(text) });
                }
                Err(seen) => last = seen,
            }
            let pause = Duration::from_millis(50 << attempt);
            self.world.clock.sleep_until(self.now().after(pause), &self.cancel);
        }
        Err(Failure::new(format!("{} answers {last}; expected {}", entrance.url, binding.release)))
    }

    /// The status of an answer that came from the binding.
    fn verify_once(
        &self,
        binding: &Binding,
        entrance: &Entrance,
        call: &Call<'_>,
    ) -> Result<u16, String> {
        let root =
            binding.processes.iter().find(|p| p.routes.is_empty()).or(binding.processes.first());
        let path = root.map_or("/", |p| match &p.health.check {
            HealthCheck::Http(path) => path.as_str(),
            HealthCheck::Tcp | HealthCheck::Command(_) | HealthCheck::None => "/",
        });
        let timeout =
            root.map_or(Duration::from_secs(5), |p| p.health.timeout.max(Duration::from_secs(2)));
        let request = Get {
            address: entrance.address.clone(),
            path: path.to_owned(),
            host: entrance.host.clone(),
            headers: BTreeMap::new(),
            timeout,
            root: None,
        };
        let answer = self.world.probe.get(&request, call)?;
        // A pool's files are nginx's to read: where it cannot, it answers by itself, in the name of the slot.
        if let Some(process) = root.filter(|process| process.pool.is_some())
            && matches!(process.health.check, HealthCheck::Http(_))
        {
            probe::matches(&process.health.expect, &seen(&answer))?;
        }
        if !entrance.names_release {
            // The router names the slot; the app itself may name the release.
            if let Some(field) = root.and_then(|p| p.health.release.as_ref()) {
                probe::names_release(field, &binding.release, &seen(&answer))?;
            }
        } else {
            match answer.headers.get("x-alcedo-release") {
                Some(release) if release == binding.release.as_str() => {}
                Some(release) => return Err(format!("release {release}")),
                None => return Err(format!("{} without a release", answer.status)),
            }
        }
        match answer.headers.get("x-alcedo-slot") {
            Some(slot) if slot == binding.slot.as_str() => Ok(answer.status),
            other => Err(format!("slot {}", other.map_or("none", String::as_str))),
        }
    }

    /// One stretch of the bake: looks until something is worth recording, then records it, and the verdict if there is
    /// one. Returns early when there is mail.
    pub(crate) fn observe(&mut self, id: DeployId) -> Result<(), EngineError> {
        let Some(plan) = self.current_plan() else { return Ok(()) };
        let held = self.state.current.as_ref().is_some_and(|d| d.stage == Stage::Held);
        let begun = self.now();
        let mut seen = self.nothing_new();
        let (mut before, mut next_probe, mut looked) = (begun, begun, false);
        loop {
            if self.now() >= next_probe {
                next_probe = self.now().after(PROBE_EVERY);
                self.probe_both(&plan.binding, plan.from.as_ref(), &mut seen);
            }
            // Counts that begin anew within a stretch are the next one's: each stretch counts on from the last.
            let began_anew = self.count(&plan.binding, &mut seen, looked);
            looked = true;
            let now = self.now();
            seen.observed_ms +=
                u64::try_from(now.since(before).min(LOOK_COUNTS_MAX).as_millis()).unwrap_or(0);
            before = now;
            // What a person has to decide was decided already: nothing that is seen ends the stretch.
            let over = began_anew || (!held && self.decides(&seen));
            if over || now.since(begun) >= STRETCH || self.mail.is_cancelled() {
                break;
            }
            self.feed.observing(seen);
            self.world.clock.sleep_until(now.after(LOOK), &self.mail);
        }
        if held && !self.is_news(&seen) {
            return Ok(());
        }
        self.append(Some(id), Event::Observed { observation: seen })?;
        self.judge(id)
    }

    fn verdict_with(&self, seen: &Observation) -> Option<Verdict> {
        let deploy = self.state.current.as_ref()?;
        let mut bench = deploy.bench;
        bench.add(seen);
        bench.verdict(&deploy.plan.config.bake)
    }

    fn decides(&self, seen: &Observation) -> bool {
        self.verdict_with(seen).is_some()
    }

    /// While it is held for a person, only that it turned bad is news.
    fn is_news(&self, seen: &Observation) -> bool {
        let known = self.state.current.as_ref().and_then(|d| d.verdict.as_ref()).map(|v| v.finding);
        let finding = self.verdict_with(seen).map(|v| v.finding);
        finding == Some(Finding::Fail) && known != finding
    }

    fn judge(&mut self, id: DeployId) -> Result<(), EngineError> {
        let Some(deploy) = &self.state.current else { return Ok(()) };
        match deploy.bench.verdict(&deploy.plan.config.bake) {
            Some(verdict) => self.append(Some(id), Event::Judged { verdict }),
            None => Ok(()),
        }
    }

    fn probe_both(&self, live: &Binding, old: Option<&Binding>, seen: &mut Observation) {
        match self.probe_once(live) {
            Ok(()) => {
                seen.probes_good += 1;
                seen.failed_in_a_row = 0;
                seen.control_failed_in_a_row = 0;
            }
            Err(_) => {
                seen.probes_failed += 1;
                seen.failed_in_a_row += 1;
                // The concurrent control: is the warm old slot sick too?
                let sick = old.is_some_and(|old| self.probe_once(old).is_err());
                seen.control_failed_in_a_row =
                    if sick { seen.control_failed_in_a_row + 1 } else { 0 };
            }
        }
    }

    /// What a stretch knows before it has looked: a router that does not answer has counted nothing.
    fn nothing_new(&self) -> Observation {
        let bench = self.state.current.as_ref().map(|d| d.bench).unwrap_or_default();
        let Counts { requests, errors } = bench.read;
        Observation { requests, errors, ..Observation::default() }
    }

    /// Reads the counters. True, and nothing is read: `within` a stretch the router's counts began anew.
    fn count(&self, live: &Binding, seen: &mut Observation, within: bool) -> bool {
        let all = self.world.router.traffic(&self.app).unwrap_or_default();
        if let Some(now) = all.into_iter().find(|t| t.target == live.id.as_str()) {
            let now = Counts { requests: now.requests, errors: now.errors };
            let before = Counts { requests: seen.requests, errors: seen.errors };
            if within && now.began_anew(before) {
                return true;
            }
            (seen.requests, seen.errors) = (now.requests, now.errors);
        }
        if let Ok(slot) = self.world.runner.observe(&self.app, live.slot) {
            seen.restarts = slot.restarts();
            seen.gave_up =
                slot.processes.iter().any(|p| matches!(p.phase, Phase::GaveUp | Phase::Stopped));
        }
        false
    }
}

fn ready_text(binding: &Binding, process: &Process, proof: &str) -> String {
    let what = words::check(&process.health.check);
    let status = match &process.health.check {
        HealthCheck::Http(_) => format!(" {}", process.health.expect.status.unwrap_or(200)),
        HealthCheck::Tcp | HealthCheck::Command(_) | HealthCheck::None => String::new(),
    };
    let row = match process.health.healthy_after {
        0 | 1 => String::new(),
        n => format!(", {} in a row", words::times(n)),
    };
    let name =
        if binding.processes.len() > 1 { format!("{}: ", process.name) } else { String::new() };
    format!("{name}{what}{status}{row}, from this release (proved by {proof})")
}

fn health_request(process: &Process, path: &str) -> Get {
    let health: &Health = &process.health;
    let host = health.host.clone().unwrap_or_else(|| process.address.to_string());
    let headers = [("x-forwarded-proto".to_owned(), "http".to_owned())].into();
    Get {
        address: process.address.clone(),
        path: path.to_owned(),
        host,
        headers,
        timeout: health.timeout,
        root: process.pool.as_ref().map(|pool| pool.root.clone()),
    }
}

/// The process that a path is routed to: the longest prefix wins.
fn process_for<'a>(binding: &'a Binding, path: &str) -> Option<&'a Process> {
    let longest = |p: &Process| p.routes.iter().filter(|r| covers(r, path)).map(String::len).max();
    let routed =
        binding.processes.iter().filter_map(|p| longest(p).map(|n| (n, p))).max_by_key(|(n, _)| *n);
    routed.map(|(_, p)| p).or_else(|| binding.processes.iter().find(|p| p.routes.is_empty()))
}

/// A smoke command with `{url}` replaced by the base address of the slot's main process: digits, dots and a colon,
/// which no shell takes for anything else.
fn with_url(command: &str, binding: &Binding) -> Result<String, String> {
    if !command.contains("{url}") {
        return Ok(command.to_owned());
    }
    match process_for(binding, "/").map(|process| &process.address) {
        Some(Address::Tcp(address)) => Ok(command.replace("{url}", &format!("http://{address}"))),
        Some(Address::Unix(path)) => {
            Err(format!("it wants {{url}}, and the app listens on {}", path.display()))
        }
        None => Err("it wants {url}, and no process of the app answers /".to_owned()),
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

fn seen(answer: &Answer) -> Seen<'_> {
    Seen { status: answer.status, headers: &answer.headers, body: &answer.body }
}
