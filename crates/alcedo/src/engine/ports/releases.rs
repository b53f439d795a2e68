//! The store of releases, as the engine sees it.

use super::{Call, EffectError};
use alcedo_core::ReleaseId;
use alcedo_core::config::Config;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps releases. `releases/<id>/` is final from the first byte and sealed at the end.
pub(crate) trait Releases: Send + Sync {
    /// Puts the files at `instance` (`releases/<id>`): reflinked or copied from the newest sealed release where
    /// unchanged, else from the source; shared directories linked and seeded, shared files copied. An unsealed rest of
    /// an earlier try is removed first. A sealed one is left as it is (`Fetched::already`).
    fn fetch(&self, order: &FetchOrder, call: &Call<'_>) -> Result<Fetched, EffectError>;

    /// What a fetch of `order` will write at most, with what `prepare` made last time, in bytes.
    fn needed_bytes(&self, order: &FetchOrder, call: &Call<'_>) -> Result<u64, EffectError>;

    /// Files of a release that are no longer as they were sealed: each with what is wrong. Reads all of it.
    fn changed_files(
        &self,
        app_root: &std::path::Path,
        release: &ReleaseId,
        call: &Call<'_>,
    ) -> Result<Vec<String>, EffectError>;

    /// Where a kept release is to run from with today's shared files, and whether that instance is sealed already; if
    /// not, `fetch` makes it, beside the first one. Changes nothing.
    fn locate(&self, order: &FetchOrder) -> Result<(PathBuf, Instance), EffectError>;

    /// Removes an instance that was never sealed; one that is sealed is left as it is.
    fn discard(
        &self,
        app_root: &std::path::Path,
        instance: &std::path::Path,
    ) -> Result<(), EffectError>;

    /// Runs `release.prepare` in the instance; output goes to `log`, cut at its limit.
    fn prepare(&self, order: &PrepareOrder, call: &Call<'_>) -> Result<(), EffectError>;

    /// Makes the instance immutable and durable: files synced, read-only, then the seal (with the hash of every file),
    /// then the directory. After this returned, the release survives a power cut whole.
    fn seal(&self, order: &FetchOrder) -> Result<Sealed, EffectError>;

    /// Whether the release is there, sealed, and its directory still exists.
    fn is_sealed(
        &self,
        app_root: &std::path::Path,
        release: &ReleaseId,
    ) -> Result<bool, EffectError>;

    /// Every sealed release, newest first.
    fn list(&self, app_root: &std::path::Path) -> Result<Vec<StoredRelease>, EffectError>;

    /// Removes what crashes left behind: directories without a seal, except those of releases in `busy`.
    fn sweep(&self, app_root: &std::path::Path, busy: &[ReleaseId]) -> Result<(), EffectError>;

    /// Removes a release: the seal first, so that what is left after a crash is a rest and not half a release.
    fn remove(&self, app_root: &std::path::Path, release: &ReleaseId) -> Result<(), EffectError>;
}

/// Whether an instance of a release can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instance {
    /// It can.
    Sealed,
    /// It is to be made.
    Missing,
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FetchOrder {
    /// `/srv/<app>`: holds `releases/`, `shared/`.
    pub(crate) root: PathBuf,
    /// The id it gets.
    pub(crate) release: ReleaseId,
    /// Where its files come from.
    pub(crate) source: Source,
    /// The app's configuration: `exclude`, `shared`, `writable`.
    pub(crate) config: Config,
    /// Commit the source was made from.
    pub(crate) commit: Option<String>,
}

/// Where a release comes from, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A directory, with the content hash that was planned (blake3, hex).
    Directory {
        /// Absolute.
        path: PathBuf,
        /// Of paths, modes and contents.
        hash: String,
    },
    /// One file (a binary).
    File {
        /// Absolute.
        path: PathBuf,
        /// Of name, mode and content.
        hash: String,
    },
    /// `.tar`, `.tar.gz`, `.tar.zst`.
    Archive {
        /// Absolute.
        path: PathBuf,
        /// Of the archive's bytes.
        hash: String,
    },
    /// Files that were sent from another machine and wait in `incoming/` under the app's root.
    Upload {
        /// Content hash of the tree; of an archive, of its bytes.
        hash: String,
        /// What was sent.
        form: Sent,
    },
    /// A kept release; only an instance with other shared files is made, when that is needed.
    Kept,
}

/// What was sent from another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sent {
    /// A directory, or one file.
    Tree,
    /// `.tar`, `.tar.gz`, `.tar.zst`.
    Archive,
}

/// What was fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetched {
    /// It was there and sealed already.
    pub(crate) already: bool,
    /// Files in the release.
    pub(crate) files: u64,
    /// Of these, not in the previous release.
    pub(crate) changed_files: u64,
    /// Bytes of the release.
    pub(crate) size_bytes: u64,
    /// Of these, copied (not reflinked from the previous release).
    pub(crate) copied_bytes: u64,
    /// Sentences about what was decided on the way: "uploads/ is shared; what the build shipped there was left out".
    pub(crate) notices: Vec<String>,
}

/// What to prepare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrepareOrder {
    /// `releases/<id>`, absolute.
    pub(crate) instance: PathBuf,
    /// The shell command (`sh -eu`).
    pub(crate) command: String,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Limit.
    pub(crate) timeout: Duration,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Content hash of what was fetched (blake3, hex).
    pub(crate) hash: String,
    /// Bytes with what `prepare` made.
    pub(crate) size_bytes: u64,
}

/// A kept release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRelease {
    /// Its id.
    pub(crate) release: ReleaseId,
    /// The commit it was made from.
    pub(crate) commit: Option<String>,
    /// Content hash (blake3, hex).
    pub(crate) hash: String,
    /// Bytes on disk.
    pub(crate) size_bytes: u64,
    /// When it was sealed, RFC 3339 UTC.
    pub(crate) created_at: String,
}
