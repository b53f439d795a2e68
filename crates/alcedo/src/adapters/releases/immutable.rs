//! Seals an instance: read-only, synced, listed with the hash of every file, and only then known as a release.

use super::fetch::read_record;
use super::layout::{InstanceName, Layout};
use super::seal::{self, FetchedRecord, Seal, read_seal};
use crate::engine::ports::Sealed;
use crate::files::{FilesError, Until, Visit, hash_files, io_error, sync_dir, sync_tree, walk};
use alcedo_core::config::Config;
use alcedo_core::release::{Fate, Manifest, Node, Reader, RelPath, Rules};
use std::collections::BTreeSet;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Seals `name`; one that is sealed stays as it is. `created_at` is RFC 3339.
pub(super) fn seal_instance(
    layout: &Layout,
    name: &InstanceName,
    rules: &Rules,
    config: &Config,
    commit: Option<&str>,
    created_at: &str,
) -> Result<Sealed, FilesError> {
    let instance = layout.instance(name);
    if let Some(seal) = read_seal(layout, name)?
        && instance.is_dir()
    {
        return Ok(Sealed { hash: seal.hash, size_bytes: seal.size_bytes });
    }
    let record = read_record(layout, name)?;
    let contents = close(&instance, rules)?;
    let seal = make_seal(name, rules, record, contents.files, commit, created_at);
    refuse_changes_without_prepare(&instance, config, &seal)?;
    sync_tree(&instance, &contents.to_sync)?;
    sync_dir(&layout.releases())?;
    seal::write(&layout.seal(name), &seal)?;
    // Kept when it cannot be removed: beside a seal it says nothing.
    let _ = fs::remove_file(layout.fetched(name));
    Ok(Sealed { hash: seal.hash, size_bytes: seal.size_bytes })
}

/// What an instance holds.
struct Contents {
    files: Manifest,
    to_sync: Vec<PathBuf>,
}

/// Makes everything outside the writable directories read-only, and lists it.
fn close(instance: &Path, rules: &Rules) -> Result<Contents, FilesError> {
    let mut entries = Vec::new();
    let mut to_sync = vec![instance.to_owned()];
    walk(instance, &Until::done(), &mut |path, full, metadata| {
        let is_shared = |fate| matches!(fate, Fate::SharedDir(_) | Fate::SharedFile(_));
        let sealed =
            !is_shared(rules.fate(path, metadata.is_dir())) && !rules.is_writable(path.as_path());
        if metadata.is_dir() || metadata.is_file() {
            to_sync.push(full.to_owned());
        }
        if metadata.is_file() && !rules.is_writable(path.as_path()) {
            own_alone(full, metadata)?;
            read_only(full, metadata, rules.reader())?;
        }
        if rules.is_writable(path.as_path()) && !metadata.is_symlink() {
            open_to(full, metadata, rules.reader())?;
        }
        if sealed {
            entries.push((path.clone(), full.to_owned(), metadata.clone()));
        }
        Ok(Visit::Descend)
    })?;
    let files = list(&entries)?;
    close_directories(instance, &entries, rules.reader())?;
    Ok(Contents { files, to_sync })
}

/// A file with a second name (`uv` and `pnpm` link into their caches) gets content of its own: what is written under
/// the other name must not reach the release, nor our read-only bit the cache.
fn own_alone(full: &Path, metadata: &Metadata) -> Result<(), FilesError> {
    if metadata.nlink() < 2 {
        return Ok(());
    }
    let mut name = full.as_os_str().to_owned();
    name.push(".alcedo-own");
    let own = PathBuf::from(name);
    fs::copy(full, &own).map_err(io_error("copy", full))?;
    fs::rename(&own, full).map_err(io_error("write", full))
}

/// What the app may write is written by its user, who may be another than ours.
fn open_to(full: &Path, metadata: &Metadata, reader: Reader) -> Result<(), FilesError> {
    let mode = metadata.permissions().mode() & 0o777;
    if reader.opened(mode) == mode {
        return Ok(());
    }
    fs::set_permissions(full, Permissions::from_mode(reader.opened(mode)))
        .map_err(io_error("seal", full))
}

