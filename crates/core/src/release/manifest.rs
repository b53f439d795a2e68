//! What a release contains: every path with its type, executable bit and content, and one hash over all of it.
//!
//! Written into seals (format 1): fields are added with `#[serde(default)]` and never renamed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A path inside a release: relative, of plain names only. Any bytes; in JSON, bytes that are not UTF-8 and backslashes
/// are written as `\xNN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(PathBuf);

/// Why a text is not a path inside a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use {0:?} as a path inside the release: it is empty, absolute or contains `..`")]
pub struct RelPathError(pub String);

impl RelPath {
    /// Accepts plain names separated by slashes; `.` between them is dropped.
    pub fn new(path: &Path) -> Result<Self, RelPathError> {
        let refuse = || RelPathError(path.display().to_string());
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => plain.push(name),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(refuse());
                }
            }
        }
        let usable = !plain.as_os_str().is_empty() && !plain.as_os_str().as_bytes().contains(&0);
        if usable { Ok(Self(plain)) } else { Err(refuse()) }
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl std::fmt::Display for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(self.0.as_os_str().as_bytes()))
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.to_string()
    }
}

impl TryFrom<String> for RelPath {
    type Error = RelPathError;
    fn try_from(text: String) -> Result<Self, RelPathError> {
        let bytes = unescape(&text).ok_or_else(|| RelPathError(text.clone()))?;
        Self::new(Path::new(&OsString::from_vec(bytes)))
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\x5c"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.strip_prefix('x')?.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(bytes)
}

/// One entry of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Of its content (blake3, hex).
        hash: String,
        /// Its length.
        size_bytes: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as written; escaped like [`RelPath`].
        target: String,
    },
}

impl Node {
    /// A link, from the target's bytes.
    pub fn link(target: &Path) -> Self {
        Self::Link { target: escape(target.as_os_str().as_bytes()) }
    }

    /// Bytes of content.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::File { size_bytes, .. } => *size_bytes,
            Self::Dir | Self::Link { .. } => 0,
        }
    }

    /// Where a link points; `None` for anything else.
    pub fn link_target(&self) -> Option<PathBuf> {
        match self {
            Self::Link { target } => Some(PathBuf::from(OsString::from_vec(unescape(target)?))),
            Self::Dir | Self::File { .. } => None,
        }
    }
}

/// Every entry of a release, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<RelPath, Node>);

impl Manifest {
    /// The content hash: blake3 over every entry in the order of its path, as type, length and bytes of the path, and
    /// for files the executable bit and the content's hash, for links length and bytes of the target. The same tree has
    /// the same hash on every machine; owners, times and the other mode bits do not count.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"alcedo manifest 1\n");
        for (path, node) in &self.0 {
            let tag: &[u8] = match node {
                Node::Dir => b"d",
                Node::File { executable: false, .. } => b"f",
                Node::File { executable: true, .. } => b"x",
                Node::Link { .. } => b"l",
            };
            hasher.update(tag);
            update_sized(&mut hasher, path.as_path().as_os_str().as_bytes());
            match node {
                Node::Dir => {}
                Node::File { hash, .. } => update_sized(&mut hasher, hash.as_bytes()),
                Node::Link { target } => update_sized(&mut hasher, target.as_bytes()),
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Regular files in it.
    pub fn file_count(&self) -> u64 {
        let is_file = |node: &&Node| matches!(node, Node::File { .. });
        self.0.values().filter(is_file).count() as u64
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.0.values().map(Node::size_bytes).sum()
    }
}

fn update_sized(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(content: &str, executable: bool) -> Node {
        let hash = blake3::hash(content.as_bytes()).to_hex().to_string();
        Node::File { hash, size_bytes: content.len() as u64, executable }
    }

    fn manifest(entries: &[(&str, Node)]) -> Manifest {
        let entry = |(path, node): &(&str, Node)| {
            (RelPath::new(Path::new(path)).expect("plain"), node.clone())
        };
        Manifest(entries.iter().map(entry).collect())
    }

    #[test]
    fn the_hash_sees_paths_contents_links_and_the_executable_bit() {
        let all = [
            manifest(&[]),
            manifest(&[("a", file("1", false))]),
            manifest(&[("b", file("1", false))]),
            manifest(&[("a", file("2", false))]),
            manifest(&[("a", file("1", true))]),
            manifest(&[("a", Node::Dir)]),
            manifest(&[("a", Node::link(Path::new("b")))]),
            manifest(&[("a", Node::link(Path::new("c")))]),
            manifest(&[("a", Node::Dir), ("a/b", file("1", false))]),
        ];
        let hashes: std::collections::BTreeSet<_> = all.iter().map(Manifest::hash).collect();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn the_hash_is_fixed_for_all_machines_and_versions() {
        let tree = manifest(&[
            ("bin", Node::Dir),
            ("bin/app", file("#!/bin/sh\n", true)),
            ("latest", Node::link(Path::new("bin/app"))),
        ]);
        assert_eq!(tree.hash(), "47a49d40afc761a574d3f42d20e97b15d9056567d79c1bb46b2d1e8df4e6e1a4",);
    }

    #[test]
    fn paths_out_of_the_release_are_refused() {
        for path in ["", ".", "/etc", "../a", "a/../b", "a\0b"] {
            assert!(RelPath::new(Path::new(path)).is_err(), "{path:?}");
        }
        assert_eq!(RelPath::new(Path::new("./a/./b/")).expect("plain").as_path(), Path::new("a/b"));
    }

    proptest! {
        #[test]
        fn every_name_survives_json(bytes in proptest::collection::vec(1u8.., 1..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            if let Ok(path) = RelPath::new(&path) {
                let text = serde_json::to_string(&path).expect("text");
                prop_assert_eq!(serde_json::from_str::<RelPath>(&text).expect("path"), path);
            }
        }
    }
}
