//! `plan(config, state, facts, request) -> Plan`: every decision of a deploy, made before anything is done.

use crate::binding::Binding;
use crate::config::{Config, HealthCheck, NginxForm, RouterKind};
use crate::facts::{Facts, PortTaken, Request, Room, RouterFact};
use crate::names::{DeployId, ReleaseId};
use crate::plan::{Basis, Parts, Plan, Purpose, steps};
use crate::slot::Slot;
use crate::state::{AppState, SlotRecord};
use serde::{Deserialize, Serialize};

/// The id of the caveat that the slot which is needed still serves what began before the last switch.
pub const SLOT_DRAINING: &str = "slot.draining";

/// A plan with what people are told beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What will be done.
    pub plan: Plan,
    /// Every "NOT zero-downtime because".
    pub caveats: Vec<Caveat>,
    /// Memory for two copies.
    pub memory: Room,
    /// Disk for the release.
    pub disk: Room,
}

/// One "NOT zero-downtime because".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caveat {
    /// What `--accept` wants.
    pub id: String,
    /// Fits after "NOT zero-downtime because".
    pub reason: String,
    /// What would make it go away.
    pub fix: String,
    /// Accepted by the file or the request.
    pub accepted: bool,
}

/// Why nothing is planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The router cannot be asked.
    #[error("tell what is live: the router does not answer")]
    RouterUnknown {
        /// What was seen.
        detail: String,
    },
    /// Router and journal differ.
    #[error("tell what is live: the router points at {router}, the journal says {journal}")]
    Drift {
        /// In words.
        router: String,
        /// In words.
        journal: String,
    },
    /// A person is needed first.
    #[error("start: {deploy} is stuck")]
    Stuck {
        /// The deploy.
        deploy: DeployId,
        /// Why.
        what: String,
    },
    /// The same content was left by rollback.
    #[error("deploy {release}: it has the content of {bad}, which is marked bad")]
    Bad {
        /// The release asked for.
        release: ReleaseId,
        /// The release that was left.
        bad: ReleaseId,
    },
    /// Ports of the idle slot are taken.
    #[error("start the new slot: {}", ports_text(.0))]
    PortTaken(Vec<PortTaken>),
    /// The release does not fit on the disk.
    #[error(
        "fetch: {} MiB are needed and {} MiB are free, of which some must stay free",
        mib(.0.needed_bytes),
        mib(.0.available_bytes)
    )]
    DiskFull(Room),
    /// The active slot does not run, so there is nothing to go back to by a flip.
    #[error("flip: {0} does not run")]
    NotWarm(Slot),
    /// There is nothing that could be live again.
    #[error("find the release {0} on this host")]
    NotKept(ReleaseId),
    /// Not accepted caveats.
    #[error("go on: {} not accepted", caveat_ids(.0))]
    NotAccepted(Vec<Caveat>),
}

fn ports_text(ports: &[PortTaken]) -> String {
    ports
        .iter()
        .map(|p| format!("port {} is taken by {}", p.port, p.holder))
        .collect::<Vec<_>>()
        .join(", ")
}

