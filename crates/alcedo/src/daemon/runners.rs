//! The runners of this host as one: each binding says what runs it, each slot is asked of whoever holds it.

use crate::adapters::runner_process::ProcessRunner;
use crate::adapters::runner_systemd::SystemdRunner;
use crate::engine::ports::{Call, EffectError, ProcessState, Runner, SlotState};
use crate::paths::Keeper;
use alcedo_core::binding::Binding;
use alcedo_core::config;
use alcedo_core::{AppName, Slot};

/// All of them.
pub(super) struct Runners {
    pub(super) process: ProcessRunner,
    pub(super) systemd: SystemdRunner,
    /// Where systemd keeps the daemon, what the daemon itself starts would end with it, and run as its user.
    pub(super) keeper: Keeper,
}

impl Runners {
    fn of(&self, binding: &Binding) -> &dyn Runner {
        match binding.runner {
            config::Runner::Process => &self.process,
            config::Runner::Systemd => &self.systemd,
        }
    }

    fn holder(&self, app: &AppName, slot: Slot) -> &dyn Runner {
        if self.systemd.holds(app, slot) { &self.systemd } else { &self.process }
    }
}

impl Runner for Runners {
    fn start(&self, binding: &Binding, call: &Call<'_>) -> Result<SlotState, EffectError> {
        if binding.runner == config::Runner::Process && self.keeper == Keeper::System {
            return Err(EffectError::Failed {
                what: format!("start {} in {}", binding.id, binding.slot),
                detail: "this host was prepared for apps that run as units of systemd".to_owned(),
                hint: Some("runner = \"systemd\", then: sudo alcedo setup".to_owned()),
            });
        }
        self.of(binding).start(binding, call)
    }

    /// Both: an app that changed its runner may have something of the other one left.
    fn stop(&self, app: &AppName, slot: Slot, call: &Call<'_>) -> Result<SlotState, EffectError> {
        self.systemd.stop(app, slot, call)?;
        self.process.stop(app, slot, call)
    }

    fn ensure(&self, binding: &Binding, call: &Call<'_>) -> Result<(), EffectError> {
        self.of(binding).ensure(binding, call)
    }

    fn observe(&self, app: &AppName, slot: Slot) -> Result<SlotState, EffectError> {
        self.holder(app, slot).observe(app, slot)
    }

    fn last_words(&self, app: &AppName, slot: Slot, seen: &ProcessState) -> String {
        self.holder(app, slot).last_words(app, slot, seen)
    }
}
