//! Unpacks `.tar`, `.tar.gz` and `.tar.zst` by rules of our own.
//!
//! Only regular files, directories, hard links to files that came before, and relative links that stay inside. No
//! absolute path, no `..`, no device, nothing twice, no bits beyond rwx, and limits on entries, bytes, names and the
//! compression ratio. The `tar` crate only reads headers here; it writes nothing.

use super::place::{Content, Placer};
use crate::files::{FilesError, Until, io_error};
use alcedo_core::release::{Fate, Node, RelPath, Rules};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use tar::EntryType;

/// Bytes an archive may unpack to.
const BYTES_MAX: u64 = 64 << 30;
/// Unpacked bytes for each packed one, beyond [`RATIO_FREE_BYTES`]. Text packs at 10 to 30.
const RATIO_MAX: u64 = 200;
/// Unpacked bytes that no ratio is asked for.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Entries of an archive.
const ENTRIES_MAX: u64 = 1_000_000;
/// Header bytes (long names, extended headers) before one entry.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Places everything in the archive and gives back the hash of its bytes.
pub(super) fn unpack(
    path: &Path,
    placer: &mut Placer<'_>,
    until: &Until,
) -> Result<String, FilesError> {
    each_entry(path, until, |entry| place(path, entry, placer))
}

/// Bytes that the shipped part unpacks to.
pub(super) fn unpacked_bytes(path: &Path, rules: &Rules, until: &Until) -> Result<u64, FilesError> {
    let mut total = 0_u64;
    each_entry(path, until, |entry| {
        let name = entry.name(path)?;
        let ships = name.is_some_and(|name| rules.fate_alone(&name, false) != Fate::LeaveOut);
        total += if ships { crate::files::file_cost_bytes(entry.size_bytes) } else { 0 };
        Ok(())
    })?;
    Ok(total)
}

/// One header, checked for what the `tar` crate leaves open, with its content.
struct Member<'a> {
    raw_name: Vec<u8>,
    link_name: Option<Vec<u8>>,
    kind: EntryType,
    mode: u32,
    size_bytes: u64,
    content: &'a mut dyn Read,
}

impl Member<'_> {
    /// The path it gets; `None` is the top itself (`./`).
    fn name(&self, archive: &Path) -> Result<Option<RelPath>, FilesError> {
        inside(archive, &self.raw_name)
    }
}

fn place(
    archive: &Path,
    member: &mut Member<'_>,
    placer: &mut Placer<'_>,
) -> Result<(), FilesError> {
    let Some(path) = member.name(archive)? else { return Ok(()) };
    let is_dir = member.kind == EntryType::Directory;
    let fate = placer.rules().fate_alone(&path, is_dir);
    refuse_twice(archive, &path, is_dir, placer)?;
    match What::of(member.kind) {
        What::Dir => placer.dir(&path, &fate),
        What::File => {
            let from = archive.join(path.as_path());
            placer.file(&path, member.mode, &from, Content::Stream(&mut *member.content), &fate)
        }
        What::Link => {
            let target = member.link_name.as_deref().unwrap_or_default();
            placer.link(&path, as_path(target), &fate)
        }
        What::HardLink => {
            let target = member.link_name.as_deref().unwrap_or_default();
            let earlier = inside(archive, target)?.ok_or_else(|| {
                refused(archive, &member.raw_name, "it is a hard link to nothing")
            })?;
            placer.same_as(&path, &earlier, &fate)
        }
        What::Refused(why) => Err(refused(archive, &member.raw_name, why)),
    }
}

