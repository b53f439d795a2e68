//! What the state files need of a disk, so that a simulator can lose what was not synced.
//!
//! Each method is one effect. Nothing here decides an order: `state::StateDir` does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// A disk with the two kinds of durability apart: a file's contents and a directory's entries.
pub trait Disk: Send + Sync {
    /// Creates the directory and its parents; fine when it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates or truncates the file (mode 0600) and writes all of `bytes`. Not durable.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's contents durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Replaces `to` by `from` in one step. Not durable until [`Self::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Names of the entries, sorted; names that are not UTF-8 are left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Removes the file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
