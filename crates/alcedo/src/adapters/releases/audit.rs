//! Says what is kept, what is damaged, and what is only a rest.

use super::layout::{InstanceName, Layout};
use super::seal::{Seal, read_seal};
use crate::engine::ports::StoredRelease;
use crate::files::{FilesError, Until, Visit, hash_files, io_error, walk};
use alcedo_core::ReleaseId;
use alcedo_core::release::{Node, RelPath};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A release that cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Its directory's name.
    pub(crate) name: String,
    /// Why: one sentence.
    pub(crate) why: String,
}

/// Everything under `releases/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// What can be deployed, newest first.
    pub(crate) releases: Vec<StoredRelease>,
    /// What is sealed and cannot be trusted.
    pub(crate) broken: Vec<Broken>,
    /// Directories and records without a seal: rests of a fetch that did not end.
    pub(crate) rests: Vec<PathBuf>,
}

/// How a release differs from its seal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deviation {
    /// Which entry.
    pub(crate) path: RelPath,
    /// `is missing`, `is changed`, `does not belong to it`.
    pub(crate) what: &'static str,
}

/// Looks at every name; reads seals whole, files not.
pub(super) fn audit(layout: &Layout) -> Result<Audit, FilesError> {
    let mut audit = Audit::default();
    let sealed = sealed_names(layout)?;
    for name in sealed.iter().rev() {
        match read_seal(layout, name) {
            Err(error) => audit.broken.push(broken(name, error.detail())),
            Ok(None) => {}
            Ok(Some(_)) if !layout.instance(name).is_dir() => {
                let path = layout.instance(name);
                audit
                    .broken
                    .push(broken(name, format!("its directory {} is gone", path.display())));
            }
            Ok(Some(seal)) => add(&mut audit.releases, name, seal),
        }
    }
    audit.rests = rests(layout, &sealed)?;
    Ok(audit)
}

/// Compares every file of an instance with its seal.
pub(super) fn verify(
    layout: &Layout,
    name: &InstanceName,
    until: &Until,
) -> Result<Vec<Deviation>, FilesError> {
    let Some(seal) = read_seal(layout, name)? else {
        return Err(FilesError::refused(format!("verify {name}"), "it is not sealed"));
    };
    let instance = layout.instance(name);
    let mut wrong = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut to_hash: Vec<(RelPath, String)> = Vec::new();
    walk(&instance, until, &mut |path, full, metadata| {
        if is_outside(&seal, path) {
            return Ok(Visit::Skip);
        }
        seen.insert(path.clone());
        match seal.files.0.get(path) {
            None if metadata.is_dir() || metadata.is_file() || metadata.is_symlink() => {
                wrong.insert(Deviation { path: path.clone(), what: "does not belong to it" });
            }
            None => {}
            Some(Node::Dir) if metadata.is_dir() => {}
            Some(Node::File { hash, size_bytes, .. })
                if metadata.is_file() && metadata.len() == *size_bytes =>
            {
                to_hash.push((path.clone(), hash.clone()));
            }
            Some(node @ Node::Link { .. })
                if metadata.is_symlink()
                    && fs::read_link(full).ok().as_deref().map(Node::link).as_ref()
                        == Some(node) => {}
            Some(Node::Dir | Node::File { .. } | Node::Link { .. }) => {
                wrong.insert(Deviation { path: path.clone(), what: "is changed" });
            }
        }
        Ok(Visit::Descend)
    })?;
    let missing = seal.files.0.keys().filter(|path| !seen.contains(path));
    wrong.extend(missing.map(|path| Deviation { path: path.clone(), what: "is missing" }));
    let paths: Vec<_> = to_hash.iter().map(|(path, _)| instance.join(path.as_path())).collect();
    for ((path, expected), (hash, _)) in to_hash.into_iter().zip(hash_files(&paths, until)?) {
        if hash != expected {
            wrong.insert(Deviation { path, what: "is changed" });
        }
    }
    Ok(wrong.into_iter().collect())
}

/// Names that have a seal, whatever is in it, oldest first.
pub(super) fn sealed_names(layout: &Layout) -> Result<Vec<InstanceName>, FilesError> {
    let mut names: Vec<_> = list_dir(&layout.seals())?
        .into_iter()
        .filter_map(|name| InstanceName::parse(name.to_str()?.strip_suffix(".json")?))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// What a directory holds; nothing when it is not there.
pub(super) fn list_dir(dir: &Path) -> Result<Vec<OsString>, FilesError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("read the directory", dir))?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
    entries.map(name).collect::<Result<_, _>>().map_err(io_error("read the directory", dir))
}

/// Further instances of a release count into its size; the release is known by its first one.
fn add(releases: &mut Vec<StoredRelease>, name: &InstanceName, seal: Seal) {
    if let Some(known) = releases.iter_mut().find(|r| r.release == name.release) {
        known.size_bytes += seal.size_bytes;
        if name.number == 0 {
            known.created_at = seal.created_at;
        }
        return;
    }
    releases.push(StoredRelease {
        release: name.release.clone(),
        commit: seal.commit,
        hash: seal.hash,
        size_bytes: seal.size_bytes,
        created_at: seal.created_at,
    });
}

fn broken(name: &InstanceName, why: String) -> Broken {
    Broken { name: name.to_string(), why }
}

fn rests(layout: &Layout, sealed: &[InstanceName]) -> Result<Vec<PathBuf>, FilesError> {
    let is_sealed = |text: &str| InstanceName::parse(text).is_some_and(|n| sealed.contains(&n));
    let mut rests = Vec::new();
    for name in list_dir(&layout.releases())? {
        // Only what has the form of a release is ours to remove.
        let text = name.to_string_lossy();
        if InstanceName::parse(&text).is_some() && !is_sealed(&text) {
            rests.push(layout.releases().join(&name));
        }
    }
    for name in list_dir(&layout.seals())? {
        let text = name.to_string_lossy();
        if text.ends_with(".fetched") || text.ends_with(".tmp") {
            rests.push(layout.seals().join(&name));
        }
    }
    rests.sort_unstable();
    Ok(rests)
}

/// What the seal says nothing about.
fn is_outside(seal: &Seal, path: &RelPath) -> bool {
    seal.writable.iter().any(|dir| path != dir && path.as_path().starts_with(dir.as_path()))
        || seal.writable.contains(path)
        || seal.shared_dirs.contains(path)
        || seal.inputs.shared_files.contains_key(path)
}

/// The release that a rest belonged to.
pub(super) fn release_of(rest: &Path) -> Option<ReleaseId> {
    let name = rest.file_name()?.to_str()?;
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let name = name.strip_suffix(".json").or(name.strip_suffix(".fetched")).unwrap_or(name);
    InstanceName::parse(name).map(|name| name.release)
}
