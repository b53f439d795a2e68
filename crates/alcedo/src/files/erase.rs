//! Removes a tree, read-only directories too.

use super::{FilesError, Until, Visit, io_error, walk};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes `tree` with everything in it, without following links; nothing there is fine.
pub(crate) fn erase(tree: &Path) -> Result<(), FilesError> {
    match fs::remove_dir_all(tree) {
        // Read-only directories stop everybody but root, so root never gets to changing modes by path, where
        // somebody could put a link in between.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_up(tree)?;
            fs::remove_dir_all(tree).map_err(io_error("remove", tree))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("remove", tree)),
    }
}

fn open_up(tree: &Path) -> Result<(), FilesError> {
    writable(tree)?;
    walk(tree, &Until::done(), &mut |_, full, metadata| {
        if metadata.is_dir() {
            writable(full)?;
        }
        Ok(Visit::Descend)
    })
}

fn writable(dir: &Path) -> Result<(), FilesError> {
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io_error("remove", dir))
}
