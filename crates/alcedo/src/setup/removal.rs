//! `setup --remove`: takes back what `setup` wrote for an app, and with the last app what it wrote for the host.
//!
//! Releases, what is shared, the journal and the users stay: they hold what only their owner can throw away.

use super::apply::{is_active, run_whole};
use super::host::{DAEMON, PROXY};
use super::step::{Change, SetupError, Step};
use super::{HEADER, UNITS, accounts, units};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Whether it is done, or only said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Really {
    /// Done.
    Yes,
    /// Said.
    No,
}

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Units that were stopped and no longer start at boot.
    pub(crate) units: Vec<String>,
    /// Files that are gone.
    pub(crate) files: Vec<PathBuf>,
    /// Rights that users no longer have.
    pub(crate) rights: Vec<String>,
    /// What stays on purpose.
    pub(crate) kept: Vec<String>,
}

/// Takes the steps back, the last first. With [`Really::No`], only says what that would be.
pub(crate) fn remove(
    steps: &[Step],
    app: Option<&str>,
    really: Really,
) -> Result<Removed, SetupError> {
    let mut removed = Removed::default();
    for step in steps.iter().rev() {
        match &step.change {
            Change::Enabled { unit, .. } => disable(unit, app, really, &mut removed)?,
            Change::File { path, .. } => delete(path, app, really, &mut removed)?,
            Change::Directory { path, .. } if fs::read_dir(path).is_ok_and(has_none) => {
                if really == Really::Yes {
                    fs::remove_dir(path)
                        .map_err(|source| SetupError::File { path: path.clone(), source })?;
                }
                removed.files.push(path.clone());
            }
            Change::Directory { path, .. } if path.exists() => {
                removed.kept.push(format!("{}, which is not empty", path.display()));
            }
            Change::User { name, .. } | Change::Login { name } => {
                removed.kept.push(format!("the user {name}"))
            }
            Change::Member { user, group } if accounts::is_member(user, group) => {
                if really == Really::Yes {
                    run_whole(&["gpasswd", "--delete", user, group].map(str::to_owned))?;
                }
                removed.rights.push(format!("{user} in the group {group}"));
            }
            Change::Directory { .. }
            | Change::Program { .. }
            | Change::Key { .. }
            | Change::Member { .. }
            | Change::Running { .. } => {}
        }
    }
    if really == Really::Yes && !removed.files.is_empty() {
        run_whole(&["systemctl", "daemon-reload"].map(str::to_owned))?;
    }
    Ok(removed)
}

/// Apps that `setup` has prepared here, by their templates.
pub(super) fn apps() -> Vec<String> {
    let entries = fs::read_dir(UNITS).into_iter().flatten().flatten();
    let mut apps: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let app = name.strip_suffix("@.service")?.to_owned();
            fs::read_to_string(entry.path()).ok()?.starts_with(HEADER).then_some(app)
        })
        .collect();
    apps.sort();
    apps
}

fn has_none(mut entries: fs::ReadDir) -> bool {
    entries.next().is_none()
}

/// Other apps that a socket unit is there for.
fn others(path: &Path, app: Option<&str>) -> std::collections::BTreeSet<String> {
    let mut apps = units::socket_apps(&fs::read_to_string(path).unwrap_or_default());
    apps.retain(|other| Some(other.as_str()) != app);
    apps
}

fn disable(
    unit: &str,
    app: Option<&str>,
    really: Really,
    removed: &mut Removed,
) -> Result<(), SetupError> {
    let is_socket = unit.ends_with(".socket");
    if is_socket && !others(&Path::new(UNITS).join(unit), app).is_empty() {
        return Ok(());
    }
    let is_linked = ["multi-user.target.wants", "sockets.target.wants"]
        .iter()
        .any(|wants| fs::symlink_metadata(Path::new(UNITS).join(wants).join(unit)).is_ok());
    if !is_linked && !is_active(unit)? {
        return Ok(());
    }
    if really == Really::Yes {
        run_whole(&["systemctl", "disable", "--quiet", "--now", unit].map(str::to_owned))?;
    }
    removed.units.push(unit.to_owned());
    Ok(())
}

fn delete(
    path: &Path,
    app: Option<&str>,
    really: Really,
    removed: &mut Removed,
) -> Result<(), SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    // Somebody else's, or another app's as well.
    if !text.contains(HEADER.trim_start_matches('#')) {
        removed.kept.push(format!("{}, which is not by `alcedo setup`", path.display()));
        return Ok(());
    }
    let others = others(path, app);
    if !others.is_empty() {
        if really == Really::Yes {
            let names: Vec<&str> = others.iter().map(String::as_str).collect();
            let line = |line: &str| match line.starts_with("# For: ") {
                true => format!("# For: {}\n", names.join(" ")),
                false => format!("{line}\n"),
            };
            fs::write(path, text.lines().map(line).collect::<String>()).map_err(failed)?;
        }
        return Ok(());
    }
    if really == Really::Yes {
        fs::remove_file(path).map_err(failed)?;
        // A directory of drop-ins goes with its last one.
        if let Some(dir) = path.parent().filter(|dir| dir.extension().is_some_and(|e| e == "d")) {
            let _ = fs::remove_dir(dir);
        }
    }
    removed.files.push(path.to_owned());
    Ok(())
}

/// The steps that go with this app: its own, and the host's when it is the last.
pub(crate) fn of(steps: Vec<Step>, app: Option<&str>) -> Vec<Step> {
    let others = apps().into_iter().any(|other| Some(other.as_str()) != app);
    if !others {
        return steps;
    }
    let is_host = |step: &Step| match &step.change {
        Change::Enabled { unit, .. } | Change::Running { unit } => {
            [DAEMON, PROXY].contains(&unit.as_str())
        }
        Change::File { path, .. } => super::host::FILES.iter().any(|file| path.ends_with(file)),
        Change::User { name, .. } => name == crate::paths::SYSTEM_USER,
        Change::Directory { owner, .. } => owner.group == crate::paths::SYSTEM_USER,
        Change::Program { .. } => true,
        Change::Member { .. } | Change::Login { .. } | Change::Key { .. } => false,
    };
    steps.into_iter().filter(|step| !is_host(step)).collect()
}
