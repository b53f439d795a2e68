//! The sender: knows a release by its contents and writes those that are lacking into parts.

use super::cuts::{self, Known};
use super::part::{Order, Part};
use super::unhex;
use crate::api::upload::{Content, Lack, Lacks, Tree};
use crate::engine::ports::{Sent, Source};
use crate::files::{FilesError, Kind, Until, hash_files, io_error, scan};
use crate::upload::groups;
use alcedo_core::config::Config;
use alcedo_core::release::{Fate, Manifest, Node, RelPath, Rules};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Read in one go.
const BLOCK_BYTES: usize = 256 << 10;
/// A longer path of an older version is not taken: it could not be written into a part.
const OLD_PATH_BYTES_MAX: usize = 20_000;

/// A release that is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    hash: String,
    form: Sent,
    size_bytes: u64,
    tree: Manifest,
    seeds: Manifest,
    /// Where each content is.
    contents: HashMap<String, PathBuf>,
}

/// A part, ready to be sent.
#[derive(Debug)]
pub(crate) struct Packed {
    /// As it is sent.
    pub(crate) bytes: Vec<u8>,
    /// So many bytes of contents it stands for.
    pub(crate) content_bytes: u64,
}

impl Outgoing {
    /// What `source` is in contents; `tree` is what was hashed of it. With `seeds`, what it has at shared paths as well.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn of(
        source: &Source,
        tree: &Manifest,
        seeds: Option<&Config>,
        until: &Until,
    ) -> Result<Option<Self>, FilesError> {
        let mut out = match source {
            Source::Directory { path, hash } => {
                Self::new(hash, Sent::Tree, tree.clone(), |p| path.join(p))
            }
            Source::File { path, hash } => {
                Self::new(hash, Sent::Tree, tree.clone(), |_| path.clone())
            }
            Source::Archive { path, hash } => {
                let size_bytes = std::fs::metadata(path).map_err(io_error("read", path))?.len();
                let mut out = Self::new(hash, Sent::Archive, Manifest::default(), |p| p.to_owned());
                out.contents.insert(hash.clone(), path.clone());
                out.size_bytes = size_bytes;
                out
            }
            Source::Upload { .. } | Source::Kept => return Ok(None),
        };
        if let (Source::Directory { path, .. }, Some(config)) = (source, seeds) {
            out.add_seeds(path, config, until)?;
        }
        Ok(Some(out))
    }

    fn new(hash: &str, form: Sent, tree: Manifest, at: impl Fn(&Path) -> PathBuf) -> Self {
        let mut contents = HashMap::new();
        for (path, node) in &tree.0 {
            if let Node::File { hash, .. } = node {
                contents.entry(hash.clone()).or_insert_with(|| at(path.as_path()));
            }
        }
        let size_bytes = tree.size_bytes();
        Self { hash: hash.to_owned(), form, size_bytes, tree, seeds: Manifest::default(), contents }
    }

    /// What the build has at shared paths: on a host without any release it fills gaps.
    fn add_seeds(&mut self, root: &Path, config: &Config, until: &Until) -> Result<(), FilesError> {
        let rules =
            Rules::new(&config.release.exclude, &config.shared, &config.release.writable)
                .map_err(|error| FilesError::refused(error.to_string(), "alcedo.toml says so"))?;
        let found = scan(root, &rules, until)?;
        let shared = found.iter().filter(|entry| entry.fate != Fate::Ship);
        for entry in shared {
            let full = root.join(entry.path.as_path());
            let node = match &entry.kind {
                Kind::Dir { .. } => Node::Dir,
                Kind::Link { target } => Node::link(target),
                Kind::File { mode, .. } => {
                    let mut hashed = hash_files(std::slice::from_ref(&full), until)?;
                    let (hash, size_bytes) = hashed.pop().expect("one hash for one file");
                    self.contents.entry(hash.clone()).or_insert(full);
                    Node::File { hash, size_bytes, executable: mode & 0o100 != 0 }
                }
            };
            self.seeds.0.insert(entry.path.clone(), node);
        }
        Ok(())
    }

    /// How the host will know it.
    pub(crate) fn source(&self) -> Source {
        Source::Upload { hash: self.hash.clone(), form: self.form }
    }

    /// Content hash.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Bytes of all contents.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many files it has.
    pub(crate) fn files(&self) -> u64 {
        self.tree.file_count().max(1)
    }

    /// Into how many groups its entries are put.
    pub(crate) fn groups(&self) -> u32 {
        groups::count(self.tree.0.len())
    }

    /// What is told of it to a host that has a release with these digests.
    pub(crate) fn told(&self, instance: Option<&str>, digests: &[String]) -> Content {
        if self.form == Sent::Archive {
            return Content::Archive { size_bytes: self.size_bytes };
        }
        let differs = |(number, group): &(usize, Manifest)| {
            digests.get(*number).is_none_or(|digest| *digest != groups::digest(group))
        };
        let all = groups::split(&self.tree, self.groups()).into_iter().enumerate();
        // Without a release to compare with, a group that is not told is empty.
        let worth = |(_, group): &(usize, Manifest)| instance.is_some() || !group.0.is_empty();
        let changed: BTreeMap<u32, Manifest> = all
            .filter(differs)
            .filter(worth)
            .filter_map(|(number, group)| Some((u32::try_from(number).ok()?, group)))
            .collect();
        Content::Tree(Tree {
            instance: instance.map(str::to_owned),
            groups: self.groups(),
            changed,
            seeds: self.seeds.clone(),
        })
    }

    /// Writes everything that is lacking into parts, in order; `emit` sends one, and ends it all with its error.
    ///
    /// # Errors
    /// When a file cannot be read, or the host asks for something that was not offered.
    pub(crate) fn parts(
        &self,
        lacks: &Lacks,
        until: &Until,
        emit: &mut dyn FnMut(Packed) -> Result<(), FilesError>,
    ) -> Result<(), FilesError> {
        let mut writer = Writer { part: Part::default(), content_bytes: 0, until, emit };
        for lack in &lacks.files {
            let path = self.contents.get(&lack.hash).ok_or_else(|| {
                FilesError::refused(
                    "send the release",
                    "the host asks for a content that is not part of it",
                )
            })?;
            writer.content(lack, path)?;
        }
        writer.close()
    }

    /// Contents that are lacking, and their bytes.
    pub(crate) fn lacking(&self, lacks: &Lacks) -> (u64, u64) {
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        for node in self.tree.0.values().chain(self.seeds.0.values()) {
            if let Node::File { hash, size_bytes, .. } = node {
                sizes.insert(hash, *size_bytes);
            }
        }
        if self.form == Sent::Archive {
            sizes.insert(&self.hash, self.size_bytes);
        }
        let bytes = |lack: &Lack| sizes.get(lack.hash.as_str()).copied().unwrap_or_default();
        (lacks.files.len() as u64, lacks.files.iter().map(bytes).sum())
    }
}

