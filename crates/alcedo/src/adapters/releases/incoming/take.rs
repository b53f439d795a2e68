//! Takes one part: appends to contents, and makes those that are whole count.

use super::{Incoming, Offered, refused};
use crate::adapters::releases::layout::InstanceName;
use crate::api::upload::Got;
use crate::files::{FilesError, Tree, Until, hash_files, io_error};
use crate::upload::hex;
use crate::upload::part::{self, Order};
use alcedo_core::release::RelPath;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Copied in one go.
const BLOCK_BYTES: usize = 256 << 10;

impl Incoming<'_> {
    /// Takes a packed part of the offer `hash`. A part that came before changes nothing; one that is damaged is refused
    /// before anything of it is written; a content that is whole and wrong is removed.
    pub(in super::super) fn take(&self, hash: &str, packed: &[u8]) -> Result<Got, FilesError> {
        let Some(offered) = self.offered(hash)? else { return Ok(AGAIN) };
        let damaged = |error: std::io::Error| {
            FilesError::refused_hint(
                "take a part of the upload",
                format!("it came damaged: {error}"),
                "nothing of it was kept; type the command again",
            )
        };
        let bytes = part::unpack(packed).map_err(damaged)?;
        let orders = part::orders(&bytes).map_err(damaged)?;
        let _lock = self.lock()?;
        let mut taker =
            Taker { incoming: self, offered: &offered, open: None, old: None, whole: 0 };
        for order in orders {
            if !taker.order(order)? {
                return Ok(AGAIN);
            }
        }
        taker.close()?;
        Ok(Got { whole: taker.whole, again: false })
    }
}

const AGAIN: Got = Got { whole: 0, again: true };

/// The content that is written to.
struct Open {
    hash: String,
    /// `None`: it is whole already, and what comes for it is passed over.
    file: Option<File>,
    /// Bytes that are there.
    have_bytes: u64,
    /// Where the next bytes belong.
    at: u64,
    size_bytes: u64,
}

struct Taker<'a> {
    incoming: &'a Incoming<'a>,
    offered: &'a Offered,
    open: Option<Open>,
    old: Option<File>,
    whole: u64,
}

impl Taker<'_> {
    /// Follows one order; `false`: what it continues is not here.
    fn order(&mut self, order: Order<'_>) -> Result<bool, FilesError> {
        match order {
            Order::File { hash, at } => {
                self.close()?;
                return self.open(&hex(&hash), at);
            }
            Order::Data(bytes) => self.append(bytes)?,
            Order::Old { instance, path } => self.old = self.old_file(instance, &path)?,
            Order::Copy { offset, length } => return self.copy(offset, length),
        }
        Ok(true)
    }

    fn open(&mut self, hash: &str, at: u64) -> Result<bool, FilesError> {
        let Some(size_bytes) = self.offered.sizes().get(hash).copied() else {
            return Err(refused("it brings a content that was not offered"));
        };
        let mut open =
            Open { hash: hash.to_owned(), file: None, have_bytes: size_bytes, at, size_bytes };
        if !self.incoming.content(hash).is_file() {
            let path = self.part(hash);
            let mut options = File::options();
            options.read(true).append(true).create(true).mode(0o600);
            let file = options.open(&path).map_err(io_error("open", &path))?;
            open.have_bytes = file.metadata().map_err(io_error("read", &path))?.len();
            open.file = Some(file);
        }
        let continues = at <= open.have_bytes;
        self.open = Some(open);
        Ok(continues)
    }

    /// What is there already is passed over.
    fn append(&mut self, bytes: &[u8]) -> Result<(), FilesError> {
        let Some(open) = &mut self.open else { return Err(refused("it brings bytes of nothing")) };
        let end = open.at + bytes.len() as u64;
        if end > open.size_bytes {
            return self.refuse_content("more came than was offered");
        }
        let known = usize::try_from(open.have_bytes.saturating_sub(open.at)).unwrap_or(usize::MAX);
        let new = bytes.get(known..).unwrap_or_default();
        if let (false, Some(file)) = (new.is_empty(), &mut open.file) {
            let path = self.incoming.file(&open.hash, ".part");
            file.write_all(new).map_err(io_error("write", &path))?;
        }
        open.at = end;
        open.have_bytes = open.have_bytes.max(end);
        Ok(())
    }

    /// `false`: the old file is not what it was.
    fn copy(&mut self, offset: u64, length: u64) -> Result<bool, FilesError> {
        let Some(mut old) = self.old.take() else { return Ok(false) };
        if self.open.as_ref().is_some_and(|open| length > open.size_bytes) {
            self.refuse_content("more came than was offered")?;
        }
        if old.seek(SeekFrom::Start(offset)).is_err() {
            return Ok(false);
        }
        let mut left = length;
        let mut buffer = vec![0; BLOCK_BYTES];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let Ok(count @ 1..) = old.read(&mut buffer[..most]) else { return Ok(false) };
            self.append(&buffer[..count])?;
            left -= count as u64;
        }
        self.old = Some(old);
        Ok(true)
    }

    fn old_file(&self, instance: &str, path: &RelPath) -> Result<Option<File>, FilesError> {
        let Some(name) = InstanceName::parse(instance) else {
            return Err(refused("it names a release that is none"));
        };
        let tree = Tree::open(&self.incoming.layout.instance(&name));
        Ok(tree.and_then(|tree| tree.read(path)).ok().flatten())
    }

    /// A content that has all its bytes has to have its hash.
    fn close(&mut self) -> Result<(), FilesError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.file.is_none() || open.have_bytes != open.size_bytes {
            return Ok(());
        }
        drop(open.file);
        let path = self.part(&open.hash);
        let hashes = hash_files(std::slice::from_ref(&path), &Until::done())?;
        if hashes.first().is_none_or(|(hash, _)| *hash != open.hash) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            return Err(refused(
                "what came is not what was offered: a file changed while it was sent, or was forged",
            ));
        }
        let to = self.incoming.content(&open.hash);
        fs::rename(&path, &to).map_err(io_error("write", &to))?;
        self.whole += 1;
        Ok(())
    }

    fn refuse_content(&mut self, why: &'static str) -> Result<(), FilesError> {
        if let Some(open) = self.open.take() {
            let _ = fs::remove_file(self.part(&open.hash));
        }
        Err(refused(why))
    }

    fn part(&self, hash: &str) -> PathBuf {
        self.incoming.file(hash, ".part")
    }
}
