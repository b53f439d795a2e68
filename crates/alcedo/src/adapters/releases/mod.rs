//! Keeps releases: immutable directories under `<root>/releases/`, each with a seal beside them.
//!
//! A directory without a seal is a rest and is never run, shared from or listed. Never decides which release goes or
//! stays (`alcedo_core::release::prune_plan` does), and never touches `shared/` but to fill gaps once.

mod archive;
mod audit;
mod fetch;
mod immutable;
mod incoming;
mod instance;
mod layout;
mod place;
mod prepare;
mod previous;
mod received;
mod seal;
mod shared;
#[cfg(test)]
mod tests;

use crate::adapters::clock;
use crate::api::upload::{Basis, Got, Lacks, Offer};
use crate::engine::ports::{
    Call, EffectError, FetchOrder, Fetched, Instance, PrepareOrder, Releases, Sealed, Source,
    StoredRelease,
};
use crate::files::{FilesError, Until, erase, io_error, scan, sync_dir};
use alcedo_core::ReleaseId;
use incoming::Incoming;
use layout::{InstanceName, Layout};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use audit::{Audit, Deviation};
#[cfg(test)]
pub(crate) use tests::config as test_config;

/// The store on this machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReleaseStore;

impl ReleaseStore {
    /// It keeps nothing in memory: everything is in the file system.
    pub(crate) fn new() -> Self {
        Self
    }

    /// What is kept, damaged and left over.
    pub(crate) fn audit(&self, app_root: &Path) -> Result<Audit, EffectError> {
        Ok(audit::audit(&Layout::new(app_root))?)
    }

    /// The newest kept release in digests, for a machine that wants to send another one.
    pub(crate) fn basis(&self, app_root: &Path, groups: u32) -> Result<Basis, EffectError> {
        Ok(Incoming::of(&Layout::new(app_root)).basis(groups)?)
    }

    /// Notes what is going to be sent, and says what of it is lacking.
    pub(crate) fn offer(&self, app_root: &Path, offer: &Offer) -> Result<Lacks, EffectError> {
        Ok(Incoming::of(&Layout::new(app_root)).offer(offer)?)
    }

    /// Takes a part of what was offered as `hash`.
    pub(crate) fn take_part(
        &self,
        app_root: &Path,
        hash: &str,
        packed: &[u8],
    ) -> Result<Got, EffectError> {
        Ok(Incoming::of(&Layout::new(app_root)).take(hash, packed)?)
    }

    /// Compares every file of a release, in all its instances, with the seal. Reads all of it.
    pub(crate) fn verify(
        &self,
        app_root: &Path,
        release: &ReleaseId,
        call: &Call<'_>,
    ) -> Result<Vec<Deviation>, EffectError> {
        let layout = Layout::new(app_root);
        let mut all = Vec::new();
        for name in instances(&layout, release)? {
            all.extend(audit::verify(&layout, &name, &Until::of(call))?);
        }
        Ok(all)
    }

    /// Seals the instance at `path` as [`Releases::seal`] does the first one.
    pub(crate) fn seal_at(&self, order: &FetchOrder, path: &Path) -> Result<Sealed, EffectError> {
        let name = path.file_name().and_then(|name| InstanceName::parse(name.to_str()?));
        let name = name.filter(|name| name.release == order.release).ok_or_else(|| {
            FilesError::refused(
                format!("seal {}", path.display()),
                "it is no instance of the release",
            )
        })?;
        let layout = Layout::new(&order.root);
        let rules = fetch::rules_of(&order.config)?;
        let now = clock::wall();
        let commit = order.commit.as_deref();
        Ok(immutable::seal_instance(&layout, &name, &rules, &order.config, commit, &now)?)
    }

    /// Removes what `audit` calls rests, except those of releases in `busy`: a fetch under way looks like a rest, and so
    /// does a release that a slot runs and whose seal was lost.
    pub(crate) fn sweep_rests(
        &self,
        app_root: &Path,
        busy: &[ReleaseId],
    ) -> Result<Vec<PathBuf>, EffectError> {
        let layout = Layout::new(app_root);
        let is_busy = |rest: &Path| audit::release_of(rest).is_some_and(|r| busy.contains(&r));
        let rests: Vec<_> =
            audit::audit(&layout)?.rests.into_iter().filter(|rest| !is_busy(rest)).collect();
        for rest in &rests {
            if rest.is_dir() { erase(rest)? } else { remove_file(rest)? }
        }
        Ok(rests)
    }
}

impl Releases for ReleaseStore {
    fn fetch(&self, order: &FetchOrder, call: &Call<'_>) -> Result<Fetched, EffectError> {
        match order.source {
            Source::Kept => Ok(instance::make_located(order, call)?),
            Source::Directory { .. }
            | Source::File { .. }
            | Source::Archive { .. }
            | Source::Upload { .. } => Ok(fetch::fetch(order, call)?),
        }
    }

