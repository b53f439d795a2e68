//! Does what is pending: files whole, programs by argument list, and once, after all, what has to follow.

use super::account;
use super::accounts;
use super::host::PROXY;
use super::step::{After, Change, Owner, Pending, SetupError};
use crate::adapters::exec::{self, Ended, Exit};
use crate::files::write_atomically;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;
use std::time::Duration;

/// For each program. A unit's start and stop have limits of their own, shorter than this.
const LIMIT: Duration = Duration::from_secs(120);

/// What was done, for the sentence about privileges.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) files: usize,
    pub(crate) users: Vec<String>,
    pub(crate) commands: Vec<String>,
}

impl Applied {
    /// Which rights of root were used, and for what.
    pub(crate) fn privileges(&self) -> Vec<String> {
        let mut used = Vec::new();
        if self.files > 0 {
            used.push(format!("root: wrote {} files and directories", self.files));
        }
        used.extend(self.users.iter().map(|user| format!("root: made the user {user}")));
        used.extend(self.commands.iter().map(|command| format!("root: ran `{command}`")));
        used
    }
}

/// Does all of it, in order. `tell` gets each title when its change is made.
pub(crate) fn apply(
    pending: &[Pending<'_>],
    tell: &mut dyn FnMut(&str),
) -> Result<Applied, SetupError> {
    let mut applied = Applied::default();
    let mut after = BTreeSet::new();
    let (units, rest): (Vec<_>, Vec<_>) = pending
        .iter()
        .partition(|p| matches!(p.step.change, Change::Enabled { .. } | Change::Running { .. }));
    for pending in &rest {
        tell(&pending.title);
        change(pending, &mut applied)?;
        after.extend(pending.step.after.iter().cloned());
    }
    // Units can only be enabled once systemd has read them, and what restarts must find what it is to read.
    let (mut last, first): (BTreeSet<_>, BTreeSet<_>) =
        after.into_iter().partition(|after| matches!(after, After::Restart(_) | After::Start(_)));
    for after in first {
        follow(&after, &mut applied, tell)?;
    }
    for pending in &units {
        if stops_proxy(pending)? {
            let argv = ["systemctl", "stop", PROXY].map(str::to_owned);
            tell(&format!("$ {}", argv.join(" ")));
            run_whole(&argv)?;
            applied.commands.push(argv.join(" "));
        }
        tell(&pending.title);
        change(pending, &mut applied)?;
        last.extend(pending.step.after.iter().cloned());
    }
    let started = |unit: &String| {
        units.iter().any(|p| matches!(&p.step.change, Change::Running { unit: u } if u == unit))
    };
    for after in last {
        // What was started just now has read everything.
        if !matches!(&after, After::Restart(unit) | After::Start(unit) if started(unit)) {
            follow(&after, &mut applied, tell)?;
        }
    }
    Ok(applied)
}

/// A socket is only given to a service that does not run; those that it has stay open meanwhile, with their units.
fn stops_proxy(pending: &Pending<'_>) -> Result<bool, SetupError> {
    match &pending.step.change {
        Change::Running { unit } if unit.ends_with(".socket") => is_active(PROXY),
        Change::Running { .. }
        | Change::File { .. }
        | Change::Directory { .. }
        | Change::Program { .. }
        | Change::User { .. }
        | Change::Login { .. }
        | Change::Key { .. }
        | Change::Member { .. }
        | Change::Enabled { .. } => Ok(false),
    }
}

fn change(pending: &Pending<'_>, applied: &mut Applied) -> Result<(), SetupError> {
    match &pending.step.change {
        Change::File { path, text, mode, owner } => {
            write(path, text, *mode, owner)?;
            applied.files += 1;
        }
        Change::Directory { path, mode, owner } => {
            make_directory(path, *mode, owner)?;
            applied.files += 1;
        }
        Change::Program { from, to } => {
            install(from, to)?;
            applied.files += 1;
        }
        Change::Key { user, key, app } => {
            account::admit(user, key, app)?;
            applied.files += 1;
        }
        Change::User { name, .. } | Change::Login { name } => {
            run_whole(&pending.step.argv().unwrap_or_default())?;
            applied.users.push(name.clone());
        }
        Change::Member { .. } | Change::Enabled { .. } => {
            let argv = pending.step.argv().unwrap_or_default();
            run_whole(&argv)?;
            applied.commands.push(argv.join(" "));
        }
        Change::Running { unit } => {
            let argv = pending.step.argv().unwrap_or_default();
            run_whole(&argv)?;
            applied.commands.push(argv.join(" "));
            if !is_active(unit)? {
                return Err(SetupError::Down { unit: unit.clone() });
            }
        }
    }
    Ok(())
}

fn follow(
    after: &After,
    applied: &mut Applied,
    tell: &mut dyn FnMut(&str),
) -> Result<(), SetupError> {
    let argv = after.argv();
    tell(&format!("$ {}", argv.join(" ")));
    run_whole(&argv)?;
    applied.commands.push(argv.join(" "));
    Ok(())
}

/// The old file or the new one, whole, with its owner from the first moment on.
fn write(path: &Path, text: &str, mode: u32, owner: &Owner) -> Result<(), SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    write_atomically(path, text.as_bytes(), 0o600).map_err(|e| failed(std::io::Error::other(e)))?;
    own(path, owner)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}

/// Some lie in directories of another user, who could have put a link there: it is not followed.
fn make_directory(path: &Path, mode: u32, owner: &Owner) -> Result<(), SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(failed)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let (uid, gid) = ids(path, owner)?;
    let dir = fs::File::from(dir);
    std::os::unix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(failed)?;
    dir.set_permissions(Permissions::from_mode(mode)).map_err(failed)
}

fn own(path: &Path, owner: &Owner) -> Result<(), SetupError> {
    let (uid, gid) = ids(path, owner)?;
    lchown(path, Some(uid), Some(gid))
        .map_err(|source| SetupError::File { path: path.to_owned(), source })
}

fn ids(path: &Path, owner: &Owner) -> Result<(u32, u32), SetupError> {
    let missing = |what: &str| SetupError::File {
        path: path.to_owned(),
        source: std::io::Error::other(format!("there is no user or group `{what}`")),
    };
    let uid = accounts::uid(&owner.user).ok_or_else(|| missing(&owner.user))?;
    let gid = accounts::gid(&owner.group).ok_or_else(|| missing(&owner.group))?;
    Ok((uid, gid))
}

/// A program that runs keeps its old file; the name gets the new one.
fn install(from: &Path, to: &Path) -> Result<(), SetupError> {
    let failed = |source| SetupError::File { path: to.to_owned(), source };
    let fresh = to.with_extension("fresh");
    fs::copy(from, &fresh).map_err(failed)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o755)).map_err(failed)?;
    fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&fresh, to).map_err(failed)?;
    let dir = to.parent().unwrap_or(Path::new("/"));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Whether the unit runs: `systemctl` answers with its exit status.
pub(super) fn is_active(unit: &str) -> Result<bool, SetupError> {
    let argv = ["systemctl", "is-active", "--quiet", unit].map(str::to_owned);
    Ok(run(&argv)?.exit == Exit::Status(0))
}

pub(super) fn run_whole(argv: &[String]) -> Result<(), SetupError> {
    let ended = run(argv)?;
    if ended.exit == Exit::Status(0) {
        return Ok(());
    }
    let (command, output) = (argv.join(" "), ended.last_lines(3));
    Err(SetupError::Refused { command, exit: ended.exit, output })
}

fn run(argv: &[String]) -> Result<Ended, SetupError> {
    Ok(exec::run_simply(argv.to_vec(), LIMIT)?)
}
