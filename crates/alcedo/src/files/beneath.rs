//! Writes into one directory and never out of it.
//!
//! Every path is resolved name by name from the directory's own descriptor without following links (what
//! `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)` does, on every kernel and on macOS), so a link placed earlier,
//! or by somebody else meanwhile, leads nowhere.

use super::{FilesError, io_error};
use alcedo_core::release::RelPath;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, statat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is written to.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
    root: OwnedFd,
    /// The directory written to last: trees are written directory by directory.
    last: Option<(PathBuf, OwnedFd)>,
}

impl Tree {
    /// Opens an existing directory; a link at its place is an error.
    pub(crate) fn open(path: &Path) -> Result<Self, FilesError> {
        let root = rustix::fs::open(path, DIR_FLAGS, Mode::empty())
            .map_err(io_error("open the directory", path))?;
        Ok(Self { path: path.to_owned(), root, last: None })
    }

    /// Where an entry is, for messages.
    pub(crate) fn full(&self, path: &RelPath) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Makes a directory with those above it; one that is there stays.
    pub(crate) fn make_dir(&mut self, path: &RelPath) -> Result<(), FilesError> {
        self.descend(path.as_path()).map(|_| ())
    }

    /// Makes an empty file, 0600, with the directories above it; one that is there is an error.
    pub(crate) fn create(&mut self, path: &RelPath) -> Result<File, FilesError> {
        let full = self.full(path);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (parent, name) = self.parent(path)?;
        let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io_error("create", &full))?;
        Ok(File::from(file))
    }

    /// Makes a symbolic link, with the directories above it.
    pub(crate) fn link(&mut self, path: &RelPath, target: &Path) -> Result<(), FilesError> {
        let full = self.full(path);
        let (parent, name) = self.parent(path)?;
        symlinkat(target, parent, name).map_err(io_error("create the link", &full))
    }

    /// Opens a regular file for reading; `None` when there is nothing of that name. Makes nothing.
    pub(crate) fn read(&self, path: &RelPath) -> Result<Option<File>, FilesError> {
        let full = self.full(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let above = path.as_path().parent().unwrap_or(Path::new(""));
        let mut at: Option<OwnedFd> = None;
        let opened = above
            .components()
            .try_for_each(|name| {
                let parent = at.as_ref().unwrap_or(&self.root);
                at = Some(openat(parent, name.as_os_str(), DIR_FLAGS, Mode::empty())?);
                Ok(())
            })
            .and_then(|()| {
                let parent = at.as_ref().unwrap_or(&self.root);
                openat(parent, file_name(path.as_path()), flags, Mode::empty())
            });
        let file = match opened {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(not_a_file(&full)),
            other => File::from(other.map_err(io_error("read", &full))?),
        };
        if file.metadata().map_err(io_error("read", &full))?.is_file() {
            return Ok(Some(file));
        }
        Err(not_a_file(&full))
    }

    /// Whether anything has that name, a dangling link too; makes the directories above it.
    pub(crate) fn is_there(&mut self, path: &RelPath) -> Result<bool, FilesError> {
        let full = self.full(path);
        let (parent, name) = self.parent(path)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(io_error("look at", &full)(error)),
        }
    }

    /// Gives a file of this tree another name in the same directory.
    pub(crate) fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), FilesError> {
        let full = self.full(to);
        let old_name = file_name(from.as_path());
        let (parent, name) = self.parent(to)?;
        renameat(parent, old_name, parent, name).map_err(io_error("write", &full))
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove_file(&mut self, path: &RelPath) -> Result<(), FilesError> {
        let full = self.full(path);
        let (parent, name) = self.parent(path)?;
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io_error("remove", &full)(error)),
        }
    }

    /// The directory above `path`, made when missing, and the last name.
    fn parent(&mut self, path: &RelPath) -> Result<(&OwnedFd, OsString), FilesError> {
        let name = file_name(path.as_path()).to_owned();
        let above = path.as_path().parent().unwrap_or(Path::new(""));
        Ok((self.descend(above)?, name))
    }

    fn descend(&mut self, dir: &Path) -> Result<&OwnedFd, FilesError> {
        if dir.as_os_str().is_empty() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != dir) {
            let opened = self.descend_from_root(dir)?;
            self.last = Some((dir.to_owned(), opened));
        }
        Ok(&self.last.as_ref().expect("set just above").1)
    }

    fn descend_from_root(&self, dir: &Path) -> Result<OwnedFd, FilesError> {
        let mut at: Option<OwnedFd> = None;
        for name in dir.components() {
            let parent = at.as_ref().unwrap_or(&self.root);
            let next = enter(parent, name.as_os_str());
            at = Some(next.map_err(|error| self.not_a_directory(dir, error))?);
        }
        at.ok_or_else(|| self.not_a_directory(dir, Errno::INVAL))
    }

    fn not_a_directory(&self, dir: &Path, error: Errno) -> FilesError {
        let full = self.path.join(dir);
        match error {
            Errno::NOTDIR | Errno::LOOP => FilesError::refused(
                format!("make the directory {}", full.display()),
                "a file or a link is in its place, or in the place of one above it",
            ),
            _ => io_error("make the directory", &full)(error),
        }
    }
}

fn enter(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    match openat(parent, name, DIR_FLAGS, Mode::empty()) {
        Err(Errno::NOENT) => {
            match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            openat(parent, name, DIR_FLAGS, Mode::empty())
        }
        other => other,
    }
}

fn not_a_file(full: &Path) -> FilesError {
    FilesError::refused(format!("read {}", full.display()), "it is not a regular file")
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().expect("a RelPath ends with a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let outside = tempfile::tempdir().expect("outside");
        let inside = tempfile::tempdir().expect("inside");
        std::os::unix::fs::symlink(outside.path(), inside.path().join("door")).expect("link");
        let mut tree = Tree::open(inside.path()).expect("tree");
        let path = RelPath::new(Path::new("door/stolen")).expect("plain");
        assert!(tree.create(&path).is_err());
        assert!(tree.make_dir(&path).is_err());
        assert!(tree.link(&path, Path::new("x")).is_err());
        assert!(tree.read(&path).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).expect("listing").count(), 0);
    }
}
