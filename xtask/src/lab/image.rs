//! The base image: made once by `mmdebstrap`, kept under `/var/tmp`, never booted itself.

use super::must;
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::path::{Path, PathBuf};

/// Where images and hosts are.
pub const DIR: &str = "/var/tmp/alcedo-lab";

/// A plain Debian VPS as its owner gets it, and the tools of the posts.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,polkitd,libpam-systemd,nginx-light,openssh-server,php8.2-fpm,curl,ca-certificates,iproute2,procps,rsync,sudo";
const SUITE: &str = "bookworm";

/// The image's directory; it is made when it is missing, which takes half a minute.
pub fn base() -> Result<PathBuf> {
    std::fs::create_dir_all(DIR).with_context(|| format!("make {DIR}"))?;
    let lock = std::fs::File::create(Path::new(DIR).join("image.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let base = Path::new(DIR).join(format!("base-{:08x}", fingerprint(PACKAGES)));
    if !base.join("usr").is_dir() {
        make(&base)?;
    }
    key()?;
    sweep();
    Ok(base)
}

/// Removes hosts of processes that were killed before they could: their names end with the pid.
fn sweep() {
    for entry in std::fs::read_dir(DIR).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let label = name.rsplit_once('-').map_or("", |(_, label)| label);
        let owner = label.split_once('x').and_then(|(pid, _)| u32::from_str_radix(pid, 16).ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            super::boot::Machine::leftover(&name).remove();
            must(&["ip", "netns", "del", &format!("alab-{name}")]).ok();
            must(&["ip", "netns", "del", &format!("alab-{label}")]).ok();
        }
    }
}

/// The private key that every host lets in as root.
pub fn key() -> Result<PathBuf> {
    let key = Path::new(DIR).join("key");
    if !key.is_file() {
        must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &key.display().to_string()])?;
    }
    Ok(key)
}

fn make(base: &Path) -> Result<()> {
    println!("making the image of the lab's hosts in {}", base.display());
    let fresh = base.with_extension("fresh");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    let include = format!("--include={PACKAGES}");
    let at = fresh.display().to_string();
    must(&["mmdebstrap", "--quiet", "--variant=minbase", &include, SUITE, &at])?;
    // Each host makes its own; a shared one would let hosts be taken for each other.
    std::fs::write(fresh.join("etc/machine-id"), "")?;
    // Nobody looks at a console, and a login prompt on it costs a process.
    for unit in ["console-getty.service", "getty@tty1.service"] {
        let link = fresh.join("etc/systemd/system").join(unit);
        std::fs::remove_file(&link).ok();
        std::os::unix::fs::symlink("/dev/null", link)?;
    }
    std::fs::rename(&fresh, base).context("put the image in place")
}

/// Another list of packages is another image.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
