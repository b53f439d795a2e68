//! The part of `setup` that is nginx's: the daemon says where the app will be reached, nginx is told by root.

use super::{Target, refused};
use crate::commands::session::Session;
use crate::paths::Paths;
use crate::setup::{Site, SiteStep};
use alcedo_core::nginx::Upstream;
use std::os::unix::net::UnixStream;

/// What would change; without a daemon that can be asked, with the ports that a first deploy picks.
pub(super) fn shown(session: &Session, app: &Target, site: &Site) -> anyhow::Result<Vec<SiteStep>> {
    if !rustix::process::geteuid().is_root() {
        let title = "nginx's site: cannot be compared without root".to_owned();
        return Ok(vec![SiteStep { title, diff: Vec::new() }]);
    }
    let answers = UnixStream::connect(Paths::system().daemon_socket()).is_ok();
    let known = answers.then(|| entries(session, app).ok()).flatten();
    let upstreams = known.unwrap_or_else(|| site.likely_upstreams());
    site.pending(&upstreams).map_err(refused)
}

/// Changes it, and says what.
pub(super) fn install(
    session: &mut Session,
    app: &Target,
    site: &Site,
) -> anyhow::Result<Vec<SiteStep>> {
    let upstreams = entries(session, app)?;
    let changes = site.pending(&upstreams).map_err(refused)?;
    site.install(&upstreams).map_err(refused)?;
    if !session.json() {
        for change in &changes {
            session.reporter.words(&change.title);
        }
    }
    Ok(changes)
}

fn entries(session: &Session, app: &Target) -> anyhow::Result<Vec<Upstream>> {
    let client = session.client(None)?;
    Ok(client.post(&format!("/v1/apps/{}/entries", app.name), &app.typed)?)
}
