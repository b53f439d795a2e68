//! The JSON that programs read: `status`, `history`, `releases`, `plan`, `check` and `prune`, as the interface fixes it.
//! Format 1. The daemon writes these, the terminal is drawn from them.
//!
//! Fields are added, never renamed; readers take absent ones as unknown and ignore fields that they do not know.

use alcedo_core::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatusView {
    /// 1.
    pub(crate) format: u32,
    /// When, RFC 3339 UTC.
    pub(crate) at: String,
    /// The machine's name.
    pub(crate) host: String,
    /// Version of the daemon.
    pub(crate) alcedo: String,
    /// Every app asked for.
    pub(crate) apps: Vec<AppView>,
}

/// One app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AppView {
    /// `app` as the file has it.
    pub(crate) app: String,
    /// `production`, or the name after `-e`.
    pub(crate) environment: String,
    /// Where it is reached.
    pub(crate) url: Option<String>,
    /// Nothing is wrong.
    pub(crate) healthy: bool,
    /// What is wrong, one sentence.
    pub(crate) why: Option<String>,
    /// The slot that gets the traffic; `None`: nothing was ever live.
    pub(crate) active: Option<Active>,
    /// What abort returns to.
    pub(crate) stable_release: Option<String>,
    /// The router.
    pub(crate) router: RouterView,
    /// Blue and green.
    pub(crate) slots: BTreeMap<Slot, SlotView>,
    /// The deploy under way.
    pub(crate) deploy: Option<DeployView>,
    /// The way back.
    pub(crate) rollback: Option<WayBackView>,
    /// Why `rollback` without a release is refused although there are older ones.
    pub(crate) rollback_refused: Option<String>,
    /// What `previous` names.
    pub(crate) previous_release: Option<String>,
    /// What happens by itself.
    pub(crate) next: Vec<NextView>,
    /// Who keeps deploys away.
    pub(crate) lock: Option<LockView>,
    /// Nothing happens by itself until a person acts.
    pub(crate) stuck: Option<StuckView>,
}

/// The slot that gets the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Active {
    /// Blue.
    Blue,
    /// Green.
    Green,
    /// The router cannot be asked.
    Unknown,
}

/// What the router says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RouterView {
    /// `embedded`.
    pub(crate) kind: String,
    /// Where it points: a slot, or what it says itself.
    pub(crate) target: Option<String>,
    /// It and the journal differ.
    pub(crate) drift: bool,
    /// How.
    pub(crate) drift_detail: Option<String>,
}

/// One slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SlotView {
    /// `active` or `idle`.
    pub(crate) role: String,
    /// `empty`, `starting`, `ready`, `draining`, `warm`, `stopped`, `failed`.
    pub(crate) state: String,
    /// What it runs.
    pub(crate) release: Option<String>,
    /// Since when, RFC 3339 UTC.
    pub(crate) since: Option<String>,
    /// Resident memory.
    pub(crate) memory_bytes: Option<u64>,
    /// Requests since it last got traffic.
    pub(crate) requests: Option<u64>,
    /// Of these, failed.
    pub(crate) errors: Option<u64>,
    /// When its processes were started.
    pub(crate) started_at: Option<String>,
    /// Requests under way.
    pub(crate) in_flight: Option<u64>,
    /// Upgraded connections.
    pub(crate) tunnels: Option<u64>,
    /// Latency.
    pub(crate) p50_ms: Option<f64>,
    /// Latency.
    pub(crate) p95_ms: Option<f64>,
    /// Its processes.
    pub(crate) processes: Vec<ProcessView>,
}

/// One process of a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProcessView {
    /// Its name within the slot.
    pub(crate) name: String,
    /// `web`.
    pub(crate) kind: String,
    /// Where it listens.
    pub(crate) address: Option<String>,
    /// Its main process.
    pub(crate) pid: Option<u32>,
    /// Resident memory of its tree.
    pub(crate) memory_bytes: Option<u64>,
    /// Times it ended by itself and was started again.
    pub(crate) restarts: u32,
    /// How it ended the last time.
    pub(crate) last_exit: Option<String>,
}

