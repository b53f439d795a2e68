//! Takes releases that are sent from another machine: says what is lacking, and collects it by content.
//!
//! ```text
//! incoming/<hash>.json  what was offered under this content hash
//! incoming/<hash>.part  a content, as far as it has come
//! incoming/<hash>       a content that is whole: its hash was seen to be right
//! incoming/<hash>.lost  a kept release does not have this content any more, though its seal says so
//! ```
//! Nothing here is a release: `fetch` makes one of it, and looks at every hash again. Whatever is damaged is sent again.

mod take;

use super::audit::sealed_names;
use super::layout::{InstanceName, Layout};
use super::seal::{Seal, read_seal};
use crate::api::upload::{Basis, Content, Lack, Lacks, Offer, Old, Tree as TreeOffer};
use crate::engine::ports::Sent;
use crate::files::{
    FilesError, Tree, file_cost_bytes, free_bytes, human_bytes, io_error, write_atomically,
};
use crate::upload::{cuts, groups};
use alcedo_core::release::{Manifest, Node, RelPath};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Offers that are remembered: what older ones brought and no deploy fetched goes.
const OFFERS_MAX: usize = 4;
/// Entries of a tree.
const ENTRIES_MAX: usize = 1_000_000;
/// Disk that stays free.
const RESERVE_BYTES: u64 = 16 << 20;

/// What waits under one app's root.
pub(super) struct Incoming<'a> {
    layout: &'a Layout,
    dir: PathBuf,
}

/// What was offered. Only this version reads it; what it cannot read is offered again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) form: Sent,
    /// Of an archive, the archive as one entry.
    pub(super) tree: Manifest,
    pub(super) seeds: Manifest,
}

impl<'a> Incoming<'a> {
    pub(super) fn of(layout: &'a Layout) -> Self {
        Self { layout, dir: layout.incoming() }
    }

    /// Digests of the newest kept release.
    pub(super) fn basis(&self, groups: u32) -> Result<Basis, FilesError> {
        let Some((name, seal)) = self.newest()? else { return Ok(Basis::default()) };
        let all = groups::split(&as_sent(seal), groups);
        let digests = all.iter().map(groups::digest).collect();
        Ok(Basis { instance: Some(name.to_string()), digests })
    }

    /// Notes the offer and says what is lacking.
    pub(super) fn offer(&self, offer: &Offer) -> Result<Lacks, FilesError> {
        check_hash(&offer.hash)?;
        let offered = match &offer.content {
            Content::Archive { size_bytes } => archive(&offer.hash, *size_bytes)?,
            Content::Tree(tree) => match self.tree(tree, &offer.hash)? {
                Some(whole) => Offered { form: Sent::Tree, tree: whole, seeds: tree.seeds.clone() },
                None => return Ok(Lacks { stale: true, files: Vec::new() }),
            },
        };
        self.layout.create()?;
        self.create()?;
        let _lock = self.lock()?;
        self.forget_older(&offer.hash)?;
        let lacks = self.lacks(&offered)?;
        self.refuse_too_big(&offered, &lacks)?;
        self.note(&offer.hash, &offered)?;
        Ok(lacks)
    }

    /// Where a whole content waits.
    ///
    /// # Errors
    /// When it did not come, or not whole.
    pub(super) fn whole(&self, hash: &str) -> Result<PathBuf, FilesError> {
        check_hash(hash)?;
        let path = self.content(hash);
        if path.is_file() {
            return Ok(path);
        }
        Err(FilesError::refused_hint(
            format!("use the upload {}", &hash[..12]),
            "not all of it has come",
            "type the command again: it goes on where it was",
        ))
    }

