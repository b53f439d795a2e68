//! The simulated release store: sealed or not, synced or not.

use super::*;

impl Releases for SimHost {
    fn fetch(&self, order: &FetchOrder, _call: &Call<'_>) -> Result<Fetched, EffectError> {
        let release = order.release.clone();
        self.effect(
            Op::Fetch,
            |inner| _ = inner.releases.insert(release.clone(), (false, false)),
            |inner| {
                inner.releases.entry(release.clone()).or_insert((false, false));
            },
        )?;
        Ok(Fetched { files: 1, changed_files: 1, ..Fetched::default() })
    }

    fn needed_bytes(&self, _order: &FetchOrder, _call: &Call<'_>) -> Result<u64, EffectError> {
        Ok(1)
    }

    fn changed_files(
        &self,
        _root: &Path,
        _release: &ReleaseId,
        _call: &Call<'_>,
    ) -> Result<Vec<String>, EffectError> {
        Ok(Vec::new())
    }

    fn locate(&self, order: &FetchOrder) -> Result<(PathBuf, Instance), EffectError> {
        Ok((order.root.join("releases").join(order.release.as_str()), Instance::Sealed))
    }

    fn discard(&self, _root: &Path, instance: &Path) -> Result<(), EffectError> {
        let name = instance.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Ok(release) = ReleaseId::new(name) else { return Ok(()) };
        self.effect(
            Op::RemoveRelease,
            |_| {},
            |inner| {
                if inner.releases.get(&release).is_some_and(|(sealed, _)| !sealed) {
                    inner.releases.remove(&release);
                }
            },
        )
    }

    fn prepare(&self, order: &PrepareOrder, _call: &Call<'_>) -> Result<(), EffectError> {
        let name = order.instance.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut inner = self.lock();
        let release = ReleaseId::new(name).ok();
        if release.is_some_and(|r| inner.releases.get(&r).is_some_and(|(sealed, _)| *sealed)) {
            inner.broken.push(format!("{name} was prepared after it was sealed"));
        }
        drop(inner);
        self.effect(Op::Prepare, |_| {}, |_| ())
    }

    fn seal(&self, order: &FetchOrder) -> Result<Sealed, EffectError> {
        let synced = self.sabotage != Sabotage::NoSealSync;
        self.effect(
            Op::Seal,
            |_| {},
            |inner| {
                inner.releases.insert(order.release.clone(), (true, synced));
            },
        )?;
        Ok(Sealed { hash: "h".to_owned(), size_bytes: 1 })
    }

    fn is_sealed(&self, _root: &Path, release: &ReleaseId) -> Result<bool, EffectError> {
        Ok(self.lock().releases.get(release).is_some_and(|(sealed, _)| *sealed))
    }

    fn list(&self, _root: &Path) -> Result<Vec<StoredRelease>, EffectError> {
        let inner = self.lock();
        let sealed = inner.releases.iter().rev().filter(|(_, (sealed, _))| *sealed);
        Ok(sealed
            .map(|(release, _)| StoredRelease {
                release: release.clone(),
                commit: None,
                hash: String::new(),
                size_bytes: 1,
                created_at: String::new(),
            })
            .collect())
    }

    fn sweep(&self, _root: &Path, busy: &[ReleaseId]) -> Result<(), EffectError> {
        self.lock().releases.retain(|release, (sealed, _)| *sealed || busy.contains(release));
        Ok(())
    }

    fn remove(&self, _root: &Path, release: &ReleaseId) -> Result<(), EffectError> {
        {
            let mut inner = self.lock();
            if inner.running.values().any(|(b, _)| b.release == *release) {
                inner.broken.push(format!("{release} was removed while it runs"));
            }
        }
        self.effect(
            Op::RemoveRelease,
            |inner| _ = inner.releases.insert(release.clone(), (false, false)),
            |inner| {
                inner.releases.remove(release);
            },
        )
    }
}
