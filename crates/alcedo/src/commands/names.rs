//! Names for completion scripts: apps and releases as they were last shown on this machine. Never asks a daemon or a
//! network; a missing or broken file completes nothing.

use crate::cli::NamesArgs;
use crate::paths::{Keeper, Paths};
use crate::report::ended::exit;
use crate::views::{ReleasesView, StatusView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Releases of one app that are kept.
const RELEASES_MAX: usize = 50;

/// Version 1 of the file; readers take what they do not know as absent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Names {
    apps: Vec<String>,
    releases: BTreeMap<String, Vec<String>>,
}

/// `__names apps`, `__names releases`.
pub(crate) fn print(args: &NamesArgs) -> u8 {
    let names = read().unwrap_or_default();
    let list = match args.kind.as_str() {
        "apps" => names.apps,
        _ => names.releases.into_values().flatten().collect(),
    };
    let mut out = std::io::stdout();
    for name in list {
        let _ = writeln!(out, "{name}");
    }
    exit::DONE
}

/// Every app of the host was shown.
pub(crate) fn keep_apps(view: &StatusView) {
    change(|names| {
        names.apps = view.apps.iter().map(crate::views::AppView::name).collect();
        names.releases.retain(|app, _| names.apps.contains(app));
    });
}

/// An app's releases were shown.
pub(crate) fn keep_releases(app: &str, view: &ReleasesView) {
    change(|names| {
        let ids = view.releases.iter().take(RELEASES_MAX).map(|r| r.release.clone()).collect();
        names.releases.insert(app.to_owned(), ids);
        if !names.apps.iter().any(|known| known == app) {
            names.apps.push(app.to_owned());
        }
    });
}

/// Only a convenience: what cannot be written is not completed.
fn change(edit: impl FnOnce(&mut Names)) {
    let Some(path) = path() else { return };
    let mut names = read().unwrap_or_default();
    edit(&mut names);
    let text = serde_json::to_vec(&names).unwrap_or_default();
    let Some(dir) = path.parent() else { return };
    let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
        file.write_all(&text)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    });
    if let Err(error) = written {
        tracing::debug!("names for completion are not kept: {error}");
    }
}

fn read() -> Option<Names> {
    serde_json::from_slice(&std::fs::read(path()?).ok()?).ok()
}

fn path() -> Option<PathBuf> {
    let paths = Paths::choose().ok()?;
    // Whoever types does not write where the daemon's user could have put a link.
    (paths.keeper == Keeper::User).then(|| paths.state.join("names.json"))
}
