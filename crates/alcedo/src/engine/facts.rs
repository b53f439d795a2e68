//! Gathers what a plan is made from, at this moment.

use super::drive::Engine;
use super::ports::{EntranceTaken, Listener};
use alcedo_core::Slot;
use alcedo_core::binding::{Address, Binding};
use alcedo_core::config::Config;
use alcedo_core::facts::{Facts, PortTaken, Room, RouterFact, SlotFact};
use alcedo_core::plan::Purpose;
use std::collections::BTreeMap;
use std::path::Path;

/// Memory that stays free beside a second copy, so that the host does not swap.
const MEMORY_RESERVE_BYTES: u64 = 32 * 1024 * 1024;
/// Disk that stays free beside a new release.
const DISK_RESERVE_BYTES: u64 = 16 * 1024 * 1024;

impl Engine {
    /// What the host says now, for a deploy of `binding` that brings `needed_bytes` of files.
    pub(crate) fn facts(
        &self,
        root: &Path,
        config: &Config,
        binding: &Binding,
        needed_bytes: u64,
        purpose: Purpose,
    ) -> Facts {
        let slots: BTreeMap<Slot, SlotFact> =
            Slot::BOTH.into_iter().map(|slot| (slot, self.slot_fact(slot))).collect();
        let live = self.state.active.and_then(|slot| slots.get(&slot));
        // A flip starts nothing, and no way back fails over an entrance that it does not need anew.
        let ports_taken = match purpose {
            Purpose::Deploy => {
                let mut taken = self.ports_taken(binding, &slots);
                taken.extend(self.entrances_taken(config));
                taken
            }
            Purpose::Return => self.ports_taken(binding, &slots),
            Purpose::Flip => Vec::new(),
        };
        Facts {
            router: self.router_fact(),
            memory: self.memory(live.map_or(0, |s| s.memory_bytes), slots.get(&binding.slot)),
            disk: self.disk(root, needed_bytes),
            ports_taken,
            sealed: self.world.releases.is_sealed(root, &binding.release).unwrap_or(false),
            slots,
        }
    }

    /// Where the router points, as a fact.
    pub(crate) fn router_fact(&self) -> RouterFact {
        match self.world.router.observe(&self.app) {
            Ok(Some(e)) => RouterFact::At { target: e.target, generation: e.generation },
            Ok(None) => RouterFact::NotConfigured,
            Err(error) => RouterFact::Unknown(alcedo_core::event::Failure::from(error).what),
        }
    }

    fn slot_fact(&self, slot: Slot) -> SlotFact {
        let state = self.world.runner.observe(&self.app, slot).unwrap_or_default();
        let id = state
            .binding
            .clone()
            .or_else(|| self.state.slots.get(&slot).map(|s| s.binding.id.clone()));
        let traffic = self.world.router.traffic(&self.app).unwrap_or_default();
        let of_slot = id
            .and_then(|id| traffic.into_iter().find(|t| t.target == id.as_str()))
            .unwrap_or_default();
        SlotFact {
            up: state.is_up(),
            memory_bytes: state.processes.iter().map(|p| p.memory_bytes).sum(),
            binding: state.binding,
            in_flight: of_slot.in_flight,
            tunnels: of_slot.tunnels,
        }
    }

    /// Users of its own that the slot's processes have.
    fn slot_users(&self, slot: Slot) -> Vec<u32> {
        let state = self.world.runner.observe(&self.app, slot).unwrap_or_default();
        state.processes.iter().filter_map(|process| process.user).collect()
    }

    /// A second copy needs what the live one has now; what the target slot still holds will be free by then.
    fn memory(&self, live_bytes: u64, target: Option<&SlotFact>) -> Room {
        let freed = target.map_or(0, |s| s.memory_bytes);
        let available_bytes = self.world.machine.memory_available_bytes().saturating_add(freed);
        let fits = live_bytes == 0 || live_bytes + MEMORY_RESERVE_BYTES <= available_bytes;
        Room { needed_bytes: live_bytes, available_bytes, fits }
    }

    fn disk(&self, root: &Path, needed_bytes: u64) -> Room {
        let available_bytes = self.world.machine.disk_available_bytes(root);
        Room {
            needed_bytes,
            available_bytes,
            fits: needed_bytes.saturating_add(DISK_RESERVE_BYTES) <= available_bytes,
        }
    }

    /// Ports of the target slot that are held by something else than what the slot itself runs.
    fn ports_taken(&self, binding: &Binding, slots: &BTreeMap<Slot, SlotFact>) -> Vec<PortTaken> {
        let own = self.state.slots.get(&binding.slot).map(|s| s.binding.instance.clone());
        let is_occupied = slots.get(&binding.slot).is_some_and(|s| s.binding.is_some());
        // A unit's processes cannot be looked into: they are known by their user.
        let users = self.slot_users(binding.slot);
        let is_unit =
            |l: &Listener| l.exe.is_none() && l.user.is_some_and(|user| users.contains(&user));
        let is_own = |l: &Listener| {
            is_occupied && (own.as_ref().is_some_and(|own| l.runs_from(own)) || is_unit(l))
        };
        let mut taken = Vec::new();
        for process in &binding.processes {
            let Some(port) = process.address.port() else { continue };
            let listeners = self.world.probe.listeners(&process.address).unwrap_or_default();
            taken.extend(
                listeners
                    .iter()
                    .filter(|l| !is_own(l))
                    .map(|l| PortTaken { port, holder: holder(l) }),
            );
        }
        taken
    }

    /// Addresses that the router is to listen on for this app and somebody else has.
    fn entrances_taken(&self, config: &Config) -> Vec<PortTaken> {
        let taken = self.world.router.entrances_taken(&self.app, config).into_iter();
        taken
            .map(|EntranceTaken { address, app }| {
                let process = || {
                    let found = self.world.probe.listeners(&Address::Tcp(address));
                    let found = found.unwrap_or_default();
                    found.first().map_or_else(|| "another process".to_owned(), holder)
                };
                let of_app = |(app, what): (String, String)| format!("the app {app}, for {what}");
                PortTaken { port: address.port(), holder: app.map_or_else(process, of_app) }
            })
            .collect()
    }
}

/// Fits behind "port 80 is used by".
fn holder(listener: &Listener) -> String {
    match listener.pid {
        Some(pid) => format!("pid {pid}, {}", listener.command),
        None => "another user's process".to_owned(),
    }
}