    fn needed_bytes(&self, order: &FetchOrder, call: &Call<'_>) -> Result<u64, EffectError> {
        let layout = Layout::new(&order.root);
        let rules = fetch::rules_of(&order.config)?;
        let until = Until::of(call);
        let source_bytes = match &order.source {
            Source::Directory { path, .. } => fetch::cost_of(&scan(path, &rules, &until)?),
            Source::File { path, .. } => fs::metadata(path).map_err(io_error("read", path))?.len(),
            Source::Archive { path, .. } => archive::unpacked_bytes(path, &rules, &until)?,
            Source::Upload { hash, .. } => Incoming::of(&layout).needed_bytes(hash)?,
            Source::Kept => 0,
        };
        let previous = previous::Previous::newest(&layout)?;
        let prepares = order.config.release.prepare.is_some() && order.source != Source::Kept;
        let prepared_bytes = previous.filter(|_| prepares).map_or(0, |p| p.prepared_bytes());
        Ok(source_bytes + prepared_bytes)
    }

    fn changed_files(
        &self,
        app_root: &Path,
        release: &ReleaseId,
        call: &Call<'_>,
    ) -> Result<Vec<String>, EffectError> {
        let found = self.verify(app_root, release, call)?;
        Ok(found.into_iter().map(|d| format!("{} {}", d.path, d.what)).collect())
    }

    fn locate(&self, order: &FetchOrder) -> Result<(PathBuf, Instance), EffectError> {
        let (name, state) = instance::locate(order, &Until::done())?;
        Ok((Layout::new(&order.root).instance(&name), state))
    }

    fn discard(&self, app_root: &Path, instance: &Path) -> Result<(), EffectError> {
        let layout = Layout::new(app_root);
        let Some(name) = instance.file_name().and_then(|name| InstanceName::parse(name.to_str()?))
        else {
            return Ok(());
        };
        if seal::read_seal(&layout, &name)?.is_some() {
            return Ok(());
        }
        remove_file(&layout.fetched(&name))?;
        Ok(erase(&layout.instance(&name))?)
    }

    fn prepare(&self, order: &PrepareOrder, call: &Call<'_>) -> Result<(), EffectError> {
        prepare::prepare(order, call)
    }

    fn seal(&self, order: &FetchOrder) -> Result<Sealed, EffectError> {
        let name = match order.source {
            Source::Kept => instance::locate(order, &Until::done())?.0,
            Source::Directory { .. }
            | Source::File { .. }
            | Source::Archive { .. }
            | Source::Upload { .. } => InstanceName::first(&order.release),
        };
        self.seal_at(order, &Layout::new(&order.root).instance(&name))
    }

    fn is_sealed(&self, app_root: &Path, release: &ReleaseId) -> Result<bool, EffectError> {
        let layout = Layout::new(app_root);
        let name = InstanceName::first(release);
        Ok(seal::read_seal(&layout, &name)?.is_some() && layout.instance(&name).is_dir())
    }

    fn list(&self, app_root: &Path) -> Result<Vec<StoredRelease>, EffectError> {
        let audit = self.audit(app_root)?;
        for broken in &audit.broken {
            tracing::warn!(release = broken.name, why = broken.why, "release cannot be used");
        }
        Ok(audit.releases)
    }

    fn sweep(&self, app_root: &Path, busy: &[ReleaseId]) -> Result<(), EffectError> {
        for rest in self.sweep_rests(app_root, busy)? {
            tracing::info!(rest = %rest.display(), "removed what was never finished");
        }
        Ok(())
    }

    fn remove(&self, app_root: &Path, release: &ReleaseId) -> Result<(), EffectError> {
        let layout = Layout::new(app_root);
        let names = instances(&layout, release)?;
        // All seals before any file: what a crash leaves is a rest and not half a release.
        for name in &names {
            remove_file(&layout.seal(name))?;
            remove_file(&layout.fetched(name))?;
        }
        if layout.seals().is_dir() {
            sync_dir(&layout.seals())?;
        }
        for name in &names {
            erase(&layout.instance(name))?;
        }
        Ok(())
    }
}

/// Every instance of a release that has a seal or a directory, oldest first.
fn instances(layout: &Layout, release: &ReleaseId) -> Result<Vec<InstanceName>, FilesError> {
    let mut names = audit::sealed_names(layout)?;
    let dirs = audit::list_dir(&layout.releases())?;
    names.extend(dirs.iter().filter_map(|name| InstanceName::parse(name.to_str()?)));
    names.retain(|name| name.release == *release);
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn remove_file(path: &Path) -> Result<(), FilesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("remove", path)),
    }
}
