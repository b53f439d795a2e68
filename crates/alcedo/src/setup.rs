//! `setup`: prepares this host once, as root, so that everything afterwards needs none: users, directories, units, a
//! polkit rule. What it brings about is data ([`Step`]), so that it can be shown before it is done, done twice without
//! harm, and taken back.
//!
//! Structure only: nothing here knows a release or a slot's state. What nginx needs besides is a [`Site`].

mod account;
pub(crate) mod accounts;
mod app;
mod apply;
mod host;
mod nginx;
mod purge;
mod removal;
mod step;
mod units;

pub(crate) use account::PublicKey;
use app::AppPlan;
pub(crate) use apply::apply;
pub(crate) use nginx::{Site, SiteStep, files as site_files, hand_back};
pub(crate) use purge::{purge, purged};
pub(crate) use removal::{Really, of as part_of, remove};
pub(crate) use step::{Pending, SetupError, Step};

use crate::engine::order::Places;
use crate::paths::Paths;
use alcedo_core::AppName;
use alcedo_core::config::Config;
use std::path::PathBuf;

/// Where programs of one's own go.
pub(crate) const PROGRAM: &str = "/usr/local/bin/alcedo";
/// Where units of one's own go.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// First line of every file that `setup` writes: without it a file is somebody else's.
pub(super) const HEADER: &str = "# Written by `alcedo setup`, which also changes and removes it.";

/// Everything that this host, and the app on it when there is one, should have; in the order in which it is done.
///
/// # Errors
/// What stands in the way and was found before anything was changed.
pub(crate) fn plan(
    exe: PathBuf,
    app: Option<(&AppName, &Config)>,
) -> Result<Vec<Step>, SetupError> {
    refuse_other_systems()?;
    let paths = Paths::system();
    let is_passed_through = app.is_some_and(|(_, config)| nginx::form(config).is_some());
    let mut steps = host::steps(&paths, exe, is_passed_through);
    if let Some((name, config)) = app {
        let plan = AppPlan::new(name, config, &places(&paths))?;
        steps.extend(plan.steps(&paths));
    }
    // Sockets are there before the proxy starts, and the proxy before the daemon.
    steps.sort_by_key(Step::rank);
    Ok(steps)
}

/// The account that people log in to for an app, in the group that may use the daemon.
pub(crate) fn account(user: &str, key: PublicKey, app: &AppName) -> Vec<Step> {
    let (user, group) = (user.to_owned(), crate::paths::SYSTEM_USER.to_owned());
    vec![
        Step::of(step::Change::Login { name: user.clone() }),
        Step::of(step::Change::Member { user: user.clone(), group }),
        Step::of(step::Change::Key { user, key, app: app.to_string() }),
    ]
}

/// Without systemd there is nothing to write units for, and without polkit nothing that lets the daemon start them.
fn refuse_other_systems() -> Result<(), SetupError> {
    let needs = [
        ("/run/systemd/system", "a running systemd", "without one: alcedo setup --user"),
        ("/usr/share/polkit-1/actions", "polkit", "sudo apt-get install polkitd"),
    ];
    match needs.iter().find(|(path, ..)| !std::path::Path::new(path).is_dir()) {
        None => Ok(()),
        Some((_, what, hint)) => Err(SetupError::InTheWay {
            what: format!("prepare this host: it has not {what}"),
            hint: (*hint).to_owned(),
        }),
    }
}

/// Units of the app that are not as the configuration wants them, by name. Asked without root: only what everybody may
/// read is compared.
pub(crate) fn differing_units(name: &AppName, config: &Config) -> Vec<String> {
    let paths = Paths::system();
    let plan = match AppPlan::new(name, config, &places(&paths)) {
        Ok(plan) => plan,
        Err(error) => return vec![error.to_string()],
    };
    let differs = |step: Step| match step.change {
        step::Change::File { path, text, .. } if path.starts_with(UNITS) => {
            let is_same = std::fs::read_to_string(&path).is_ok_and(|found| found == text);
            let name = path.strip_prefix(UNITS).unwrap_or(&path).display().to_string();
            // Where traffic comes in is the router's, which also listens on what has no socket unit yet.
            (!is_same && !name.ends_with(".socket")).then_some(name)
        }
        step::Change::Login { .. }
        | step::Change::Key { .. }
        | step::Change::File { .. }
        | step::Change::Directory { .. }
        | step::Change::Program { .. }
        | step::Change::User { .. }
        | step::Change::Member { .. }
        | step::Change::Enabled { .. }
        | step::Change::Running { .. } => None,
    };
    let units = plan.steps(&paths).into_iter().filter_map(differs);
    units.chain(crate::adopt::waits(name, config)).collect()
}

/// The name of a user of this host, or the number.
pub(crate) fn user_name(uid: u32) -> String {
    accounts::name(uid)
}

fn places(paths: &Paths) -> Places {
    Places { apps: paths.apps.clone(), run: paths.run.clone(), ports: std::sync::Arc::default() }
}

/// What differs from how the host is now; the whole plan is done when this is empty.
///
/// # Errors
/// When something of somebody else's is in the way.
pub(crate) fn pending(steps: &[Step]) -> Result<Vec<Pending<'_>>, SetupError> {
    let looked: Result<Vec<Option<Pending<'_>>>, SetupError> =
        steps.iter().map(Step::pending).collect();
    Ok(looked?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
