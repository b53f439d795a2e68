//! Runs slots as instances of a template unit that `setup` wrote, over D-Bus: a deploy only starts and stops them, so
//! the daemon needs no root (a polkit rule lets it, by the units' names).
//!
//! What an instance runs stands in its order ([`Order`]), a file that is also its condition for starting: after a reboot
//! systemd alone brings back what was there, and a slot without an order stays down. Never writes a unit, never parses
//! what a program prints.

mod bus;
mod exec_unit;
mod journal;
mod order;

pub(crate) use bus::Bus;
pub(crate) use exec_unit::{CREDENTIAL, main as exec_main};
pub(crate) use journal::Stretch;
pub(crate) use order::{instance, unit};

use crate::adapters::clock;
use crate::engine::ports::{Call, Cancel, EffectError, Phase, ProcessState, Runner, SlotState};
use crate::paths::Paths;
use crate::process_table::Table;
use alcedo_core::binding::{Binding, BindingId, Process};
use alcedo_core::{AppName, ServiceName, Slot};
use bus::Unit;
use order::{Order, Orders};
use std::time::Duration;

/// For questions that systemd answers from memory.
const ANSWER: Duration = Duration::from_secs(5);

/// The systemd runner.
#[derive(Debug, Clone)]
pub(crate) struct SystemdRunner {
    paths: Paths,
}

impl SystemdRunner {
    /// With the directories of this host.
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// Whether the slot is held by a unit, or was when nobody has cleared it.
    pub(crate) fn holds(&self, app: &AppName, slot: Slot) -> bool {
        self.orders(app).of(slot).is_ok_and(|orders| !orders.is_empty())
    }

    fn orders(&self, app: &AppName) -> Orders {
        Orders::at(self.paths.orders(app))
    }

    /// Orders the process; `None` when it runs as ordered already.
    fn order(
        &self,
        bus: &Bus,
        binding: &Binding,
        process: &Process,
    ) -> Result<Option<String>, EffectError> {
        let instance = instance(binding.slot, &process.name);
        let name = unit(&binding.app, &instance);
        let found = bus.unit(&name)?;
        refuse_missing(&name, &found)?;
        let orders = self.orders(&binding.app);
        let is_held = orders.read(&instance)?.is_some_and(|held| held.binding == binding.id);
        if is_held && found.is_up() {
            return Ok(None);
        }
        let stretch = Stretch::begun(&name);
        stretch.write(&self.paths.logs(&binding.app, &binding.id), &process.name)?;
        orders.write(&instance, &Order::of(binding, process))?;
        // Starts by deploys must not count as starts after crashes.
        bus.reset_failed(&name)?;
        Ok(Some(name))
    }

    fn process(&self, app: &AppName, order: &Order, found: &Unit) -> ProcessState {
        let memory = || found.main_pid.map_or(0, |pid| Table::read().memory_bytes(pid));
        let own = rustix::process::geteuid().as_raw();
        ProcessState {
            name: order.service.clone(),
            phase: found.phase(),
            pid: found.main_pid,
            restarts: found.restarts,
            user: found.user.filter(|user| *user != own),
            memory_bytes: found.memory_bytes.unwrap_or_else(memory),
            last_exit: found.last_exit(),
            log: Stretch::path(&self.paths.logs(app, &order.binding), &order.service),
        }
    }
}

impl Runner for SystemdRunner {
    fn start(&self, binding: &Binding, call: &Call<'_>) -> Result<SlotState, EffectError> {
        refuse_other_binding(&self.orders(&binding.app).of(binding.slot)?, binding)?;
        let bus = Bus::open(call.deadline)?;
        let mut units = Vec::new();
        for process in &binding.processes {
            (call.progress)(&format!("starting {}", process.name));
            units.extend(self.order(&bus, binding, process)?);
        }
        bus.start(&units, call)?;
        for name in &units {
            refuse_down(name, &bus.unit(name)?)?;
        }
        self.observe(&binding.app, binding.slot)
    }