struct Writer<'a> {
    part: Part,
    content_bytes: u64,
    until: &'a Until,
    emit: &'a mut dyn FnMut(Packed) -> Result<(), FilesError>,
}

/// What has to be said again at the beginning of each part.
struct Heading<'a> {
    hash: [u8; 32],
    old: Option<(&'a str, &'a RelPath)>,
}

impl Writer<'_> {
    fn content(&mut self, lack: &Lack, path: &Path) -> Result<(), FilesError> {
        let hash = unhex(&lack.hash)
            .ok_or_else(|| FilesError::refused("send the release", "the host asks for no hash"))?;
        let file = File::open(path).map_err(io_error("read", path))?;
        let short = |path: &RelPath| path.to_string().len() <= OLD_PATH_BYTES_MAX;
        let old = lack.old.as_ref().filter(|old| short(&old.path) && old.instance.len() < 200);
        match old.and_then(|old| Some((old, Known::read(&old.pieces)?))) {
            Some((old, known)) => {
                let heading = Heading { hash, old: Some((&old.instance, &old.path)) };
                self.pieces(file, path, lack.have_bytes, old.size_bytes, &known, &heading)
            }
            None => self.blocks(file, path, lack.have_bytes, &Heading { hash, old: None }),
        }
    }

    fn blocks(
        &mut self,
        mut file: File,
        path: &Path,
        have_bytes: u64,
        heading: &Heading<'_>,
    ) -> Result<(), FilesError> {
        use std::io::{Seek, SeekFrom};
        file.seek(SeekFrom::Start(have_bytes)).map_err(io_error("read", path))?;
        let mut at = have_bytes;
        let mut buffer = vec![0; BLOCK_BYTES];
        self.head(heading, at);
        loop {
            let count = file.read(&mut buffer).map_err(io_error("read", path))?;
            if count == 0 {
                return Ok(());
            }
            self.part.add(&Order::Data(&buffer[..count]));
            at += count as u64;
            self.content_bytes += count as u64;
            self.next_part(heading, at)?;
        }
    }

    fn pieces(
        &mut self,
        file: File,
        path: &Path,
        have_bytes: u64,
        old_bytes: u64,
        known: &Known,
        heading: &Heading<'_>,
    ) -> Result<(), FilesError> {
        let mut at = 0_u64;
        let mut run: Option<(u64, u64)> = None;
        self.head(heading, have_bytes);
        for piece in cuts::pieces(BufReader::with_capacity(BLOCK_BYTES, file), old_bytes) {
            let piece = piece.map_err(io_error("read", path))?;
            let length = piece.bytes.len() as u64;
            let known_bytes = have_bytes.saturating_sub(at).min(length);
            at += length;
            if known_bytes == length {
                continue;
            }
            let skip = usize::try_from(known_bytes).unwrap_or(usize::MAX);
            self.content_bytes += length - known_bytes;
            match (known.find(&piece.bytes), run) {
                (Some(offset), Some((from, count))) if from + count == offset + known_bytes => {
                    run = Some((from, count + length - known_bytes));
                }
                (Some(offset), before) => {
                    self.copy(before);
                    run = Some((offset + known_bytes, length - known_bytes));
                }
                (None, before) => {
                    self.copy(before);
                    run = None;
                    self.part.add(&Order::Data(&piece.bytes[skip..]));
                }
            }
            if self.part.is_full() {
                self.copy(run.take());
                self.next_part(heading, at)?;
            }
        }
        self.copy(run);
        Ok(())
    }

    fn copy(&mut self, run: Option<(u64, u64)>) {
        if let Some((offset, length)) = run {
            self.part.add(&Order::Copy { offset, length });
        }
    }

    fn head(&mut self, heading: &Heading<'_>, at: u64) {
        self.part.add(&Order::File { hash: heading.hash, at });
        if let Some((instance, path)) = heading.old {
            self.part.add(&Order::Old { instance, path: path.clone() });
        }
    }

    /// Sends the part when it is full, and goes on in the next at `at`.
    fn next_part(&mut self, heading: &Heading<'_>, at: u64) -> Result<(), FilesError> {
        self.until.check()?;
        if self.part.is_full() {
            self.send()?;
            self.head(heading, at);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), FilesError> {
        if self.part.is_empty() { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), FilesError> {
        let part = std::mem::take(&mut self.part);
        let content_bytes = std::mem::take(&mut self.content_bytes);
        let bytes = part.pack().map_err(io_error("pack a part of", Path::new("the release")))?;
        (self.emit)(Packed { bytes, content_bytes })
    }
}
