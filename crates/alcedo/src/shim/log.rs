//! Keeps a program's output file below its limit.
//!
//! The program writes to the file itself (`O_APPEND`), so nothing breaks and nothing blocks when the shim is gone. The
//! shim only looks at its size: not at all while nobody writes (inotify wakes it), and the sooner the faster it grows.
//! Above the limit the file is copied to `<file>.1` and cut to nothing. Lines written in between are lost; that a
//! full disk or a deleted file stops the program is not possible.

use crate::adapters::clock;
use crate::engine::ports::Millis;
use rustix::fs::inotify;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a file that grows.
const LOOK_MS: std::ops::RangeInclusive<u64> = 5..=200;
/// After the first write.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// Copies of a flood are made at most this often; what comes between is cut away without one.
const COPY_EVERY: Duration = Duration::from_secs(2);

/// A program's output file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    limit_bytes: u64,
    /// `None`: it cannot be opened, output goes nowhere.
    file: Option<File>,
    inotify: Option<OwnedFd>,
    watch: Option<i32>,
    look_at: Option<Millis>,
    last: (Millis, u64),
    copied_at: Option<Millis>,
}

impl Log {
    /// For the file at `path`, which is opened with the first [`Self::output`].
    pub(super) fn new(path: &Path, limit_bytes: u64) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Self {
            path: path.to_owned(),
            limit_bytes: limit_bytes.max(4096),
            file: None,
            inotify: inotify::init(flags).ok(),
            watch: None,
            look_at: None,
            last: (Millis(0), 0),
            copied_at: None,
        }
    }

    /// Opens the file again (it may have been moved away) and starts to look at it.
    pub(super) fn reopen(&mut self) {
        self.file = self.open().ok();
        self.forget_watch();
        self.look_soon();
    }

    /// A descriptor for a program to write to; `/dev/null` when the file cannot be had.
    pub(super) fn output(&mut self) -> io::Result<File> {
        self.reopen();
        match &self.file {
            Some(file) => file.try_clone(),
            None => File::options().write(true).open("/dev/null"),
        }
    }

    /// Adds a line of our own: `-- started pid 123 at 2026-11-20T19:14:05.123Z --`.
    pub(super) fn mark(&mut self, what: &str) {
        if let Some(file) = &mut self.file {
            // One write, so that it cannot land inside a line of the program's; a full disk loses it.
            let _ = file.write_all(format!("-- {what} at {} --\n", clock::wall()).as_bytes());
        }
    }

    /// When [`Self::look`] wants to be called.
    pub(super) fn look_at(&self) -> Option<Millis> {
        self.look_at
    }

    /// Readable when somebody wrote and nobody is looking.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Somebody wrote: look soon, and do not be woken by each further write.
    pub(super) fn woken(&mut self) {
        let mut buffer = [0; 1024];
        if let Some(inotify) = &self.inotify {
            while matches!(rustix::io::read(inotify, &mut buffer), Ok(1..)) {}
        }
        if self.watch.is_some() {
            self.forget_watch();
            self.look_soon();
        }
    }

    /// Looks at the size, cuts when it is over the limit, and decides when to look again.
    pub(super) fn look(&mut self) {
        let Some(size) = self.size() else {
            self.look_at = None;
            return;
        };
        let now = clock::now();
        let (before, size_before) = self.last;
        let grown = size.saturating_sub(size_before);
        let size = if size > self.limit_bytes { self.cut(size, now) } else { size };
        self.last = (now, size);
        if grown == 0 && self.watch_again(size) {
            self.look_at = None;
            return;
        }
        let spent = u64::try_from(now.since(before).as_millis()).unwrap_or(u64::MAX).max(1);
        let room = self.limit_bytes.saturating_sub(size);
        // In half the time that is left at this rate.
        let wait = room.saturating_mul(spent) / grown.max(1) / 2;
        let wait = wait.clamp(*LOOK_MS.start(), *LOOK_MS.end());
        self.look_at = Some(now.after(Duration::from_millis(wait)));
    }

    /// What it grows until then tells how fast it grows; what lies before must not count as slow growth.
    fn look_soon(&mut self) {
        let now = clock::now();
        self.last = (now, self.size().unwrap_or(0));
        self.look_at = self.file.as_ref().map(|_| now.after(FIRST_LOOK));
    }

    fn open(&self) -> io::Result<File> {
        let file = || File::options().create(true).append(true).read(true).open(&self.path);
        file().or_else(|_| {
            self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            file()
        })
    }

    fn size(&self) -> Option<u64> {
        self.file.as_ref()?.metadata().ok().map(|meta| meta.len())
    }

    fn cut(&mut self, size: u64, now: Millis) -> u64 {
        let Some(file) = &mut self.file else { return 0 };
        let is_due = self.copied_at.is_none_or(|at| now.since(at) >= COPY_EVERY);
        // A copy that fails (disk full) must not keep the file from being cut.
        let is_copied = is_due && keep_copy(file, &self.path, size, self.limit_bytes).is_ok();
        let _ = file.set_len(0);
        if is_copied {
            self.copied_at = Some(now);
        } else {
            self.mark(&format!("left out {size} bytes of output"));
        }
        self.size().unwrap_or(0)
    }

    /// Back to being woken; false when it cannot be, or somebody wrote meanwhile.
    fn watch_again(&mut self, size: u64) -> bool {
        let (Some(inotify), Some(file)) = (&self.inotify, &self.file) else { return false };
        if self.watch.is_none() {
            let number = std::os::fd::AsRawFd::as_raw_fd(file);
            let path = format!("/proc/self/fd/{number}");
            self.watch = inotify::add_watch(inotify, path, inotify::WatchFlags::MODIFY).ok();
        }
        if self.watch.is_some() && self.size() == Some(size) {
            return true;
        }
        self.forget_watch();
        false
    }

    fn forget_watch(&mut self) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.watch.take()) {
            let _ = inotify::remove_watch(inotify, watch);
        }
    }
}

/// The last `limit_bytes` of `file`, as `<path>.1`.
fn keep_copy(file: &mut File, path: &Path, size: u64, limit_bytes: u64) -> io::Result<()> {
    let with = |suffix: &str| {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let temporary = with(".1.tmp");
    let mut copy = || {
        file.seek(SeekFrom::Start(size.saturating_sub(limit_bytes)))?;
        let mut target = File::create(&temporary)?;
        io::copy(&mut io::Read::take(&mut *file, limit_bytes), &mut target)?;
        fs::rename(&temporary, with(".1"))
    };
    copy().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_limit_the_end_is_kept_as_a_copy_and_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/web.log");
        let mut log = Log::new(&path, 4096);
        let mut writer = log.output().unwrap();
        writer.write_all(&[b'a'; 3000]).unwrap();
        log.look();
        writer.write_all(&[b'b'; 3000]).unwrap();
        log.look();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        let kept = fs::read(path.with_extension("log.1")).unwrap();
        assert_eq!(kept.len(), 4096);
        assert!(kept.ends_with(&[b'b'; 3000]));
        writer.write_all(b"on").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"on");
    }

    #[test]
    fn a_quiet_file_is_not_looked_at_and_a_write_wakes() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(&dir.path().join("web.log"), 4096);
        let mut writer = log.output().unwrap();
        log.look();
        assert_eq!(log.look_at(), None);
        writer.write_all(b"x").unwrap();
        let descriptor = log.descriptor().unwrap();
        let mut ready = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        crate::adapters::exec::wait_ready(&mut ready, Duration::from_secs(10)).unwrap();
        log.woken();
        assert!(log.look_at().is_some());
    }
}
