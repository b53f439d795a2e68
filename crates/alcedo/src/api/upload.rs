//! The words of an upload. Content-addressed: a release is sent as the hashes of its files, and the host says which
//! contents it lacks.
//!
//! | call | does |
//! |---|---|
//! | `POST basis` | [`BasisCall`] → [`Basis`]: digests of the newest kept release, to compare with |
//! | `POST offer` | [`Offer`] → [`Lacks`]: what has to be sent; what came before a cut is counted |
//! | `PUT parts/HASH` | a piece of what is lacking (`crate::upload::part`) → [`Got`]; repeated, it changes nothing |
//!
//! Bodies of `basis` and `offer` and their answers are JSON, packed with zstd. After the last part the release can be
//! deployed as [`crate::engine::ports::Source::Upload`]. Nothing of an upload counts before its hashes were seen to be
//! right, and nothing of it is ever run from where it waits.

use super::ConfigText;
use alcedo_core::release::{Manifest, RelPath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which kept release can be compared with?
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BasisCall {
    /// Says where the app's releases are.
    pub(crate) config: ConfigText,
    /// Into how many groups entries are put, each with one digest.
    pub(crate) groups: u32,
}

/// The newest kept release in digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Basis {
    /// Its directory under `releases/`; absent: nothing is kept.
    pub(crate) instance: Option<String>,
    /// Digest of each group ([`crate::upload::groups`]), hex.
    pub(crate) digests: Vec<String>,
}

/// A release that could be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// Says where the app's releases are.
    pub(crate) config: ConfigText,
    /// Content hash of the whole (blake3, hex).
    pub(crate) hash: String,
    /// What it is.
    pub(crate) content: Content,
}

/// What is offered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// A directory, or one file.
    Tree(Tree),
    /// One file that is unpacked on the host.
    Archive {
        /// Its length.
        size_bytes: u64,
    },
}

/// A tree, told as what differs from a kept release.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tree {
    /// The release it is compared with; absent: with nothing.
    pub(crate) instance: Option<String>,
    /// Into how many groups entries were put.
    pub(crate) groups: u32,
    /// Every entry of each group that differs; the entries of the other groups are those of the kept release.
    pub(crate) changed: BTreeMap<u32, Manifest>,
    /// What the build has at shared paths: only for a host that keeps no release, where it fills gaps.
    #[serde(default)]
    pub(crate) seeds: Manifest,
}

/// What the host lacks, in the order in which it wants it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lacks {
    /// The comparison does not hold (that release is gone, or a digest was the same by chance): tell every entry.
    #[serde(default)]
    pub(crate) stale: bool,
    /// Contents.
    pub(crate) files: Vec<Lack>,
}

/// A content that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lack {
    /// Its hash.
    pub(crate) hash: String,
    /// So many of its bytes have come before.
    #[serde(default)]
    pub(crate) have_bytes: u64,
    /// A file that is probably an older version of it.
    #[serde(default)]
    pub(crate) old: Option<Old>,
}

/// An older version on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Old {
    /// The release it is part of.
    pub(crate) instance: String,
    /// Where in it.
    pub(crate) path: RelPath,
    /// Its length, which decides where pieces end ([`crate::upload::cuts`]).
    pub(crate) size_bytes: u64,
    /// Digest and length of each piece, in order, hex.
    pub(crate) pieces: String,
}

/// A part was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Got {
    /// Contents that became whole with it.
    pub(crate) whole: u64,
    /// What it continues is not here (any more): offer again, and go on from what is lacking then.
    #[serde(default)]
    pub(crate) again: bool,
}
