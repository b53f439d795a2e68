//! Makes files survive a power cut: data first, then the name that points at it, then the directory that holds the name.

use super::{FilesError, io_error};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Up to this many entries each is synced by itself; above, the whole file system at once is quicker, though it waits
/// for what others wrote.
const SINGLE_SYNCS_MAX: usize = 16;

/// Syncs every file and directory of a tree; `entries` are absolute, without links, the tree itself among them.
pub(crate) fn sync_tree(tree: &Path, entries: &[PathBuf]) -> Result<(), FilesError> {
    if entries.len() <= SINGLE_SYNCS_MAX || !sync_file_system(tree)? {
        for entry in entries {
            sync_dir(entry)?;
        }
    }
    Ok(())
}

/// Syncs one directory (or file).
pub(crate) fn sync_dir(path: &Path) -> Result<(), FilesError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(path, flags, Mode::empty()).map_err(io_error("make durable", path))?;
    rustix::fs::fsync(opened).map_err(io_error("make durable", path))
}

/// Writes a file so that a crash leaves the old one or the new one, whole; durable when it returns.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FilesError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = write_synced(&temporary, bytes, mode)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(io_error("write", path)));
    if written.is_err() {
        // What cannot be removed is overwritten by the next try.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_dir(dir)
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FilesError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(path).map_err(io_error("write", path))?;
    let permissions = std::fs::Permissions::from_mode(mode);
    file.set_permissions(permissions).map_err(io_error("write", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("make durable", path))
}

#[cfg(target_os = "linux")]
fn sync_file_system(tree: &Path) -> Result<bool, FilesError> {
    let dir = File::open(tree).map_err(io_error("make durable", tree))?;
    rustix::fs::syncfs(dir).map_err(io_error("make durable", tree))?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_tree: &Path) -> Result<bool, FilesError> {
    Ok(false)
}
