//! What the machine has room for, and the files that tell apps which slot is active.

use crate::engine::order::Places;
use crate::engine::ports::{EffectError, Machine};
use crate::setup;
use alcedo_core::config::{Config, Runner};
use alcedo_core::{AppName, Slot};
use std::path::{Path, PathBuf};

/// Where Debian has it, outside an ordinary user's `PATH`.
const PROGRAMS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// This machine.
pub(crate) struct ThisMachine {
    places: Places,
}

impl ThisMachine {
    /// Active files go below `places.run`.
    pub(crate) fn new(places: Places) -> Self {
        Self { places }
    }
}

/// The php-fpm of a version, or the newest; by Debian's names (`php-fpm8.2`).
pub(crate) fn php_fpm(version: Option<&str>) -> Option<PathBuf> {
    let number = |name: &str| {
        let (major, minor) = name.strip_prefix("php-fpm")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let entries = PROGRAMS.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let is_wanted = version.is_none_or(|version| name == format!("php-fpm{version}"));
        Some((number(&name).filter(|_| is_wanted)?, entry.path()))
    });
    found.max().map(|(_, path)| path)
}

/// Memory that could be used without swapping, in bytes.
pub(crate) fn memory_available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    // A kernel that does not say is no reason to refuse a deploy.
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

/// Free bytes for this user on the file system of `path`, or of its nearest existing parent.
pub(crate) fn disk_available_bytes(path: &Path) -> u64 {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    rustix::fs::statvfs(existing)
        .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Machine for ThisMachine {
    fn token(&self) -> Result<String, EffectError> {
        let mut bytes = [0; 16];
        let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| EffectError::failed("ask the kernel for random bytes", error))?;
        if filled < bytes.len() {
            return Err(EffectError::failed("ask the kernel for random bytes", "too few"));
        }
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn memory_available_bytes(&self) -> u64 {
        memory_available_bytes()
    }

    fn disk_available_bytes(&self, path: &Path) -> u64 {
        disk_available_bytes(path)
    }

    fn php_fpm(&self, version: Option<&str>) -> Option<PathBuf> {
        php_fpm(version)
    }

    fn unprepared(&self, app: &AppName, config: &Config) -> Vec<String> {
        match config.runner {
            Runner::Process => Vec::new(),
            Runner::Systemd => setup::differing_units(app, config),
        }
    }

    fn mark_active(&self, app: &AppName, active: Option<Slot>) -> Result<(), EffectError> {
        for slot in Slot::BOTH {
            let file = self.places.active_file(app, slot);
            let failed =
                |e: std::io::Error| EffectError::failed(format!("set {}", file.display()), e);
            if active == Some(slot) {
                if let Some(dir) = file.parent() {
                    std::fs::create_dir_all(dir).map_err(failed)?;
                }
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&file)
                    .map_err(failed)?;
            } else if let Err(error) = std::fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(failed(error));
            }
        }
        Ok(())
    }
}