/// The deploy under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DeployView {
    /// `d42`.
    pub(crate) id: String,
    /// The step's word.
    pub(crate) phase: String,
    /// `pending` while it is judged, `fail` or `inconclusive` while a person is waited for.
    pub(crate) verdict: Option<String>,
    /// What it brings.
    pub(crate) release: String,
    /// Where it goes.
    pub(crate) to: Option<Slot>,
    /// What it waits for.
    pub(crate) gate: Option<String>,
    /// It waits for a person.
    pub(crate) held: bool,
    /// Who asked for it.
    pub(crate) by: Option<String>,
    /// It is live and not judged any more: the old slot has drained and stopped by then.
    pub(crate) ends_within_ms: Option<u64>,
    /// While it is judged.
    pub(crate) bake: Option<BakeView>,
}

/// How the judging stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BakeView {
    /// The verdict comes by then.
    pub(crate) until: Option<String>,
    /// Requests seen.
    pub(crate) requests: u64,
    /// Of these, failed.
    pub(crate) errors: u64,
    /// Of the slot before, 0 to 1.
    pub(crate) baseline_error_rate: Option<f64>,
    /// 0 to 1; at 1 the release is given back.
    pub(crate) evidence: Option<EvidenceView>,
    /// With 95 % confidence, 0 to 1.
    pub(crate) error_rate_below: Option<f64>,
    /// How long it was watched so far.
    pub(crate) observed_ms: u64,
    /// How long it is judged in all.
    pub(crate) length_ms: u64,
    /// Probes that succeeded.
    pub(crate) probes_good: u32,
    /// Probes that failed.
    pub(crate) probes_failed: u32,
}

/// How sure it is that the new release is worse.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EvidenceView {
    /// By errors.
    pub(crate) errors: Option<f64>,
    /// Slower than the median.
    pub(crate) slow50: Option<f64>,
    /// Slower than the 95th percentile.
    pub(crate) slow95: Option<f64>,
}

/// The way back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WayBackView {
    /// To what; absent in `releases`, where it stands above.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) release: String,
    /// `flip` or `deploy`.
    pub(crate) kind: Option<String>,
    /// How long it stays a flip; `None`: until somebody acts.
    pub(crate) available_for_s: Option<u64>,
    /// Until when.
    pub(crate) available_until: Option<String>,
    /// How long it takes.
    pub(crate) expected_ms: Option<u64>,
    /// Why it is not possible (`releases`).
    pub(crate) refused: Option<String>,
}

/// Something that happens by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NextView {
    /// What: `verdict`, `retire`.
    pub(crate) action: String,
    /// Which slot, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<Slot>,
    /// When; `None`: when something else has happened.
    pub(crate) at: Option<String>,
}

/// Who keeps deploys away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LockView {
    /// Who.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since: Option<String>,
    /// Until when.
    pub(crate) until: Option<String>,
}

/// Why nothing happens by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StuckView {
    /// The deploy.
    pub(crate) deploy: String,
    /// What was seen.
    pub(crate) what: String,
    /// What to type.
    pub(crate) hint: Option<String>,
}

/// `history --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HistoryView {
    /// The newest first.
    pub(crate) deploys: Vec<PastView>,
}

/// A deploy, over or under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PastView {
    /// `d42`.
    pub(crate) id: String,
    /// As the file has it.
    pub(crate) app: String,
    /// `production`, or the name after `-e`.
    pub(crate) environment: String,
    /// What it brought.
    pub(crate) release: String,
    /// The slot before.
    pub(crate) from: Option<Slot>,
    /// The slot it went to.
    pub(crate) to: Option<Slot>,
    /// `live`, `rolled-back`, `unchanged`, `stuck`, `under-way`.
    pub(crate) outcome: Option<String>,
    /// Who.
    pub(crate) by: String,
    /// Why.
    pub(crate) note: Option<String>,
    /// RFC 3339 UTC.
    pub(crate) started_at: String,
    /// In all, without the judging.
    pub(crate) duration_ms: Option<u64>,
    /// Publish time of the switch.
    pub(crate) switch_ms: Option<f64>,
    /// `pass`, `fail`, `inconclusive`, `pending`.
    pub(crate) verdict: Option<String>,
    /// What the judge saw.
    pub(crate) verdict_text: Option<String>,
    /// The step's word.
    pub(crate) failed_at: Option<String>,
    /// Why.
    pub(crate) cause: Option<String>,
    /// `deploy`, `flip`, `return`.
    pub(crate) purpose: Option<String>,
}

