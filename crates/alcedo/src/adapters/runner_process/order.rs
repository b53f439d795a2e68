//! What a shim is told about one process of a binding.

use crate::shim::files::{Kind, LOG_LIMIT_BYTES, Restart, Spec, VERSION};
use alcedo_core::binding::{Address, Binding, Process};
use std::path::PathBuf;

/// The spec for `process`.
pub(super) fn spec(binding: &Binding, process: &Process, log: PathBuf) -> Spec {
    let mut env = process.env.clone();
    env.entry("ALCEDO_BINDING".to_owned()).or_insert_with(|| binding.id.to_string());
    Spec {
        version: VERSION,
        kind: Kind::App,
        binding: binding.id.to_string(),
        argv: process.argv.clone(),
        env,
        dir: process.dir.clone(),
        log,
        log_limit_bytes: LOG_LIMIT_BYTES,
        sockets: sockets(process),
        stop_signal: process.stop.signal.clone(),
        stop_timeout_ms: u64::try_from(process.stop.timeout.as_millis()).unwrap_or(u64::MAX),
        restart: Restart::APP,
    }
}

/// The Unix sockets it binds.
pub(super) fn sockets(process: &Process) -> Vec<PathBuf> {
    match &process.address {
        Address::Tcp(_) => Vec::new(),
        Address::Unix(path) => vec![path.clone()],
    }
}