fn read_only(full: &Path, metadata: &Metadata, reader: Reader) -> Result<(), FilesError> {
    let mode = reader.opened(metadata.permissions().mode() & 0o777 & !0o222 | 0o400);
    fs::set_permissions(full, Permissions::from_mode(mode)).map_err(io_error("seal", full))
}

/// After the files: a directory that is read-only takes no copy of a file with two names.
fn close_directories(
    instance: &Path,
    entries: &[(RelPath, PathBuf, Metadata)],
    reader: Reader,
) -> Result<(), FilesError> {
    let dirs = entries.iter().filter(|(.., metadata)| metadata.is_dir());
    let modes = dirs.map(|(_, full, metadata)| (full.as_path(), metadata.permissions().mode()));
    for (dir, mode) in modes.chain([(instance, 0o755)]) {
        let mode = reader.opened(mode & 0o777 & !0o222 | 0o500);
        fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(io_error("seal", dir))?;
    }
    Ok(())
}

fn list(entries: &[(RelPath, PathBuf, Metadata)]) -> Result<Manifest, FilesError> {
    let files: Vec<PathBuf> =
        entries.iter().filter(|e| e.2.is_file()).map(|e| e.1.clone()).collect();
    let mut hashes = hash_files(&files, &Until::done())?.into_iter();
    let mut manifest = Manifest::default();
    for (path, full, metadata) in entries {
        let node = if metadata.is_dir() {
            Node::Dir
        } else if metadata.is_symlink() {
            Node::link(&fs::read_link(full).map_err(io_error("read the link", full))?)
        } else if metadata.is_file() {
            let (hash, size_bytes) = hashes.next().expect("one hash for each file");
            Node::File { hash, size_bytes, executable: metadata.permissions().mode() & 0o100 != 0 }
        } else {
            // A socket or pipe that `prepare` left has no content.
            continue;
        };
        manifest.0.insert(path.clone(), node);
    }
    Ok(manifest)
}

fn make_seal(
    name: &InstanceName,
    rules: &Rules,
    record: FetchedRecord,
    files: Manifest,
    commit: Option<&str>,
    created_at: &str,
) -> Seal {
    let FetchedRecord { hash, fetched, inputs, source } = record;
    let is_new = |path: &&RelPath| !source.0.contains_key(path);
    let prepared: BTreeSet<_> = files.0.keys().filter(is_new).cloned().collect();
    let differs = |(path, node): &(&RelPath, &Node)| {
        !rules.is_writable(path.as_path()) && files.0.get(path) != Some(node)
    };
    let changed = source.0.iter().filter(differs).map(|(path, _)| path.clone()).collect();
    Seal {
        instance: name.to_string(),
        hash,
        commit: commit.map(str::to_owned),
        created_at: created_at.to_owned(),
        size_bytes: files.size_bytes(),
        fetched,
        inputs,
        prepared,
        changed,
        writable: rules.writable().iter().cloned().collect(),
        shared_dirs: rules.shared_dirs().iter().cloned().collect(),
        files,
    }
}

/// Where nothing of the user's ran, nothing may have changed.
fn refuse_changes_without_prepare(
    instance: &Path,
    config: &Config,
    seal: &Seal,
) -> Result<(), FilesError> {
    if config.release.prepare.is_some() {
        return Ok(());
    }
    let is_file = |path: &&RelPath| matches!(seal.files.0.get(path), Some(Node::File { .. }));
    let Some(path) = seal.changed.iter().chain(seal.prepared.iter().filter(is_file)).next() else {
        return Ok(());
    };
    Err(FilesError::refused_hint(
        format!("seal {}", instance.display()),
        format!(
            "{path} changed after it was fetched, and there is no `release.prepare` that could have done it"
        ),
        "deploy again",
    ))
}
