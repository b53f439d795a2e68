//! What can be left out of the simulated host, to show that its checks bite.

use super::SimHost;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sabotage {
    #[default]
    None,
    /// The journal drops intent records.
    NoIntents,
    /// State files are renamed without their contents being synced.
    NoFileSync,
    /// Directories are not synced.
    NoDirSync,
    /// Releases are sealed without being synced.
    NoSealSync,
}

/// The disk as the proxy uses it, without the syncs that sabotage leaves out.
pub(super) struct SabotagedDisk<'a>(pub(super) &'a SimHost);

impl alcedo_proxy::disk::Disk for SabotagedDisk<'_> {
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.create_dir(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        self.0.disk.write(path, bytes)
    }
    fn sync_file(&self, path: &Path) -> std::io::Result<()> {
        if self.0.sabotage == Sabotage::NoFileSync { Ok(()) } else { self.0.disk.sync_file(path) }
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.disk.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        if self.0.sabotage == Sabotage::NoDirSync { Ok(()) } else { self.0.disk.sync_dir(path) }
    }
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.disk.read(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.0.disk.list(path)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.remove(path)
    }
}
