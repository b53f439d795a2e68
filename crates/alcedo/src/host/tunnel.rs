//! `alcedo host tunnel APP`: stdin and stdout become one connection to the slot without traffic.

use crate::api::Failed;
use crate::paths::Paths;
use crate::transport::{CallError, Client, Door, to_slot};
use crate::views::StatusView;
use alcedo_core::{AppName, Slot};
use std::io;

/// Where the app's slot without traffic listens, as the daemon says.
pub(super) fn find(app: Option<AppName>, paths: &Paths) -> Result<String, Failed> {
    let app =
        app.ok_or_else(|| Failed::usage("a tunnel leads to an app: alcedo host tunnel APP"))?;
    let revive = Box::new(|| Ok(()));
    let door = Door::Socket { path: paths.daemon_socket(), revive };
    let client = Client::new(door).map_err(|error| Failed::new("host", error.to_string(), 1))?;
    let status: StatusView =
        client.get(&format!("/v1/status?app={app}")).map_err(|error| match error {
            CallError::Refused(failed) => failed,
            error @ (CallError::Unreached { .. }
            | CallError::Version { .. }
            | CallError::Unread { .. }) => Failed::new("host", format!("failed to {error}"), 6),
        })?;
    let view = status.apps.first();
    let slot = view.and_then(|view| view.live_slot()).map_or(Slot::Blue, Slot::other);
    let address = view.and_then(|view| view.slots.get(&slot)?.processes.first()?.address.clone());
    address.ok_or_else(|| {
        Failed::usage(format!("{slot} of {app} runs nothing")).hint("alcedo deploy --stage")
    })
}

/// Both ways, until either ends.
pub(super) fn serve(address: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let here = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        to_slot(here, address).await
    });
    // A read of stdin that waits for ever must not keep this process.
    runtime.shutdown_background();
    served
}
