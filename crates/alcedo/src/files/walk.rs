//! Walks a tree in a fixed order and says what of it is shipped.

use super::{FilesError, Until, io_error};
use alcedo_core::release::{Fate, RelPath, Rules, link_stays_inside};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Entries a tree may have; more is a mistake (a whole home directory) or an attack.
pub(crate) const ENTRIES_MAX: usize = 1_000_000;

/// Whether a walk goes into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It does.
    Descend,
    /// It does not.
    Skip,
}

/// Something in a source.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where.
    pub(crate) path: RelPath,
    /// What becomes of it; never [`Fate::LeaveOut`].
    pub(crate) fate: Fate,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its length.
        size_bytes: u64,
    },
    /// A symbolic link.
    Link {
        /// As written.
        target: PathBuf,
    },
}

/// Everything below `root` that `rules` do not leave out, parents before children, sorted by name.
///
/// # Errors
/// Special files and links that leave the tree are refused by name, where they would be shipped.
pub(crate) fn scan(root: &Path, rules: &Rules, until: &Until) -> Result<Vec<Found>, FilesError> {
    let mut all = Vec::new();
    walk(root, until, &mut |path, full, metadata| {
        let fate = rules.fate(path, metadata.is_dir());
        if fate == Fate::LeaveOut {
            return Ok(Visit::Skip);
        }
        let kind = kind_of(path, full, metadata)?;
        if let Kind::Link { target } = &kind
            && fate == Fate::Ship
        {
            refuse_escape(path, full, target)?;
        }
        all.push(Found { path: path.clone(), fate, kind });
        Ok(Visit::Descend)
    })?;
    Ok(all)
}

/// Calls `visit` for everything below `root`, without following links; directories that vanish meanwhile are errors.
pub(crate) fn walk(
    root: &Path,
    until: &Until,
    visit: &mut dyn FnMut(&RelPath, &Path, &Metadata) -> Result<Visit, FilesError>,
) -> Result<(), FilesError> {
    let mut pending = children(root, Path::new(""))?;
    let mut count = 0_usize;
    while let Some(relative) = pending.pop() {
        count += 1;
        if count.is_multiple_of(256) {
            until.check()?;
        }
        let full = root.join(&relative);
        if count > ENTRIES_MAX {
            return Err(too_many(root));
        }
        let metadata = fs::symlink_metadata(&full).map_err(io_error("read", &full))?;
        let path = RelPath::new(&relative).map_err(|error| {
            FilesError::refused(error.to_string(), "it was found in a directory")
        })?;
        if visit(&path, &full, &metadata)? == Visit::Descend && metadata.is_dir() {
            pending.extend(children(root, &relative)?);
        }
    }
    Ok(())
}

/// What a directory holds, last name first, since it goes onto a stack.
fn children(root: &Path, relative: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let full = root.join(relative);
    let mut names = Vec::new();
    for entry in fs::read_dir(&full).map_err(io_error("read the directory", &full))? {
        let entry = entry.map_err(io_error("read the directory", &full))?;
        if names.len() >= ENTRIES_MAX {
            return Err(too_many(root));
        }
        names.push(relative.join(entry.file_name()));
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn too_many(root: &Path) -> FilesError {
    FilesError::refused(
        format!("read {}", root.display()),
        format!("it holds more than {ENTRIES_MAX} files"),
    )
}

fn kind_of(path: &RelPath, full: &Path, metadata: &Metadata) -> Result<Kind, FilesError> {
    let file_type = metadata.file_type();
    let mode = metadata.permissions().mode() & 0o777;
    if file_type.is_dir() {
        return Ok(Kind::Dir { mode });
    }
    if file_type.is_file() {
        return Ok(Kind::File { mode, size_bytes: metadata.len() });
    }
    if file_type.is_symlink() {
        let target = fs::read_link(full).map_err(io_error("read the link", full))?;
        return Ok(Kind::Link { target });
    }
    let what = match () {
        () if file_type.is_socket() => "a socket",
        () if file_type.is_fifo() => "a named pipe",
        () => "a device",
    };
    Err(FilesError::refused_hint(
        format!("ship {}", full.display()),
        format!("it is {what}"),
        format!("remove it, or name it in `release.exclude`: [\"/{path}\"]"),
    ))
}

fn refuse_escape(path: &RelPath, full: &Path, target: &Path) -> Result<(), FilesError> {
    if link_stays_inside(path.as_path(), target) {
        return Ok(());
    }
    Err(FilesError::refused_hint(
        format!("ship the link {}", full.display()),
        format!("it points to {}, out of the release", target.display()),
        format!(
            "make it relative and inside, name it in `release.exclude`: [\"/{path}\"], or make it in `release.prepare`"
        ),
    ))
}