fn caveat_ids(caveats: &[Caveat]) -> String {
    caveats.iter().filter(|c| !c.accepted).map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ")
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

/// Decides. `binding` is what the target slot will run (its addresses are facts of the host); `release_config` is
/// today's configuration with the release's own part.
pub fn plan(
    config: &Config,
    state: &AppState,
    facts: &Facts,
    request: &Request,
    binding: Binding,
) -> Result<Proposal, Refusal> {
    let generation = agreed_generation(state, facts)?;
    if let Some(stuck) = &state.stuck {
        return Err(Refusal::Stuck { deploy: stuck.deploy, what: stuck.failure.what.clone() });
    }
    refuse_bad(state, request)?;
    refuse_impossible(facts, request, &binding)?;
    let occupant = state.slots.get(&binding.slot).filter(|_| request.purpose != Purpose::Flip);
    let caveats = caveats(config, facts, request, occupant, state);
    let parts = Parts {
        fetch: request.fetch,
        occupied: occupant.is_some()
            || facts.slots.get(&binding.slot).is_some_and(|s| s.up || s.binding.is_some()),
        smoke: !binding.smoke.is_empty(),
        warm: binding.warmup.is_some(),
        stage: request.stage,
        first: state.active.is_none(),
    };
    let plan = Plan {
        deploy: DeployId(state.last_deploy + 1),
        app: binding.app.clone(),
        environment: binding.environment.clone(),
        purpose: request.purpose,
        from: state.active_binding().cloned(),
        occupant: occupant.map(|o| o.binding.id.clone()),
        config: config.clone(),
        generation,
        basis: basis(config, state, facts, request),
        steps: steps(request.purpose, parts),
        content: request.content.clone(),
        binding,
    };
    Ok(Proposal { plan, caveats, memory: facts.memory, disk: facts.disk })
}

/// Router and journal must agree on what is live before anything is changed (law 8).
pub fn agreed_generation(state: &AppState, facts: &Facts) -> Result<u64, Refusal> {
    let recorded = state.active_binding().map(|b| b.id.as_str().to_owned());
    let (target, generation) = match &facts.router {
        RouterFact::Unknown(detail) => {
            return Err(Refusal::RouterUnknown { detail: detail.clone() });
        }
        RouterFact::NotConfigured => (None, 0),
        RouterFact::At { target, generation } => (target.clone(), *generation),
    };
    if target == recorded {
        return Ok(generation);
    }
    let words = |t: Option<String>| t.unwrap_or_else(|| "nothing".to_owned());
    Err(Refusal::Drift { router: words(target), journal: words(recorded) })
}

/// The hash of everything that a plan is made from and that must not change until it is done.
pub fn basis(config: &Config, state: &AppState, facts: &Facts, request: &Request) -> String {
    let router = match &facts.router {
        RouterFact::Unknown(_) | RouterFact::NotConfigured => (None, 0),
        RouterFact::At { target, generation } => (target.as_deref(), *generation),
    };
    let slots = Slot::BOTH.map(|slot| state.slots.get(&slot).map(|s| &s.binding.id));
    Basis { slots, router, config, content: &request.content }.hash()
}

fn refuse_bad(state: &AppState, request: &Request) -> Result<(), Refusal> {
    let by_id = state.is_bad(&request.release).then_some(&request.release);
    match by_id.or_else(|| state.bad_with_content(&request.content)) {
        Some(bad) if request.purpose == Purpose::Deploy && !request.retry => {
            Err(Refusal::Bad { release: request.release.clone(), bad: bad.clone() })
        }
        _ => Ok(()),
    }
}

fn refuse_impossible(facts: &Facts, request: &Request, binding: &Binding) -> Result<(), Refusal> {
    if !facts.ports_taken.is_empty() {
        return Err(Refusal::PortTaken(facts.ports_taken.clone()));
    }
    if request.fetch && !facts.disk.fits {
        return Err(Refusal::DiskFull(facts.disk));
    }
    if !request.fetch && request.purpose != Purpose::Flip && !facts.sealed {
        return Err(Refusal::NotKept(request.release.clone()));
    }
    let up = facts.slots.get(&binding.slot).is_some_and(|s| s.up);
    if request.purpose == Purpose::Flip && !up {
        return Err(Refusal::NotWarm(binding.slot));
    }
    Ok(())
}

fn caveats(
    config: &Config,
    facts: &Facts,
    request: &Request,
    occupant: Option<&SlotRecord>,
    state: &AppState,
) -> Vec<Caveat> {
    // A way back is never asked about: toward the old release everything is instant.
    if request.purpose.goes_back() || state.active.is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut add = |id: &str, reason: String, fix: &str| {
        let accepted = config.accept.iter().chain(&request.accept).any(|a| a == id);
        found.push(Caveat { id: id.to_owned(), reason, fix: fix.to_owned(), accepted });
    };
    if config.services.values().any(|s| s.health.check == HealthCheck::None) {
        let reason = "there is no [health]: an open port counts as ready, whatever it would answer";
        add("health.none", reason.to_owned(), "health.path = \"/healthz\"");
    }
    if !facts.memory.fits {
        let (needed, there) = (mib(facts.memory.needed_bytes), mib(facts.memory.available_bytes));
        let reason = format!(
            "a second copy needs about {needed} MiB and {there} MiB are free: the host may swap or kill"
        );
        add("memory.two-copies", reason, "free memory, or a smaller app");
    }
    if let RouterKind::Nginx { form: NginxForm::Include | NginxForm::Symlink, .. } =
        &config.router.kind
    {
        let reason = "nginx is reloaded: requests on connections that it then takes for idle are lost, about rate × round trip of them";
        add("router.reload", reason.to_owned(), "router.form = \"flag\"");
    }
    let draining = occupant
        .and_then(|o| facts.slots.get(&o.binding.slot))
        .filter(|s| s.in_flight + s.tunnels > 0);
    if let Some(slot) = draining {
        let what = plural(slot.tunnels, "WebSocket") + " and " + &plural(slot.in_flight, "request");
        let reason = format!(
            "the slot that is needed still serves {what} of the last switch: they would be cut"
        );
        add(SLOT_DRAINING, reason, "deploy later, when they have ended");
    }
    found
}

fn plural(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The caveats that keep a deploy from starting.
pub fn unaccepted(caveats: &[Caveat]) -> Result<(), Refusal> {
    if caveats.iter().all(|c| c.accepted) {
        Ok(())
    } else {
        Err(Refusal::NotAccepted(caveats.to_vec()))
    }
}
