//! Copies content into a file and hashes it on the way; shares blocks instead where the file system can.

use super::hash::hash_file;
use super::{FilesError, Until, io_error};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What a copy brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Of the content (blake3, hex).
    pub(crate) hash: String,
    /// Its length.
    pub(crate) size_bytes: u64,
}

/// Copies files, with one buffer for all.
#[derive(Debug)]
pub(crate) struct Copier {
    buffer: Vec<u8>,
    can_clone: bool,
    until: Until,
}

impl Copier {
    /// With the limits of `until`, asked every 256 KiB.
    pub(crate) fn new(until: Until) -> Self {
        Self { buffer: vec![0; 256 * 1_024], can_clone: true, until }
    }

    /// Whether sharing blocks was not yet found to be impossible here.
    pub(crate) fn can_clone(&self) -> bool {
        self.can_clone
    }

    /// Copies what `from` still gives. Reading is what fails with `from_path`, writing with `to_path`.
    pub(crate) fn stream(
        &mut self,
        from: &mut dyn Read,
        from_path: &Path,
        to: &mut File,
        to_path: &Path,
    ) -> Result<Copied, FilesError> {
        let mut hasher = blake3::Hasher::new();
        let mut size_bytes = 0;
        loop {
            let count = from.read(&mut self.buffer).map_err(io_error("read", from_path))?;
            if count == 0 {
                return Ok(Copied { hash: hasher.finalize().to_hex().to_string(), size_bytes });
            }
            hasher.update(&self.buffer[..count]);
            to.write_all(&self.buffer[..count]).map_err(io_error("write", to_path))?;
            size_bytes += count as u64;
            self.until.check()?;
        }
    }

    /// Makes `to` a copy of `from` that shares its blocks. `None`: the file system cannot, `to` is as it was.
    /// The hash is that of `to`, read back, so what is behind it is known and not believed.
    pub(crate) fn clone_of(
        &mut self,
        from: &File,
        to: &mut File,
        to_path: &Path,
    ) -> Result<Option<Copied>, FilesError> {
        if !self.can_clone {
            return Ok(None);
        }
        if let Err(error) = reflink(to, from) {
            // These three concern the file system; anything else (a swap file, a quota) this one file.
            self.can_clone = !matches!(error, Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY);
            return Ok(None);
        }
        to.seek(SeekFrom::Start(0)).map_err(io_error("read", to_path))?;
        let (hash, size_bytes) = hash_file(to, to_path, &mut self.buffer, &self.until)?;
        Ok(Some(Copied { hash, size_bytes }))
    }

    /// Hash of an open file, which is rewound before and after.
    pub(crate) fn hash(&mut self, file: &mut File, path: &Path) -> Result<Copied, FilesError> {
        file.seek(SeekFrom::Start(0)).map_err(io_error("read", path))?;
        let (hash, size_bytes) = hash_file(file, path, &mut self.buffer, &self.until)?;
        file.seek(SeekFrom::Start(0)).map_err(io_error("read", path))?;
        Ok(Copied { hash, size_bytes })
    }
}

#[cfg(target_os = "linux")]
fn reflink(to: &File, from: &File) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

#[cfg(not(target_os = "linux"))]
fn reflink(_to: &File, _from: &File) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}
