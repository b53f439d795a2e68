//! The seal of a release: what it contains, written last, outside the release, never changed.
//!
//! One JSON file, `{"format":1,"checksum":"<blake3 of the seal's bytes>","seal":{…}}`. A reader refuses another format
//! untouched; within format 1, fields are added with `#[serde(default)]` and never renamed.

use super::layout::{InstanceName, Layout};
use crate::engine::ports::Fetched;
use crate::files::{FilesError, io_error, write_atomically};
use alcedo_core::release::{Manifest, RelPath};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const HEAD: &str = r#"{"format":1,"checksum":""#;
const MIDDLE: &str = r#"","seal":"#;
const TAIL: &str = "}\n";

/// What a release contains, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    /// Name of the directory under `releases/`.
    pub(super) instance: String,
    /// Planned hash of the source (blake3, hex).
    pub(super) hash: String,
    /// Commit of the source.
    pub(super) commit: Option<String>,
    /// RFC 3339, UTC.
    pub(super) created_at: String,
    /// Bytes of all files, with what `prepare` made.
    pub(super) size_bytes: u64,
    /// What the fetch counted.
    pub(super) fetched: Fetched,
    /// What of shared files and settings went in.
    pub(super) inputs: Inputs,
    /// Every entry, except below writable directories; shared files and links to shared directories are not among them.
    pub(super) files: Manifest,
    /// Entries of `files` that the source did not have.
    pub(super) prepared: BTreeSet<RelPath>,
    /// Entries of the source that `prepare` changed or removed.
    pub(super) changed: BTreeSet<RelPath>,
    /// Directories that the app may write; nothing below them is sealed.
    pub(super) writable: BTreeSet<RelPath>,
    /// Links to shared directories.
    pub(super) shared_dirs: BTreeSet<RelPath>,
}

/// What an instance is made from besides the source: two equal ones may use the same directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Shared files that were copied in, with the hash of their content.
    pub(crate) shared_files: BTreeMap<RelPath, String>,
    /// Hash of the settings that the files depend on: `prepare` with its environment, shared and writable directories.
    pub(crate) settings: String,
}

/// What a fetch brought, kept beside the seals until the release is sealed. Same form as a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FetchedRecord {
    pub(super) hash: String,
    pub(super) fetched: Fetched,
    pub(super) inputs: Inputs,
    pub(super) source: Manifest,
}

/// Reads a seal; `None`: there is none. A damaged one is an error that names it.
pub(super) fn read_seal(layout: &Layout, name: &InstanceName) -> Result<Option<Seal>, FilesError> {
    let path = layout.seal(name);
    let Some(seal) = read::<Seal>(&path)? else { return Ok(None) };
    if seal.instance == name.to_string() {
        return Ok(Some(seal));
    }
    Err(damaged(&path, &format!("it is the seal of {}", seal.instance)))
}

/// Reads either kind of record; `None`: there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FilesError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(damaged(path, "it is not text"));
        }
        other => other.map_err(io_error("read", path))?,
    };
    let body = checked_body(&text).map_err(|why| damaged(path, why))?;
    serde_json::from_str(body).map(Some).map_err(|error| damaged(path, &error.to_string()))
}

/// Writes either kind of record, durably. 0600: the hash of a short secret would give it away.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), FilesError> {
    write_atomically(path, text_of(record)?.as_bytes(), 0o600)
}

/// Writes a record that need not survive a power cut: a deploy that one interrupts is undone.
pub(super) fn write_for_now<T: Serialize>(path: &Path, record: &T) -> Result<(), FilesError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(io_error("write", path))?;
    file.write_all(text_of(record)?.as_bytes()).map_err(io_error("write", path))
}

fn text_of<T: Serialize>(record: &T) -> Result<String, FilesError> {
    let body = serde_json::to_string(record)
        .map_err(|error| FilesError::refused("write the seal", error.to_string()))?;
    let checksum = blake3::hash(body.as_bytes()).to_hex();
    Ok(format!("{HEAD}{checksum}{MIDDLE}{body}{TAIL}"))
}

/// The part that the checksum is of, when it is right.
fn checked_body(text: &str) -> Result<&str, &'static str> {
    let Some(rest) = text.strip_prefix(HEAD) else {
        let other_format = text.starts_with(r#"{"format":"#);
        return Err(if other_format { "another version wrote it" } else { "it has no head" });
    };
    let (checksum, rest) = rest.split_once(MIDDLE).ok_or("its head is damaged")?;
    let body = rest.strip_suffix(TAIL).ok_or("its end is missing")?;
    let matches = blake3::hash(body.as_bytes()).to_hex().as_str() == checksum;
    if matches { Ok(body) } else { Err("its checksum does not match") }
}

fn damaged(path: &Path, why: &str) -> FilesError {
    FilesError::refused_hint(
        format!("trust {}", path.display()),
        why,
        "deploy its source again, as a new release; this one is not used any more",
    )
}
