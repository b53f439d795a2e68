//! One thing that `setup` brings about: what it is, how the host differs from it, and what has to follow.

use super::account::{self, PublicKey};
use super::accounts;
use super::{HEADER, PROGRAM, UNITS};
use crate::adapters::exec::{ExecError, Exit};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A change with what has to follow when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) change: Change,
    pub(crate) after: Vec<After>,
}

/// What should be.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A text file, whole; it begins with [`HEADER`] or is somebody else's.
    File { path: PathBuf, text: String, mode: u32, owner: Owner },
    /// A directory.
    Directory { path: PathBuf, mode: u32, owner: Owner },
    /// This program where units find it.
    Program { from: PathBuf, to: PathBuf },
    /// A system user with a group of the same name, who cannot log in.
    User { name: String, home: PathBuf },
    /// A user who can log in.
    Login { name: String },
    /// A key that this user lets in, for one app.
    Key { user: String, key: PublicKey, app: String },
    /// A user who may read what a group may.
    Member { user: String, group: String },
    /// A unit that starts at boot; `wants`: the target's directory that holds its link.
    Enabled { unit: String, wants: &'static str },
    /// A unit that runs now.
    Running { unit: String },
}

/// User and group by name: they may not exist before their step is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: String,
    pub(crate) group: String,
}

/// What follows a change, once, after all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum After {
    /// Directories in `/run` are made now, and not only at the next boot.
    MakeRunDirectories,
    /// systemd reads its units again.
    ReadUnits,
    /// The unit starts again, if it runs.
    Restart(String),
    /// The unit runs, last of all.
    Start(String),
}

/// A step that is not as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Pending<'a> {
    pub(crate) step: &'a Step,
    /// `/etc/…: new`, or the command that does it.
    pub(crate) title: String,
    /// The lines of a file that change.
    pub(crate) diff: Vec<String>,
}

/// Why the host cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Somebody else's.
    #[error("{what}")]
    InTheWay {
        /// A fragment that fits "failed to …".
        what: String,
        /// What to do.
        hint: String,
    },
    /// A file or directory.
    #[error("change {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not run.
    #[error("prepare this host")]
    Exec(#[from] ExecError),
    /// A program ran and refused.
    #[error("run `{command}`: {exit}: {output}")]
    Refused {
        /// As typed.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it said.
        output: String,
    },
    /// It was started and does not stay up.
    #[error("start {unit}: it does not run")]
    Down {
        /// Which.
        unit: String,
    },
}

impl SetupError {
    /// What to type.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::InTheWay { hint, .. } => Some(hint.clone()),
            Self::Down { unit } => Some(format!("journalctl -u {unit} -n 20")),
            Self::File { .. } | Self::Exec(_) | Self::Refused { .. } => None,
        }
    }
}

