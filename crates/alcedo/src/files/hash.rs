//! Content hashes of files and trees, on as many threads as help.

use super::{FilesError, Found, Kind, Until, io_error};
use alcedo_core::release::{Fate, Manifest, Node};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this do not help: the disk or the memory is the limit.
const THREADS_MAX: usize = 4;
/// Fewer files than this are hashed where the call is made.
const FILES_PER_THREAD_MIN: usize = 64;

/// The shipped part of what [`super::scan`] found, with every file's hash.
pub(crate) fn manifest_of(
    root: &Path,
    found: &[Found],
    until: &Until,
) -> Result<Manifest, FilesError> {
    let shipped: Vec<&Found> = found.iter().filter(|f| f.fate == Fate::Ship).collect();
    let is_file = |f: &&&Found| matches!(f.kind, Kind::File { .. });
    let files: Vec<PathBuf> =
        shipped.iter().filter(is_file).map(|f| root.join(f.path.as_path())).collect();
    let mut hashes = hash_files(&files, until)?.into_iter();
    let mut manifest = Manifest::default();
    for entry in shipped {
        let node = match &entry.kind {
            Kind::Dir { .. } => Node::Dir,
            Kind::Link { target } => Node::link(target),
            Kind::File { mode, .. } => {
                let (hash, size_bytes) = hashes.next().expect("one hash for each file");
                Node::File { hash, size_bytes, executable: mode & 0o100 != 0 }
            }
        };
        manifest.0.insert(entry.path.clone(), node);
    }
    Ok(manifest)
}

/// Hash (blake3, hex) and length of each file, in their order.
pub(crate) fn hash_files(
    files: &[PathBuf],
    until: &Until,
) -> Result<Vec<(String, u64)>, FilesError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = (files.len() / FILES_PER_THREAD_MIN).clamp(1, cores.min(THREADS_MAX));
    if threads == 1 {
        let mut buffer = buffer();
        return files.iter().map(|path| hash_path(path, &mut buffer, until)).collect();
    }
    hash_on(threads, files, until)
}

fn hash_on(
    threads: usize,
    files: &[PathBuf],
    until: &Until,
) -> Result<Vec<(String, u64)>, FilesError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        let mut buffer = buffer();
        let mut done = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let at = path;
            match hash_path(at, &mut buffer, until) {
                Ok(hash) => done.push((at, hash)),
                Err(error) => {
                    next.store(files.len(), Ordering::Relaxed);
                    failed.lock().expect("no panic while held").get_or_insert(error);
                }
            }
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().expect("no panic");
        handles.into_iter().flat_map(join).collect::<std::collections::HashMap<_, _>>()
    });
    if let Some(error) = failed.into_inner().expect("no panic while held") {
        return Err(error);
    }
    Ok(files.iter().map(|path| all.remove(path).expect("each file was hashed")).collect())
}

/// Hash and length of what is left to read.
pub(crate) fn hash_file(
    file: &mut File,
    path: &Path,
    buffer: &mut [u8],
    until: &Until,
) -> Result<(String, u64), FilesError> {
    let mut hasher = blake3::Hasher::new();
    let mut size_bytes = 0;
    loop {
        let count = file.read(buffer).map_err(io_error("read", path))?;
        if count == 0 {
            return Ok((hasher.finalize().to_hex().to_string(), size_bytes));
        }
        hasher.update(&buffer[..count]);
        size_bytes += count as u64;
        until.check()?;
    }
}

fn hash_path(path: &Path, buffer: &mut [u8], until: &Until) -> Result<(String, u64), FilesError> {
    // A named pipe put there since the walk would block an open for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io_error("read", path))?;
    hash_file(&mut File::from(file), path, buffer, until)
}

fn buffer() -> Vec<u8> {
    vec![0; 256 * 1_024]
}
