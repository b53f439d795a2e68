//! Where things are under an app's root.
//!
//! ```text
//! releases/<id>/               a release, final from the first byte
//! releases/<id>~<n>/           the same with other shared files or settings
//! releases/.seals/<name>.json  its seal; without one a directory is a rest
//! releases/.seals/<name>.fetched  what was fetched, until it is sealed
//! shared/                      what both slots share
//! incoming/                    what is being sent from another machine, by content; 0700
//! ```

use crate::files::{FilesError, io_error, sync_dir};
use alcedo_core::ReleaseId;
use std::fs;
use std::path::{Path, PathBuf};

/// Paths under one root.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    pub(super) fn seals(&self) -> PathBuf {
        self.releases().join(".seals")
    }

    pub(super) fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn instance(&self, name: &InstanceName) -> PathBuf {
        self.releases().join(name.to_string())
    }

    pub(super) fn seal(&self, name: &InstanceName) -> PathBuf {
        self.seals().join(format!("{name}.json"))
    }

    pub(super) fn fetched(&self, name: &InstanceName) -> PathBuf {
        self.seals().join(format!("{name}.fetched"))
    }

    /// Makes the directories that every release needs, durably.
    pub(super) fn create(&self) -> Result<(), FilesError> {
        for dir in [self.seals(), self.shared()] {
            create_durably(&dir)?;
        }
        Ok(())
    }
}

/// Makes a directory with those above it, and syncs the name of each that is new.
fn create_durably(dir: &Path) -> Result<(), FilesError> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(above) = dir.parent() else { return Ok(()) };
    create_durably(above)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists || !dir.is_dir() => {
            Err(io_error("make the directory", dir)(error))
        }
        _ => sync_dir(above),
    }
}

/// Name of one directory under `releases/`: a release, or the n-th instance of it with other shared files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InstanceName {
    pub(super) release: ReleaseId,
    /// 0: the release itself.
    pub(super) number: u32,
}

impl InstanceName {
    pub(super) fn first(release: &ReleaseId) -> Self {
        Self { release: release.clone(), number: 0 }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (release, number) = match text.split_once('~') {
            Some((release, number)) => (release, number.parse().ok().filter(|n| *n > 0)?),
            None => (text, 0),
        };
        Some(Self { release: ReleaseId::new(release).ok()?, number })
    }
}

impl std::fmt::Display for InstanceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            0 => write!(f, "{}", self.release),
            number => write!(f, "{}~{number}", self.release),
        }
    }
}