    /// What was offered under this hash; `None`: nothing that can be read.
    pub(super) fn offered(&self, hash: &str) -> Result<Option<Offered>, FilesError> {
        check_hash(hash)?;
        let path = self.file(hash, ".json");
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        }
    }

    /// Disk that the release will take.
    pub(super) fn needed_bytes(&self, hash: &str) -> Result<u64, FilesError> {
        let offered = self.offered(hash)?.ok_or_else(|| {
            FilesError::refused_hint(
                format!("find the upload {}", &hash[..12]),
                "nothing of that hash was sent",
                "type the command again",
            )
        })?;
        Ok(offered.tree.0.values().map(|node| file_cost_bytes(node.size_bytes().max(1))).sum())
    }

    /// Removes what was fetched. What cannot be removed now goes with a later offer.
    pub(super) fn forget(&self, hash: &str) {
        let Ok(Some(offered)) = self.offered(hash) else { return };
        let _ = fs::remove_file(self.file(hash, ".json"));
        let others = self.wanted().unwrap_or_default();
        for hash in offered.hashes().filter(|hash| !others.contains(*hash)) {
            for end in ["", ".part", ".lost"] {
                let _ = fs::remove_file(self.file(hash, end));
            }
        }
    }

    /// From now on this content is asked for, whatever the seals say.
    pub(super) fn mark_lost(&self, hash: &str) {
        if check_hash(hash).is_ok() {
            let _ = File::create(self.file(hash, ".lost"));
        }
    }

    /// A content that turned out to be damaged.
    pub(super) fn drop_content(&self, hash: &str) {
        if check_hash(hash).is_ok() {
            let _ = fs::remove_file(self.content(hash));
        }
    }

    /// Every content of the kept releases, with one place where it is.
    pub(super) fn kept(&self) -> Result<BTreeMap<String, (InstanceName, RelPath)>, FilesError> {
        let mut kept = BTreeMap::new();
        for name in sealed_names(self.layout)? {
            // Damaged ones are named by `check`.
            let Ok(Some(seal)) = read_seal(self.layout, &name) else { continue };
            for (path, node) in seal.files.0 {
                if let Node::File { hash, .. } = node {
                    kept.insert(hash, (name.clone(), path));
                }
            }
        }
        Ok(kept)
    }

    fn newest(&self) -> Result<Option<(InstanceName, Seal)>, FilesError> {
        if !self.layout.seals().is_dir() {
            return Ok(None);
        }
        let names = sealed_names(self.layout)?.into_iter().rev();
        let usable = |name: InstanceName| match read_seal(self.layout, &name) {
            Ok(Some(seal)) if self.layout.instance(&name).is_dir() => Some((name, seal)),
            Ok(_) | Err(_) => None,
        };
        Ok(names.filter_map(usable).next())
    }

    /// The whole tree; `None`: what it was compared with is not what the sender thinks.
    fn tree(&self, told: &TreeOffer, hash: &str) -> Result<Option<Manifest>, FilesError> {
        let mut groups = match &told.instance {
            None => vec![Manifest::default(); told.groups.clamp(1, groups::GROUPS_MAX) as usize],
            Some(name) => {
                let seal = match InstanceName::parse(name) {
                    Some(name) => read_seal(self.layout, &name).ok().flatten(),
                    None => None,
                };
                let Some(seal) = seal else { return Ok(None) };
                groups::split(&as_sent(seal), told.groups)
            }
        };
        for (number, group) in &told.changed {
            let place = groups.get_mut(*number as usize);
            *place.ok_or_else(|| refused("it names a group that is none"))? = group.clone();
        }
        let tree = Manifest(groups.into_iter().flat_map(|group| group.0).collect());
        if tree.0.len().max(told.seeds.0.len()) > ENTRIES_MAX {
            return Err(refused("it has more than a million entries"));
        }
        match (tree.hash() == hash, told.instance.is_some()) {
            (true, _) => Ok(Some(tree)),
            (false, true) => Ok(None),
            (false, false) => Err(refused("its entries do not have the hash that it names")),
        }
    }

    fn lacks(&self, offered: &Offered) -> Result<Lacks, FilesError> {
        let kept = self.kept()?;
        let newest = self.newest()?;
        let mut asked = HashSet::new();
        let mut files = Vec::new();
        for (path, node) in offered.entries() {
            let Node::File { hash, size_bytes, .. } = node else { continue };
            check_hash(hash)?;
            let is_kept = kept.contains_key(hash) && !self.file(hash, ".lost").exists();
            if is_kept || !asked.insert(hash) || self.content(hash).is_file() {
                continue;
            }
            let part = fs::metadata(self.file(hash, ".part"));
            let have_bytes = part.map_or(0, |part| part.len()).min(*size_bytes);
            let old =
                newest.as_ref().and_then(|(name, seal)| self.old(name, seal, path, *size_bytes));
            files.push(Lack { hash: hash.clone(), have_bytes, old });
        }
        Ok(Lacks { stale: false, files })
    }

    /// The older version of a file that is lacking, told in pieces. One that cannot be read is none.
    fn old(&self, name: &InstanceName, seal: &Seal, path: &RelPath, new_bytes: u64) -> Option<Old> {
        let Node::File { size_bytes, .. } = seal.files.0.get(path)? else { return None };
        let sizes = cuts::OLD_BYTES_MIN..=cuts::OLD_BYTES_MAX;
        if !sizes.contains(size_bytes) || new_bytes < cuts::OLD_BYTES_MIN {
            return None;
        }
        let file = Tree::open(&self.layout.instance(name)).ok()?.read(path).ok()??;
        let pieces = cuts::told(file, *size_bytes).ok()?;
        Some(Old {
            instance: name.to_string(),
            path: path.clone(),
            size_bytes: *size_bytes,
            pieces,
        })
    }

    fn refuse_too_big(&self, offered: &Offered, lacks: &Lacks) -> Result<(), FilesError> {
        let sizes: BTreeMap<&str, u64> = offered.sizes();
        let size = |lack: &Lack| {
            sizes.get(lack.hash.as_str()).map_or(0, |size| size.saturating_sub(lack.have_bytes))
        };
        let needed = lacks.files.iter().map(size).fold(RESERVE_BYTES, u64::saturating_add);
        let free = free_bytes(&self.dir).map_err(io_error("look at", &self.dir))?;
        if needed <= free {
            return Ok(());
        }
        Err(FilesError::refused_hint(
            format!("take an upload into {}", self.dir.display()),
            format!("it needs {}, and {} are free there", human_bytes(needed), human_bytes(free)),
            "`alcedo prune --dry-run` shows what old releases take",
        ))
    }

    fn note(&self, hash: &str, offered: &Offered) -> Result<(), FilesError> {
        let path = self.file(hash, ".json");
        let text = serde_json::to_vec(offered)
            .map_err(|error| FilesError::refused("note an upload", error.to_string()))?;
        write_atomically(&path, &text, 0o600)
    }

    /// Forgets all but the newest offers, and the contents that none of these wants.
    fn forget_older(&self, newest: &str) -> Result<(), FilesError> {
        let mut offers: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("read the directory", &self.dir))? {
            let path = entry.map_err(io_error("read the directory", &self.dir))?.path();
            let is_other = path.extension().is_some_and(|end| end == "json")
                && path.file_stem().is_some_and(|stem| stem != newest);
            if let (true, Ok(meta)) = (is_other, fs::metadata(&path)) {
                offers.push((meta.modified().unwrap_or(std::time::UNIX_EPOCH), path));
            }
        }
        offers.sort_unstable();
        let gone = offers.len().saturating_sub(OFFERS_MAX - 1);
        for (_, path) in offers.into_iter().take(gone) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Contents that some offer names.
    fn wanted(&self) -> Result<BTreeSet<String>, FilesError> {
        let mut wanted = BTreeSet::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("read the directory", &self.dir))? {
            let name = entry.map_err(io_error("read the directory", &self.dir))?.file_name();
            let Some(hash) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            if let Ok(Some(offered)) = self.offered(hash) {
                wanted.extend(offered.hashes().map(str::to_owned));
            }
        }
        Ok(wanted)
    }

    fn create(&self) -> Result<(), FilesError> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(io_error("make the directory", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Held while contents are written: two machines may send the same.
    fn lock(&self) -> Result<File, FilesError> {
        let path = self.dir.join("lock");
        let mut options = File::options();
        let file = options.create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(io_error("lock", &path))?;
        Ok(file)
    }

    fn content(&self, hash: &str) -> PathBuf {
        self.file(hash, "")
    }

    fn file(&self, hash: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{hash}{end}"))
    }
}

impl Offered {
    /// Entries of the tree, then what could fill gaps.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&RelPath, &Node)> {
        self.tree.0.iter().chain(&self.seeds.0)
    }

    fn hashes(&self) -> impl Iterator<Item = &str> {
        self.entries().filter_map(|(_, node)| match node {
            Node::File { hash, .. } => Some(hash.as_str()),
            Node::Dir | Node::Link { .. } => None,
        })
    }

    fn sizes(&self) -> BTreeMap<&str, u64> {
        let nodes = self.entries().filter_map(|(_, node)| match node {
            Node::File { hash, size_bytes, .. } => Some((hash.as_str(), *size_bytes)),
            Node::Dir | Node::Link { .. } => None,
        });
        nodes.collect()
    }
}

/// An archive is one content.
fn archive(hash: &str, size_bytes: u64) -> Result<Offered, FilesError> {
    let path = RelPath::new(Path::new("archive")).map_err(|_| refused("it has no name"))?;
    let node = Node::File { hash: hash.to_owned(), size_bytes, executable: false };
    let tree = Manifest([(path, node)].into());
    Ok(Offered { form: Sent::Archive, tree, seeds: Manifest::default() })
}

/// What a sender has of a kept release: not what `prepare` made in it.
fn as_sent(seal: Seal) -> Manifest {
    let Seal { files, prepared, .. } = seal;
    Manifest(files.0.into_iter().filter(|(path, _)| !prepared.contains(path)).collect())
}

/// Hashes become file names.
fn check_hash(hash: &str) -> Result<(), FilesError> {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hash.len() == 64 && hash.bytes().all(is_digit) {
        return Ok(());
    }
    Err(refused("it names something that is no hash"))
}

fn refused(why: &'static str) -> FilesError {
    FilesError::refused_hint(
        "take the upload",
        why,
        "nothing of it was kept; type the command again",
    )
}
