//! Everything of a user comes to its end: the daemon first, so that nothing is started again; the proxy last.

use crate::adapters::clock;
use crate::adapters::runner_process::ProcessRunner;
use crate::engine::ports::{Call, Cancel, Runner};
use crate::paths::Paths;
use crate::supervise::{Own, Supervisor};
use alcedo_core::{AppName, Slot};
use anyhow::Context;
use std::path::Path;
use std::time::Duration;

/// An app's processes are stopped by then.
const LIMIT: Duration = Duration::from_secs(90);

/// Stops daemon, apps and proxy. Goes on past what cannot be stopped.
///
/// # Errors
/// The first thing that could not be stopped.
pub(crate) fn stop_everything(paths: &Paths, exe: &Path, apps: &[AppName]) -> anyhow::Result<()> {
    let supervisor = Supervisor::new(paths.clone(), exe.to_owned());
    let own = |own: Own| {
        let name = own.as_str();
        supervisor.stop(own).map(|_| ()).with_context(|| format!("failed to stop the {name}"))
    };
    let daemon = own(Own::Daemon);
    let runner = ProcessRunner::new(paths.clone(), exe.to_owned());
    let slots = apps.iter().flat_map(|app| Slot::BOTH.map(|slot| (app, slot)));
    let slots: Vec<anyhow::Result<()>> = slots
        .map(|(app, slot)| {
            let deadline = clock::now().after(LIMIT);
            let call = Call { deadline, cancel: &Cancel::default(), progress: &|_| {} };
            let stopped = runner.stop(app, slot, &call).map(|_| ());
            stopped.with_context(|| format!("failed to stop {slot} of {app}"))
        })
        .collect();
    let proxy = own(Own::Proxy);
    std::iter::once(daemon).chain(slots).chain([proxy]).collect()
}
