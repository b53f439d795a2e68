//! What an instance of an app's unit runs: `state/slots/APP/INSTANCE`, read by systemd (as a credential) and by
//! `alcedo exec`.
//!
//! Version 1. Readers refuse a newer one; fields are added with `#[serde(default)]` and never renamed. Private (0600): it
//! holds the app's environment.

use super::{WEB, service_of};
use crate::engine::ports::EffectError;
use crate::files::{sync_dir, write_atomically};
use crate::paths;
use alcedo_core::binding::{Binding, BindingId, Pool, Process};
use alcedo_core::{AppName, ServiceName, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Of this file's format.
const VERSION: u32 = 1;
/// systemd passes credentials of up to 1 MiB.
const BYTES_MAX: usize = 1 << 20;

/// What an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    version: u32,
    pub(super) app: AppName,
    pub(super) slot: Slot,
    pub(super) service: ServiceName,
    pub(super) binding: BindingId,
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) dir: PathBuf,
    /// Of a pool of php-fpm: what is written before each start.
    #[serde(default)]
    pub(super) pool: Option<Pool>,
}

impl Order {
    pub(super) fn of(binding: &Binding, process: &Process) -> Self {
        Self {
            version: VERSION,
            app: binding.app.clone(),
            slot: binding.slot,
            service: process.name.clone(),
            binding: binding.id.clone(),
            argv: process.argv.clone(),
            env: process.env.clone(),
            dir: process.dir.clone(),
            pool: process.pool.clone(),
        }
    }

    /// The name of its instance.
    pub(super) fn instance(&self) -> String {
        instance(self.slot, &self.service)
    }

    /// Reads one; says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if order.version != VERSION {
            return Err(format!("it has version {}, this alcedo reads {VERSION}", order.version));
        }
        Ok(order)
    }
}

/// The instance of a service in a slot: `blue` for `web`, `blue-api` for any other.
pub(crate) fn instance(slot: Slot, service: &ServiceName) -> String {
    match service.as_str() {
        WEB => slot.to_string(),
        other => format!("{slot}-{other}"),
    }
}

/// The unit of an instance: `shop@blue.service`.
pub(crate) fn unit(app: &AppName, instance: &str) -> String {
    format!("{app}@{instance}.service")
}

/// The slot and the service of an instance's name.
fn parse_instance(name: &str) -> Option<(Slot, ServiceName)> {
    Slot::BOTH.into_iter().find_map(|slot| {
        let rest = name.strip_prefix(slot.as_str())?;
        Some((slot, service_of(rest)?))
    })
}

/// The orders of one app.
pub(super) struct Orders {
    dir: PathBuf,
}

impl Orders {
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Those of a slot, by service.
    pub(super) fn of(&self, slot: Slot) -> Result<Vec<Order>, EffectError> {
        let failed = |error: io::Error| {
            EffectError::failed(format!("read the orders in {}", self.dir.display()), error)
        };
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if parse_instance(name).is_some_and(|(of, _)| of == slot) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        let orders: Result<Vec<_>, _> = names.iter().map(|name| self.read(name)).collect();
        Ok(orders?.into_iter().flatten().collect())
    }

    /// The order of an instance.
    pub(super) fn read(&self, instance: &str) -> Result<Option<Order>, EffectError> {
        let path = self.dir.join(instance);
        let failed = |error: String| EffectError::Failed {
            what: format!("read {}", path.display()),
            detail: error,
            hint: Some(format!("if nothing runs there: rm {}", path.display())),
        };
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
            Ok(bytes) => Order::parse(&bytes).map(Some).map_err(failed),
        }
    }

    /// Durable when it returns: a power cut a moment later must bring back this and nothing else.
    pub(super) fn write(&self, instance: &str, order: &Order) -> Result<(), EffectError> {
        let path = self.dir.join(instance);
        let failed = |error: &dyn std::fmt::Display| {
            EffectError::failed(format!("write {}", path.display()), error)
        };
        let is_new = !self.dir.is_dir();
        paths::make_private(&self.dir).map_err(|error| failed(&error))?;
        if is_new && let Some(above) = self.dir.parent() {
            sync_dir(above)?;
        }
        let bytes = serde_json::to_vec(order).map_err(|error| failed(&error))?;
        if bytes.len() > BYTES_MAX {
            return Err(failed(&"command and environment together are larger than 1 MiB"));
        }
        Ok(write_atomically(&path, &bytes, 0o600)?)
    }

    pub(super) fn remove(&self, instance: &str) -> Result<(), EffectError> {
        let path = self.dir.join(instance);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EffectError::failed(format!("remove {}", path.display()), error))
            }
            Ok(()) | Err(_) => Ok(sync_dir(&self.dir)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(service: &str, slot: Slot) -> Order {
        Order {
            version: VERSION,
            app: AppName::new("shop").unwrap(),
            slot,
            service: ServiceName::new(service).unwrap(),
            binding: BindingId::new(alcedo_core::DeployId(3), slot),
            argv: vec!["bin/web".into()],
            env: BTreeMap::new(),
            dir: "/srv/shop/releases/x".into(),
            pool: None,
        }
    }

    #[test]
    fn instances_are_named_after_slot_and_service_and_come_back() {
        for (service, wanted) in [("web", "blue"), ("api", "blue-api"), ("green", "blue-green")] {
            let name = instance(Slot::Blue, &ServiceName::new(service).unwrap());
            assert_eq!(name, wanted);
            let (slot, found) = parse_instance(&name).unwrap();
            assert_eq!((slot, found.as_str()), (Slot::Blue, service));
        }
        for strange in ["blue-", "bluest", "red", "blue.tmp", ""] {
            assert_eq!(parse_instance(strange), None, "{strange}");
        }
    }

    #[test]
    fn orders_of_a_slot_come_back_and_go_alone() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::at(dir.path().join("slots/shop"));
        assert_eq!(orders.of(Slot::Blue).unwrap(), []);
        let (web, api) = (order("web", Slot::Blue), order("api", Slot::Blue));
        for order in [&web, &api, &order("web", Slot::Green)] {
            orders.write(&order.instance(), order).unwrap();
        }
        assert_eq!(orders.of(Slot::Blue).unwrap(), [web.clone(), api]);
        let mode = std::os::unix::fs::MetadataExt::mode(
            &fs::metadata(dir.path().join("slots/shop/blue")).unwrap(),
        );
        assert_eq!(mode & 0o777, 0o600, "it holds secrets");
        orders.remove("blue").unwrap();
        orders.remove("blue").unwrap();
        assert_eq!(orders.of(Slot::Blue).unwrap().len(), 1);
        assert_eq!(orders.of(Slot::Green).unwrap().len(), 1);
    }

    #[test]
    fn a_newer_order_is_refused_by_name() {
        let mut newer = order("web", Slot::Blue);
        newer.version = 2;
        let error = Order::parse(&serde_json::to_vec(&newer).unwrap()).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
    }
}