impl After {
    /// What is typed for it.
    pub(crate) fn argv(&self) -> Vec<String> {
        let words = match self {
            Self::MakeRunDirectories => {
                vec!["systemd-tmpfiles", "--create", "--prefix=/run/alcedo"]
            }
            Self::ReadUnits => vec!["systemctl", "daemon-reload"],
            Self::Restart(unit) => vec!["systemctl", "try-restart", unit],
            Self::Start(unit) => vec!["systemctl", "start", unit],
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

impl Owner {
    /// Root's own.
    pub(crate) fn root() -> Self {
        Self::of("root", "root")
    }

    pub(crate) fn of(user: &str, group: &str) -> Self {
        Self { user: user.to_owned(), group: group.to_owned() }
    }

    fn owns(&self, metadata: &fs::Metadata) -> bool {
        accounts::uid(&self.user) == Some(metadata.uid())
            && accounts::gid(&self.group) == Some(metadata.gid())
    }
}

impl Step {
    /// A step that nothing has to follow.
    pub(crate) fn of(change: Change) -> Self {
        Self { change, after: Vec::new() }
    }

    /// A file for root alone to change, which everybody may read.
    pub(crate) fn file(path: impl Into<PathBuf>, text: String) -> Self {
        let (path, owner) = (path.into(), Owner::root());
        Self::of(Change::File { path, text, mode: 0o644, owner })
    }

    /// A file among the units.
    pub(crate) fn unit(name: &str, text: String) -> Self {
        Self::file(Path::new(UNITS).join(name), text).then(After::ReadUnits)
    }

    /// Files first, then what systemd is told, then what runs, sockets before services.
    pub(super) fn rank(&self) -> u8 {
        match &self.change {
            Change::File { .. }
            | Change::Directory { .. }
            | Change::Program { .. }
            | Change::User { .. }
            | Change::Login { .. }
            | Change::Key { .. }
            | Change::Member { .. } => 0,
            Change::Enabled { .. } => 1,
            Change::Running { unit } if unit.ends_with(".socket") => 2,
            Change::Running { .. } => 3,
        }
    }

    /// With one more thing that has to follow.
    pub(crate) fn then(mut self, after: After) -> Self {
        self.after.push(after);
        self
    }

    /// How the host differs; `None`: it does not.
    pub(super) fn pending(&self) -> Result<Option<Pending<'_>>, SetupError> {
        let found = match &self.change {
            Change::File { path, text, mode, owner } => file(path, text, *mode, owner)?,
            Change::Directory { path, mode, owner } => directory(path, *mode, owner)?,
            Change::Program { from, to } => program(from, to)?,
            Change::User { name, .. } | Change::Login { name } => {
                accounts::uid(name).is_none().then(|| self.command())
            }
            Change::Key { user, key, app } => admission(user, key, app)?,
            Change::Member { user, group } => {
                (!accounts::is_member(user, group)).then(|| self.command())
            }
            Change::Enabled { unit, wants } => {
                let link = Path::new(UNITS).join(wants).join(unit);
                fs::symlink_metadata(link).is_err().then(|| self.command())
            }
            Change::Running { unit } => (!super::apply::is_active(unit)?).then(|| self.command()),
        };
        Ok(found.map(|(title, diff)| Pending { step: self, title, diff }))
    }

    /// What is typed for it, for those that a program does.
    pub(super) fn argv(&self) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        match &self.change {
            Change::File { .. }
            | Change::Directory { .. }
            | Change::Program { .. }
            | Change::Key { .. } => None,
            Change::Login { name } => {
                words(&["useradd", "--create-home", "--user-group", "--shell", "/bin/sh", name])
            }
            Change::User { name, home } => words(&[
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                &home.display().to_string(),
                "--shell",
                "/usr/sbin/nologin",
                name,
            ]),
            Change::Member { user, group } => {
                words(&["usermod", "--append", "--groups", group, user])
            }
            Change::Enabled { unit, .. } => words(&["systemctl", "enable", "--quiet", unit]),
            Change::Running { unit } => words(&["systemctl", "start", unit]),
        }
    }

    fn command(&self) -> (String, Vec<String>) {
        (format!("$ {}", self.argv().unwrap_or_default().join(" ")), Vec::new())
    }
}

type Found = Option<(String, Vec<String>)>;

fn admission(user: &str, key: &PublicKey, app: &str) -> Result<Found, SetupError> {
    let path = account::file(user);
    let old = account::read(&path);
    let old = old.map_err(|source| SetupError::File { path: path.clone(), source })?;
    let title = format!("{} ({user}:{user} 0600): changed", path.display());
    let new = account::admitted(&old, key, app);
    Ok(new.map(|new| (title, crate::diff::lines(&old, &new))))
}

fn file(path: &Path, text: &str, mode: u32, owner: &Owner) -> Result<Found, SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    let title = |what: &str| {
        format!("{} ({}:{} {mode:04o}): {what}", path.display(), owner.user, owner.group)
    };
    let old = match fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some((title("new"), crate::diff::lines("", text))));
        }
        // A dry run without root may not read all of it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Some((title("cannot be compared without root"), Vec::new())));
        }
        Err(error) => return Err(failed(error)),
    };
    let header = if path.extension().is_some_and(|e| e == "rules") { "//" } else { "#" };
    if !old.starts_with(&HEADER.replacen('#', header, 1)) {
        return Err(SetupError::InTheWay {
            what: format!("write {}: it is there, and not by `alcedo setup`", path.display()),
            hint: format!("look at it; if it may go: sudo rm {}", path.display()),
        });
    }
    if old != text {
        return Ok(Some((title("changed"), crate::diff::lines(&old, text))));
    }
    let metadata = fs::metadata(path).map_err(failed)?;
    let is_same = metadata.mode() & 0o7777 == mode && owner.owns(&metadata);
    Ok((!is_same).then(|| (title("owner and mode"), Vec::new())))
}

fn directory(path: &Path, mode: u32, owner: &Owner) -> Result<Found, SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    let title = |what: &str| {
        format!("{}/ ({}:{} {mode:04o}): {what}", path.display(), owner.user, owner.group)
    };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some((title("new"), Vec::new())));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Some((title("cannot be looked at without root"), Vec::new())));
        }
        other => other.map_err(failed)?,
    };
    if !metadata.is_dir() {
        return Err(SetupError::InTheWay {
            what: format!("make the directory {}: something else is there", path.display()),
            hint: format!("look at it: ls -l {}", path.display()),
        });
    }
    let is_ours = accounts::uid(&owner.user) == Some(metadata.uid());
    let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if !is_ours && !is_empty() {
        return Err(SetupError::InTheWay {
            what: format!(
                "take over {}: it belongs to user {} and is not empty",
                path.display(),
                accounts::name(metadata.uid())
            ),
            hint: format!("look at it; if it may go: sudo mv {0} {0}.old", path.display()),
        });
    }
    let is_same = metadata.mode() & 0o7777 == mode && owner.owns(&metadata);
    Ok((!is_same).then(|| (title("owner and mode"), Vec::new())))
}

fn program(from: &Path, to: &Path) -> Result<Found, SetupError> {
    if from == to {
        return Ok(None);
    }
    let hash = |path: &Path| fs::read(path).map(|bytes| blake3::hash(&bytes));
    let new = hash(from).map_err(|source| SetupError::File { path: from.to_owned(), source })?;
    if hash(to).is_ok_and(|old| old == new) {
        return Ok(None);
    }
    let title = format!("{PROGRAM} (root:root 0755): this program, {}", from.display());
    Ok(Some((title, Vec::new())))
}