/// What a member is to us.
enum What {
    Dir,
    File,
    Link,
    HardLink,
    Refused(&'static str),
}

impl What {
    fn of(kind: EntryType) -> Self {
        match () {
            () if kind.is_dir() => Self::Dir,
            () if kind.is_file() || kind.is_contiguous() => Self::File,
            () if kind.is_symlink() => Self::Link,
            () if kind.is_hard_link() => Self::HardLink,
            () if kind.is_character_special() || kind.is_block_special() => {
                Self::Refused("it is a device")
            }
            () if kind.is_fifo() => Self::Refused("it is a named pipe"),
            () if kind.is_gnu_sparse() => {
                Self::Refused("it is a sparse file; make the archive without `--sparse`")
            }
            () => Self::Refused("it is neither file, directory nor link"),
        }
    }
}

/// A path may come again only as the same directory.
fn refuse_twice(
    archive: &Path,
    path: &RelPath,
    is_dir: bool,
    placer: &Placer<'_>,
) -> Result<(), FilesError> {
    match placer.manifest.0.get(path) {
        None => Ok(()),
        Some(Node::Dir) if is_dir => Ok(()),
        Some(_) => Err(refused(archive, path.to_string().as_bytes(), "it comes twice")),
    }
}

fn inside(archive: &Path, name: &[u8]) -> Result<Option<RelPath>, FilesError> {
    if matches!(name, b"." | b"./") {
        return Ok(None);
    }
    RelPath::new(as_path(name))
        .map(Some)
        .map_err(|_| refused(archive, name, "its name is empty, absolute or contains `..`"))
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn refused(archive: &Path, name: &[u8], why: &str) -> FilesError {
    let name = String::from_utf8_lossy(name);
    FilesError::refused(
        format!("unpack {name:?} of {}", archive.display()),
        format!("{why}; nothing of the archive is used"),
    )
}

/// Calls `visit` for each member and gives back the hash of the archive's bytes.
fn each_entry(
    path: &Path,
    until: &Until,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), FilesError>,
) -> Result<String, FilesError> {
    let packed = Rc::new(Packed { read: Cell::new(0), header_budget: Cell::new(HEADER_BYTES_MAX) });
    let file = File::open(path).map_err(io_error("read", path))?;
    let hashed = Hashed { file, hasher: blake3::Hasher::new(), packed: Rc::clone(&packed) };
    let mut plain =
        Limited { from: decoder(path, hashed)?, unpacked: 0, packed: Rc::clone(&packed) };
    {
        let mut archive = tar::Archive::new(&mut plain);
        let entries = archive.entries().map_err(io_error("read", path))?;
        let mut count = 0;
        for entry in entries {
            let mut entry = entry.map_err(io_error("read", path))?;
            until.check()?;
            count += 1;
            let mut member = member_of(path, &mut entry, count, &packed)?;
            if let Some(member) = &mut member {
                visit(member)?;
            }
            drop(member);
            // What was not read is skipped here, where data is allowed, and a file that ends early is noticed.
            io::copy(&mut entry, &mut io::sink()).map_err(io_error("read", path))?;
            packed.header_budget.set(HEADER_BYTES_MAX);
        }
    }
    plain.from.finish(path)
}

/// Checks a header; `None`: a global header, as `git archive` writes it, which says nothing about a file.
fn member_of<'a>(
    path: &Path,
    entry: &'a mut tar::Entry<'_, &mut Limited>,
    count: u64,
    packed: &Packed,
) -> Result<Option<Member<'a>>, FilesError> {
    let kind = entry.header().entry_type();
    let raw_name = entry.path_bytes().into_owned();
    let link_name = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    let mode = entry.header().mode().map_err(io_error("read", path))? & 0o777;
    let size_bytes = entry.size();
    if count > ENTRIES_MAX {
        return Err(refused(
            path,
            &raw_name,
            &format!("there are more than {ENTRIES_MAX} entries"),
        ));
    }
    if size_bytes > BYTES_MAX {
        return Err(refused(path, &raw_name, &format!("it says that it has {size_bytes} bytes")));
    }
    packed.header_budget.set(u64::MAX);
    let keep = kind != EntryType::XGlobalHeader;
    Ok(keep.then_some(Member { raw_name, link_name, kind, mode, size_bytes, content: entry }))
}

/// What the ends of the reading chain know of each other.
#[derive(Debug)]
struct Packed {
    /// Packed bytes read so far.
    read: Cell<u64>,
    /// Unpacked bytes that may still be read until the next file's data.
    header_budget: Cell<u64>,
}

/// Counts and hashes the packed bytes.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
    packed: Rc<Packed>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.packed.read.set(self.packed.read.get() + count as u64);
        Ok(count)
    }
}

/// Unpacks.
enum Decoder {
    Plain(Box<BufReader<Hashed>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Hashed>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Hashed>>>),
}

fn decoder(path: &Path, hashed: Hashed) -> Result<Decoder, FilesError> {
    let mut buffered = BufReader::with_capacity(256 * 1_024, hashed);
    let magic = io::BufRead::fill_buf(&mut buffered).map_err(io_error("read", path))?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(buffered))));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(io_error("read", path))?;
        // 128 MiB of window at most, so that a header cannot ask for all memory.
        decoder.window_log_max(27).map_err(io_error("read", path))?;
        return Ok(Decoder::Zstd(Box::new(decoder)));
    }
    Ok(Decoder::Plain(Box::new(buffered)))
}

impl Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }

    /// Reads what is left of the file and gives back its hash.
    fn finish(self, path: &Path) -> Result<String, FilesError> {
        let buffered = match self {
            Self::Plain(reader) => *reader,
            Self::Gzip(reader) => reader.into_inner(),
            Self::Zstd(reader) => reader.finish(),
        };
        let mut hashed = buffered.into_inner();
        io::copy(&mut hashed, &mut io::sink()).map_err(io_error("read", path))?;
        Ok(hashed.hasher.finalize().to_hex().to_string())
    }
}

/// Holds the unpacked bytes to their limits.
struct Limited {
    from: Decoder,
    unpacked: u64,
    packed: Rc<Packed>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let budget = self.packed.header_budget.get();
        if budget == 0 {
            return Err(io::Error::other("its headers are too long"));
        }
        let most = buffer.len().min(usize::try_from(budget).unwrap_or(usize::MAX));
        let count = self.from.read(&mut buffer[..most])?;
        self.unpacked += count as u64;
        if budget != u64::MAX {
            self.packed.header_budget.set(budget - count as u64);
        }
        let allowed =
            RATIO_FREE_BYTES.saturating_add(self.packed.read.get().saturating_mul(RATIO_MAX));
        if self.unpacked > allowed.min(BYTES_MAX) {
            return Err(io::Error::other(
                "it unpacks to more than 64 GiB, or to more than 200 times its size (ship the directory instead)",
            ));
        }
        Ok(count)
    }
}
