//! `setup --purge`: deletes what `--remove` leaves of an app. The journal keeps its history.

use super::accounts;
use super::apply::run_whole;
use super::step::SetupError;
use crate::files::erase;
use crate::paths::Paths;
use alcedo_core::AppName;
use alcedo_core::config::Config;
use std::path::{Path, PathBuf};

/// What alcedo itself makes in an app's directory; anything else there is somebody's.
const PARTS: [&str; 7] = ["releases", "shared", "incoming", "cache", "logs", "tmp", "current"];

/// What is deleted, as far as it is there.
pub(crate) fn purged(app: &AppName, config: &Config) -> Vec<PathBuf> {
    all(app, config).into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Deletes it, and the app's user when `setup` made it.
pub(crate) fn purge(app: &AppName, config: &Config) -> Result<(), SetupError> {
    for path in purged(app, config) {
        let failed = |source| SetupError::File { path: path.clone(), source };
        let meta = path.symlink_metadata().map_err(failed)?;
        match meta.is_dir() {
            true => erase(&path).map_err(|error| failed(std::io::Error::other(error)))?,
            false => std::fs::remove_file(&path).map_err(failed)?,
        }
    }
    let root = root(app, config);
    // One that holds more stays, with what it holds.
    let _ = std::fs::remove_dir(&root);
    let user = app.as_str();
    let is_made_here = accounts::home(user).is_some_and(|home| Path::new(&home) == root);
    if config.systemd.user.is_none() && is_made_here {
        run_whole(&["userdel", user].map(str::to_owned))?;
    }
    Ok(())
}

fn all(app: &AppName, config: &Config) -> Vec<PathBuf> {
    let root = root(app, config);
    let paths = Paths::system();
    let logs = paths.state.join("logs").join(app.as_str());
    let of_state = [logs, paths.orders(app), paths.router().join(app.as_str())];
    let logs = super::nginx::log_dir(app);
    PARTS.iter().map(|part| root.join(part)).chain(of_state).chain([logs]).collect()
}

fn root(app: &AppName, config: &Config) -> PathBuf {
    super::places(&Paths::system()).root(app, config)
}
