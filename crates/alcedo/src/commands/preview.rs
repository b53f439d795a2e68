//! `preview`: the slot without traffic, for whoever asks.

use super::app::App;
use super::session::{Session, status_of};
use super::signals::Signals;
use crate::api::{Failed, Preview, PreviewCall};
use crate::cli::PreviewArgs;
use crate::report::ended::exit;
use crate::transport::Tunnel;
use alcedo_core::Slot;
use anyhow::Context;

/// Runs `preview`.
pub(crate) fn run(session: &mut Session, args: &PreviewArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    if args.tunnel {
        return tunnel(session, &app);
    }
    let client = session.client(Some(&app))?;
    let call = PreviewCall { off: args.off };
    let preview: Preview = client.post(&format!("/v1/apps/{}/preview", app.name), &call)?;
    if session.json() {
        session.print_json(&preview);
        return Ok(exit::DONE);
    }
    let Preview { url, slot, release, expires_at } = preview;
    let Some(url) = url else {
        session.reporter.words("No link is good any more.");
        return Ok(exit::DONE);
    };
    let until = expires_at.map(|at| session.reporter.zone.minute(&at)).unwrap_or_default();
    session.reporter.words(&format!(
        "{slot} {release}, only for browsers that open this link (until {until}):"
    ));
    session.print(&[url]);
    Ok(exit::DONE)
}

/// Until Ctrl-C: a port of this machine that leads to the slot without traffic.
fn tunnel(session: &mut Session, app: &App) -> anyhow::Result<u8> {
    let signals = Signals::catch()?;
    let client = session.client(Some(app))?;
    let (view, _) = status_of(&client, app)?.ok_or_else(|| {
        Failed::usage(format!("no app called {} there", app.name)).hint("alcedo status")
    })?;
    let slot = view.live_slot().map_or(Slot::Blue, Slot::other);
    let idle = view.slots.get(&slot);
    let address = idle.filter(|seen| !["empty", "stopped"].contains(&seen.state.as_str()));
    let address = address.and_then(|seen| seen.processes.first()?.address.clone());
    let Some(address) = address else {
        return Err(Failed::usage(format!("{slot} runs nothing: there is nothing to look at"))
            .hint("alcedo deploy --stage")
            .into());
    };
    let release = idle.and_then(|seen| seen.release.clone()).unwrap_or_default();
    let far = client.is_far();
    drop(client);
    let tunnel = Tunnel::open().context("listen on a port of this machine")?;
    let url = format!("http://{}", tunnel.address());
    if session.json() {
        session.print_json(&serde_json::json!({
            "url": url, "slot": slot, "release": release, "expires_at": null,
        }));
    } else {
        session.reporter.words(&format!("{slot} {release}, until Ctrl-C:"));
        session.print(&[url]);
    }
    let leads_to = || match far {
        true => session.door(Some(app), "tunnel"),
        false => Ok(None),
    };
    tunnel.serve(&address, leads_to, || signals.take())?;
    Ok(exit::DONE)
}