/// `releases --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReleasesView {
    /// The newest first.
    pub(crate) releases: Vec<ReleaseView>,
}

/// A release on the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReleaseView {
    /// Its id.
    pub(crate) release: String,
    /// What it was made from.
    pub(crate) commit: Option<String>,
    /// RFC 3339 UTC.
    pub(crate) created_at: Option<String>,
    /// Apparent size.
    pub(crate) size_bytes: u64,
    /// `active`, `warm`, `kept`.
    pub(crate) state: String,
    /// The slot that runs it.
    pub(crate) slot: Option<Slot>,
    /// It was left by rollback.
    pub(crate) bad: bool,
    /// It is never pruned.
    pub(crate) pinned: bool,
    /// How to go back to it.
    pub(crate) rollback: Option<WayBackView>,
}

/// `plan --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlanView {
    /// For `deploy --plan`.
    pub(crate) plan: String,
    /// As the file has it.
    pub(crate) app: String,
    /// `production`, or the name after `-e`.
    pub(crate) environment: String,
    /// The slot that is live.
    pub(crate) from: Option<Slot>,
    /// The slot it would go to.
    pub(crate) to: Option<Slot>,
    /// What would be live.
    pub(crate) release: String,
    /// What is live.
    pub(crate) from_release: Option<String>,
    /// Hash of what the plan was made from.
    pub(crate) basis: String,
    /// In order.
    pub(crate) steps: Vec<PlanStepView>,
    /// Whether two copies fit.
    pub(crate) budget: BudgetView,
    /// What changes in the settings.
    pub(crate) changes: Vec<alcedo_core::config::Change>,
    /// Every "NOT zero-downtime because".
    pub(crate) not_zero_downtime: Vec<CaveatView>,
}

/// One step of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlanStepView {
    /// Its word.
    pub(crate) step: String,
    /// What it does.
    pub(crate) text: String,
    /// How long it took the last time.
    pub(crate) expected_ms: Option<u64>,
}

/// What is needed and what is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BudgetView {
    /// For two copies.
    pub(crate) memory: Option<RoomView>,
    /// For the release.
    pub(crate) disk: Option<RoomView>,
    /// Of the slot: service → address.
    pub(crate) ports: BTreeMap<String, String>,
}

/// One budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RoomView {
    /// Needed; 0: not known.
    pub(crate) needed_bytes: u64,
    /// There.
    pub(crate) available_bytes: u64,
    /// Whether it fits.
    pub(crate) fits: bool,
}

/// One "NOT zero-downtime because".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CaveatView {
    /// For `--accept`.
    pub(crate) id: String,
    /// Fits after "because".
    pub(crate) reason: String,
    /// What makes it go away.
    pub(crate) fix: String,
    /// By the file or the command line.
    pub(crate) accepted: bool,
}

/// `check --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckView {
    /// Nothing at error.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) findings: Vec<alcedo_core::lint::Finding>,
}

/// `prune --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PruneView {
    /// What went, or would.
    pub(crate) removed: Vec<PrunedView>,
    /// What stayed.
    pub(crate) kept: Vec<KeptView>,
}

/// A removed release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PrunedView {
    /// Its id.
    pub(crate) release: String,
    /// Its size.
    pub(crate) size_bytes: u64,
}

/// A kept release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct KeptView {
    /// Its id.
    pub(crate) release: String,
    /// Why.
    pub(crate) reason: String,
}

impl AppView {
    /// The name that the host knows it by.
    pub(crate) fn name(&self) -> String {
        match self.environment.as_str() {
            "" | alcedo_core::names::PRODUCTION => self.app.clone(),
            other => format!("{}-{other}", self.app),
        }
    }

    /// The slot that gets the traffic, when it is known.
    pub(crate) fn live_slot(&self) -> Option<Slot> {
        match self.active? {
            Active::Blue => Some(Slot::Blue),
            Active::Green => Some(Slot::Green),
            Active::Unknown => None,
        }
    }

    /// What is live.
    pub(crate) fn live_release(&self) -> Option<&str> {
        self.slots.get(&self.live_slot()?)?.release.as_deref()
    }
}
