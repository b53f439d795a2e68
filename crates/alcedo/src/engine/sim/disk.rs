//! A disk that keeps what was synced apart from what was not. The proxy's own state code runs on it.
//!
//! File contents and directory entries are durable only after their sync; a power cut leaves exactly the synced ones,
//! except that a file whose entry was synced and whose contents were not comes back torn.

use alcedo_proxy::disk::Disk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::{Faults, Op};

#[derive(Clone)]
pub(super) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    faults: Faults,
}

#[derive(Clone, Default)]
struct Inner {
    /// Contents by inode: as read now, and as a power cut would leave them.
    files: BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>,
    /// Entries as seen now.
    entries: BTreeMap<PathBuf, u64>,
    /// Entries as a power cut would leave them.
    durable: BTreeMap<PathBuf, u64>,
    next: u64,
}

impl SimDisk {
    pub(super) fn new(faults: Faults) -> Self {
        Self { inner: Arc::default(), faults }
    }

    /// Everything that was not synced is gone.
    pub(super) fn power_cut(&self) {
        let mut inner = self.lock();
        inner.entries = inner.durable.clone();
        for (now, synced) in inner.files.values_mut() {
            *now = match synced {
                Some(bytes) => bytes.clone(),
                None => now[..now.len() / 2].to_vec(),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One effect: a crash before, after or in the middle of it, or its failure.
    fn effect<T>(
        &self,
        op: Op,
        torn: impl FnOnce(&mut Inner),
        whole: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> io::Result<T> {
        let point = self.faults.enter(op);
        if let Some(error) = point.fault() {
            return Err(io::Error::other(error));
        }
        if point.is_torn() {
            torn(&mut self.lock());
            point.crash();
        }
        let result = whole(&mut self.lock());
        point.leave();
        result
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for SimDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let put = |inner: &mut Inner, bytes: Vec<u8>| {
            let id = match inner.entries.get(path) {
                Some(id) => *id,
                None => {
                    inner.next += 1;
                    inner.entries.insert(path.to_owned(), inner.next);
                    inner.next
                }
            };
            let synced = inner.files.get(&id).and_then(|(_, s)| s.clone());
            inner.files.insert(id, (bytes, synced));
        };
        self.effect(
            Op::Write,
            |inner| put(inner, bytes[..bytes.len() / 2].to_vec()),
            |inner| {
                put(inner, bytes.to_vec());
                Ok(())
            },
        )
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.effect(
            Op::SyncFile,
            |_| {},
            |inner| {
                let id = *inner.entries.get(path).ok_or_else(missing)?;
                let file = inner.files.get_mut(&id).ok_or_else(missing)?;
                file.1 = Some(file.0.clone());
                Ok(())
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect(
            Op::Rename,
            |_| {},
            |inner| {
                let id = inner.entries.remove(from).ok_or_else(missing)?;
                inner.entries.insert(to.to_owned(), id);
                Ok(())
            },
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.effect(
            Op::SyncDir,
            |_| {},
            |inner| {
                inner.durable.retain(|p, _| p.parent() != Some(path));
                let now: Vec<_> = inner
                    .entries
                    .iter()
                    .filter(|(p, _)| p.parent() == Some(path))
                    .map(|(p, id)| (p.clone(), *id))
                    .collect();
                inner.durable.extend(now);
                Ok(())
            },
        )
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inner = self.lock();
        let id = inner.entries.get(path).ok_or_else(missing)?;
        Ok(inner.files.get(id).ok_or_else(missing)?.0.clone())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        let names = inner.entries.keys().filter(|p| p.parent() == Some(path));
        Ok(names.filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.effect(
            Op::Remove,
            |_| {},
            |inner| inner.entries.remove(path).map(|_| ()).ok_or_else(missing),
        )
    }
}

impl SimDisk {
    /// Takes over the contents of another one.
    pub(super) fn copy_from(&self, other: &Self) {
        *self.lock() = other.lock().clone();
    }
}
