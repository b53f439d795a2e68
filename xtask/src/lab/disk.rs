//! A file system of a host's own, in a file: its power can be cut, and what was not synced is lost then.

use super::must;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Sparse; a host writes some tens of megabytes.
const SIZE_BYTES: u64 = 2 << 30;

/// Mounted where a host keeps what it writes.
#[derive(Debug)]
pub(super) struct Disk {
    /// Attached for as long as there is the host: `mount -o loop` would let go of it with each cut, and at leisure.
    device: String,
    mount: PathBuf,
}

impl Disk {
    /// An empty one below `dir`, mounted.
    pub(super) fn make(dir: &Path) -> Result<Self> {
        // Another host's `systemd-nspawn` begins with a copy of all that is mounted: unless what we unmount is unmounted
        // there as well, the disk is never let go of, and its next mount is the dead one.
        let at = dir.display().to_string();
        must(&["mount", "--bind", &at, &at])?;
        must(&["mount", "--make-shared", &at])?;
        let (image, mount) = (image(dir), dir.join("disk"));
        std::fs::create_dir_all(&mount)?;
        std::fs::File::create(&image)?.set_len(SIZE_BYTES)?;
        let device = must(&["losetup", "--find", "--show", &image.display().to_string()])?;
        let disk = Self { device: device.trim().to_owned(), mount };
        must(&["mkfs.xfs", "-q", "-f", &disk.device])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn dir(&self) -> &Path {
        &self.mount
    }

    /// From this moment on nothing reaches it, and what waited to be written never will: the log is not flushed either.
    pub(super) fn cut(&self) -> Result<()> {
        must(&["xfs_io", "-x", "-c", "shutdown", &self.mount.display().to_string()]).map(drop)
    }

    /// As a machine does when its power is back: its log is replayed.
    pub(super) fn mount_again(&self) -> Result<()> {
        must(&["umount", &self.mount.display().to_string()]).context("let go of the disk")?;
        self.mount()
    }

    /// Lets go of the one below `dir`, if there is one.
    pub(super) fn remove(dir: &Path) {
        let image = image(dir);
        if !image.is_file() {
            return;
        }
        must(&["umount", &dir.join("disk").display().to_string()]).ok();
        let list = ["losetup", "--noheadings", "--output", "NAME", "--associated"];
        let argv: Vec<String> =
            list.map(str::to_owned).into_iter().chain([image.display().to_string()]).collect();
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        for device in must(&argv).unwrap_or_default().lines() {
            must(&["losetup", "--detach", device.trim()]).ok();
        }
        // The device held its file open below this one.
        must(&["umount", &dir.display().to_string()]).ok();
    }

    fn mount(&self) -> Result<()> {
        must(&["mount", &self.device, &self.mount.display().to_string()]).map(drop)
    }
}

fn image(dir: &Path) -> PathBuf {
    dir.join("disk.img")
}
