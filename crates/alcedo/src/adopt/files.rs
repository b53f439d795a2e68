//! The owner's file or link: read, and replaced in one step.

use super::failed;
use super::record::Was;
use crate::engine::ports::EffectError;
use crate::files::{sync_dir, write_atomically};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What stands there. Of a link that leads to `ours` also the text.
pub(super) fn read(path: &Path, ours: &Path) -> Result<Was, EffectError> {
    let what = |error: io::Error| failed(format!("read {}", path.display()), error, "");
    let meta = fs::symlink_metadata(path).map_err(what)?;
    if !meta.is_symlink() {
        return fs::read_to_string(path).map(Was::Text).map_err(what);
    }
    let to = fs::read_link(path).map_err(what)?;
    let text = if to == ours { Some(fs::read_to_string(ours).map_err(what)?) } else { None };
    Ok(Was::Link { to, text })
}

/// Puts it there, durably.
pub(super) fn put(path: &Path, was: &Was) -> Result<(), EffectError> {
    match was {
        Was::Text(text) => Ok(write_atomically(path, text.as_bytes(), 0o644)?),
        Was::Link { to, text } => {
            if let Some(text) = text {
                write_atomically(to, text.as_bytes(), 0o644)?;
            }
            link(path, to)
        }
    }
}

/// Removes a file, durably; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), EffectError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(sync_dir(path.parent().unwrap_or(Path::new("/")))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(format!("remove {}", path.display()), error, "")),
    }
}

/// `rename(2)` of a fresh link: there is no moment without one (S0-39).
fn link(path: &Path, to: &Path) -> Result<(), EffectError> {
    let what = |error: io::Error| failed(format!("link {}", path.display()), error, "");
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".alcedo");
    let fresh = PathBuf::from(fresh);
    remove(&fresh)?;
    symlink(to, &fresh).map_err(what)?;
    fs::rename(&fresh, path).map_err(what)?;
    Ok(sync_dir(path.parent().unwrap_or(Path::new("/")))?)
}
