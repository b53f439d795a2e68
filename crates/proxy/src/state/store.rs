//! The directory of state files. One file a service, so that a damaged one hides no other and a switch writes O(1).

use super::{DecodeError, ServiceRecord, decode, encode, is_service_name};
use crate::disk::Disk;
use std::io;
use std::path::{Path, PathBuf};

/// `services/` below the proxy's state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    dir: PathBuf,
}

/// What the directory held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every record that could be read.
    pub records: Vec<ServiceRecord>,
    /// What could not.
    pub bad: Vec<BadFile>,
}

/// A state file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BadFile {
    /// The service it belongs to.
    pub service: String,
    /// Where it is kept now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A record that is not, or not known to be, durable.
#[derive(Debug, thiserror::Error)]
#[error("{step} {path}")]
pub struct SaveError {
    /// `write`, `sync`, `rename`, `sync the directory of`, `remove`.
    pub step: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl StateDir {
    /// The directory below `state_dir`; nothing is touched yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("services") }
    }

    /// Where the record of a service is.
    pub fn path(&self, service: &str) -> PathBuf {
        self.dir.join(format!("{service}.json"))
    }

    /// Reads every record. A damaged file is kept beside as `<name>.json.bad-<n>`; one of a newer format stays where it is.
    pub fn load(&self, disk: &dyn Disk) -> io::Result<Loaded> {
        disk.create_dir(&self.dir)?;
        let names = disk.list(&self.dir)?;
        let mut loaded = Loaded::default();
        for name in &names {
            if name.ends_with(".tmp") {
                disk.remove(&self.dir.join(name)).ok();
            } else if let Some(service) = name.strip_suffix(".json") {
                self.load_one(disk, service, &names, &mut loaded);
            } else if let Some((service, _)) = name.split_once(".json.bad-")
                && !names.contains(&format!("{service}.json"))
            {
                loaded.bad.push(BadFile {
                    service: service.to_owned(),
                    path: self.dir.join(name),
                    reason: "found damaged by an earlier start".to_owned(),
                });
            }
        }
        Ok(loaded)
    }

    /// Makes the record durable: temporary file, sync, rename, sync of the directory. When the last step fails it is
    /// not known which record a crash would leave, so the caller writes the one it holds to be true once more.
    pub fn save(&self, disk: &dyn Disk, record: &ServiceRecord) -> Result<(), SaveError> {
        let path = self.path(&record.service);
        let temporary = self.dir.join(format!("{}.json.tmp", record.service));
        let failed = |step| {
            let path = path.clone();
            move |source| SaveError { step, path, source }
        };
        disk.write(&temporary, &encode(record)).map_err(failed("write"))?;
        disk.sync_file(&temporary).map_err(failed("sync"))?;
        disk.rename(&temporary, &path).map_err(failed("rename"))?;
        disk.sync_dir(&self.dir).map_err(failed("sync the directory of"))
    }

    /// Removes the record of a service, durably; fine when there is none.
    pub fn remove(&self, disk: &dyn Disk, service: &str) -> Result<(), SaveError> {
        let path = self.path(service);
        match disk.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SaveError { step: "remove", path, source }),
        }
        let synced = disk.sync_dir(&self.dir);
        synced.map_err(|source| SaveError { step: "sync the directory of", path, source })
    }

    fn load_one(&self, disk: &dyn Disk, service: &str, names: &[String], loaded: &mut Loaded) {
        let path = self.path(service);
        let reason = match disk.read(&path).map(|bytes| decode(&bytes)) {
            Ok(Ok(record)) if record.service == service && is_service_name(service) => {
                return loaded.records.push(record);
            }
            Ok(Ok(_)) => "it belongs to another service".to_owned(),
            Ok(Err(error @ DecodeError::Newer(_))) => {
                let reason = error.to_string();
                return loaded.bad.push(BadFile { service: service.to_owned(), path, reason });
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                return loaded.bad.push(BadFile { service: service.to_owned(), path, reason });
            }
        };
        let kept = self.keep_bad(disk, &path, service, names).unwrap_or(path);
        loaded.bad.push(BadFile { service: service.to_owned(), path: kept, reason });
    }

    fn keep_bad(
        &self,
        disk: &dyn Disk,
        path: &Path,
        service: &str,
        names: &[String],
    ) -> Option<PathBuf> {
        let free = (1..1000).map(|n| format!("{service}.json.bad-{n}"));
        let kept = self.dir.join(free.into_iter().find(|name| !names.contains(name))?);
        disk.rename(path, &kept).ok()?;
        disk.sync_dir(&self.dir).ok()?;
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::state::Structure;

    #[test]
    fn damaged_file_is_kept_beside_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.load(&RealDisk).unwrap();
        for name in ["one", "two"] {
            state.save(&RealDisk, &ServiceRecord::new(name, Structure::default())).unwrap();
        }
        std::fs::write(state.path("one"), b"{\"version\":1,").unwrap();
        for _ in 0..2 {
            let loaded = state.load(&RealDisk).unwrap();
            assert_eq!(loaded.records.len(), 1);
            assert_eq!(loaded.bad.len(), 1);
            assert!(loaded.bad[0].path.ends_with("one.json.bad-1"), "{:?}", loaded.bad);
        }
    }
}
