//! What a deploy will do, everything already decided: the executor has no meaningful choice left.
//!
//! A plan is immutable. It carries a hash of what it was made from (bindings, router generation, config, release; not
//! measurements), so a stale one is refused.

use crate::binding::{Binding, BindingId};
use crate::config::Config;
use crate::names::{AppName, DeployId};
use crate::slot::Slot;
use crate::step::Step;
use serde::{Deserialize, Serialize};

/// What a deploy will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Counted per app.
    pub deploy: DeployId,
    /// The app, by its name on the host.
    pub app: AppName,
    /// `production` or the name after `-e`.
    pub environment: String,
    /// Why there is a deploy at all.
    pub purpose: Purpose,
    /// The active binding it starts from; `None`: nothing was ever live.
    pub from: Option<Binding>,
    /// What will be live.
    pub binding: Binding,
    /// What the target slot still runs, which [`Step::Clear`] stops.
    #[serde(default)]
    pub occupant: Option<BindingId>,
    /// Today's configuration.
    pub config: Config,
    /// The router's generation it was planned at; the switch expects it.
    pub generation: u64,
    /// Hash of what it was made from.
    pub basis: String,
    /// In order.
    pub steps: Vec<Step>,
    /// Content hash of the release (blake3, hex); empty when it is not known.
    #[serde(default)]
    pub content: String,
}

/// Why there is a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A new release, or the same one with new settings. Judged.
    Deploy,
    /// Back to a warm slot: a flip. Not judged, since there is no further way back.
    Flip,
    /// Back to a kept release that must be started first. Not judged.
    Return,
}

impl Plan {
    /// The slot that will be live.
    pub fn to(&self) -> Slot {
        self.binding.slot
    }

    /// The slot that is live.
    pub fn from_slot(&self) -> Option<Slot> {
        self.from.as_ref().map(|b| b.slot)
    }

    /// The short id under which people name a plan: `p7f3a`.
    pub fn short_id(&self) -> String {
        format!("p{}", &self.basis[..self.basis.len().min(8)])
    }

    /// The operation id of the switch, at the router.
    pub fn switch_operation(&self) -> String {
        format!("{}/{}/switch", self.app, self.deploy)
    }

    /// The operation id of what keeps an abandoned switch from taking effect later.
    pub fn fence_operation(&self) -> String {
        format!("{}/{}/fence", self.app, self.deploy)
    }

    /// The operation id of the switch back.
    pub fn back_operation(&self) -> String {
        format!("{}/{}/back", self.app, self.deploy)
    }

    /// Whether this deploy is judged after its switch: there must be something to go back to.
    pub fn is_judged(&self) -> bool {
        self.steps.contains(&Step::Bake)
    }
}

/// What a plan is made from; its hash is the plan's basis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Basis<'a> {
    /// What both slots run, blue first.
    pub slots: [Option<&'a BindingId>; 2],
    /// Where the router points, and how often it was switched.
    pub router: (Option<&'a str>, u64),
    /// The configuration.
    pub config: &'a Config,
    /// The release's content hash.
    pub content: &'a str,
}

impl Basis<'_> {
    /// blake3 over the canonical JSON, hex.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("a basis has no map with non-string keys");
        blake3::hash(&text).to_hex()[..32].to_owned()
    }
}

/// The order of a judged deploy. `parts` leaves out what has nothing to do.
pub fn steps(purpose: Purpose, parts: Parts) -> Vec<Step> {
    let forward = [
        (Step::Fetch, parts.fetch),
        (Step::Prepare, parts.fetch),
        (Step::Clear, parts.occupied),
        (Step::Start, true),
        (Step::Probe, true),
        (Step::Smoke, parts.smoke),
        (Step::Warm, parts.warm),
        (Step::Gate, parts.stage),
    ];
    let starts = purpose != Purpose::Flip;
    let head = forward.into_iter().filter(|(_, wanted)| starts && *wanted).map(|(step, _)| step);
    let tail = match (purpose, parts.first) {
        (_, true) => vec![Step::Switch, Step::Verify],
        (Purpose::Deploy, false) => vec![Step::Switch, Step::Verify, Step::Drain, Step::Bake],
        (Purpose::Flip | Purpose::Return, false) => {
            vec![Step::Switch, Step::Verify, Step::Drain, Step::Retire]
        }
    };
    head.chain(tail).collect()
}

/// Which optional steps a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Files must be brought and prepared.
    pub fetch: bool,
    /// The target slot still runs something.
    pub occupied: bool,
    /// There are smoke checks.
    pub smoke: bool,
    /// There is a warm-up.
    pub warm: bool,
    /// Stop before the switch.
    pub stage: bool,
    /// Nothing was ever live.
    pub first: bool,
}
