//! What the host reported just now: measurements and observations that a plan is made from.

use crate::binding::BindingId;
use crate::names::ReleaseId;
use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the host reported just now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Where the router points.
    pub router: RouterFact,
    /// What runs in each slot.
    pub slots: BTreeMap<Slot, SlotFact>,
    /// Memory.
    pub memory: Room,
    /// Disk, where releases are kept.
    pub disk: Room,
    /// Ports of the target slot that somebody else holds.
    pub ports_taken: Vec<PortTaken>,
    /// Whether the release is on disk and sealed.
    pub sealed: bool,
}

/// Where the router points.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RouterFact {
    /// It cannot be asked: active is unknown, and nothing is deployed.
    Unknown(String),
    /// It never heard of this app.
    #[default]
    NotConfigured,
    /// It answered.
    At {
        /// The target, a binding id as text; `None`: never switched.
        target: Option<String>,
        /// How often it was switched.
        generation: u64,
    },
}

/// What runs in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotFact {
    /// Whose processes these are.
    pub binding: Option<BindingId>,
    /// Whether it runs whole.
    pub up: bool,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Requests it still answers, though it has no traffic.
    pub in_flight: u64,
    /// Upgraded connections it still serves.
    pub tunnels: u64,
}

/// What is needed of something, and what is there, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// Needed for the new copy; 0 when it cannot be known (the first deploy).
    pub needed_bytes: u64,
    /// There.
    pub available_bytes: u64,
    /// Whether it fits.
    pub fits: bool,
}

/// A port that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTaken {
    /// The port.
    pub port: u16,
    /// Whose it is, for people: `pid 812, nginx: master process`.
    pub holder: String,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Deploy, or a way back.
    pub purpose: crate::plan::Purpose,
    /// The release.
    pub release: ReleaseId,
    /// Its content hash, when known.
    pub content: String,
    /// Whether files must be brought.
    pub fetch: bool,
    /// Stop before the switch.
    pub stage: bool,
    /// Caveats accepted with this request, by id.
    pub accept: Vec<String>,
    /// Deploy it although it is marked bad.
    pub retry: bool,
}