    fn stop(&self, app: &AppName, slot: Slot, call: &Call<'_>) -> Result<SlotState, EffectError> {
        let orders = self.orders(app);
        let held = orders.of(slot)?;
        if held.is_empty() {
            return Ok(SlotState::default());
        }
        let units: Vec<String> =
            held.iter().map(|order| unit(app, &instance(slot, &order.service))).collect();
        // A stop is not cancelled: what has begun to end ends.
        let never = Cancel::default();
        let call = Call { deadline: call.deadline, cancel: &never, progress: call.progress };
        let bus = Bus::open(call.deadline)?;
        bus.stop(&units, &call)?;
        for (name, order) in units.iter().zip(&held) {
            refuse_up(name, &bus.unit(name)?)?;
            // Without this a later stretch of the same unit would be taken for its own: worth a warning, not a stuck slot.
            let dir = self.paths.logs(app, &order.binding);
            if let Err(error) = Stretch::end(&dir, &order.service) {
                tracing::warn!(app = %app, "failed to {error}");
            }
            orders.remove(&instance(slot, &order.service))?;
        }
        self.observe(app, slot)
    }

    /// systemd starts again what ended; what was stopped by hand or given up stays so.
    fn ensure(&self, _binding: &Binding, _call: &Call<'_>) -> Result<(), EffectError> {
        Ok(())
    }

    fn observe(&self, app: &AppName, slot: Slot) -> Result<SlotState, EffectError> {
        let held = self.orders(app).of(slot)?;
        let Some(first) = held.first() else { return Ok(SlotState::default()) };
        let bus = Bus::open(clock::now().after(ANSWER))?;
        let binding: Option<BindingId> = Some(first.binding.clone());
        let processes: Result<Vec<ProcessState>, EffectError> = held
            .iter()
            .map(|order| {
                let found = bus.unit(&unit(app, &instance(slot, &order.service)))?;
                Ok(self.process(app, order, &found))
            })
            .collect();
        Ok(SlotState { binding, processes: processes? })
    }

    fn last_words(&self, _app: &AppName, _slot: Slot, seen: &ProcessState) -> String {
        const LINES: usize = 20;
        let lines = Stretch::read(&seen.log).map(|stretch| stretch.last(LINES).0);
        lines.unwrap_or_default().join("\n")
    }
}

fn refuse_other_binding(held: &[Order], binding: &Binding) -> Result<(), EffectError> {
    let is_ours = |order: &&Order| {
        order.binding == binding.id && binding.processes.iter().any(|p| p.name == order.service)
    };
    match held.iter().find(|order| !is_ours(order)) {
        None => Ok(()),
        Some(other) => Err(EffectError::Failed {
            what: format!("start {} in {}", binding.id, binding.slot),
            detail: format!("the slot still holds {} of {}", other.service, other.binding),
            hint: None,
        }),
    }
}

fn refuse_missing(name: &str, found: &Unit) -> Result<(), EffectError> {
    if found.is_known() {
        return Ok(());
    }
    Err(EffectError::Failed {
        what: format!("start {name}"),
        detail: format!("systemd has no such unit ({})", found.load_state),
        hint: Some("sudo alcedo setup".to_owned()),
    })
}

/// A start job is also done when a condition was not met.
fn refuse_down(name: &str, found: &Unit) -> Result<(), EffectError> {
    match found.phase() {
        Phase::Running | Phase::Restarting | Phase::GaveUp => Ok(()),
        Phase::Stopped => Err(EffectError::failed(
            format!("start {name}"),
            format!("systemd left it {} ({})", found.active_state, found.result),
        )),
    }
}

fn refuse_up(name: &str, found: &Unit) -> Result<(), EffectError> {
    if !found.is_up() {
        return Ok(());
    }
    Err(EffectError::Failed {
        what: format!("stop {name}"),
        detail: format!("it is still {}", found.active_state),
        hint: Some(format!("sudo systemctl kill -s KILL {name}")),
    })
}

/// The service's part of an instance's name; `web` is left out.
const WEB: &str = "web";

fn service_of(rest: &str) -> Option<ServiceName> {
    let name = if rest.is_empty() { WEB } else { rest.strip_prefix('-')? };
    ServiceName::new(name).ok()
}
