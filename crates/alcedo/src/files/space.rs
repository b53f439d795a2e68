//! Free space, what a file costs, and how sizes are told.

use std::io;
use std::path::Path;

/// Bytes that this user may still write on the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What a file of this size takes on disk, in whole blocks of 4 KiB.
pub(crate) fn file_cost_bytes(size_bytes: u64) -> u64 {
    const BLOCK_BYTES: u64 = 4_096;
    size_bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// `212 MiB`, `1.2 MiB`, `14.2 GiB`, `512 B`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1_024;
        unit = name;
    }
    if tenths < 1_000 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_are_told_in_binary_units() {
        let told = [0, 1_023, 1_024, 1_258_291, 222_298_112, 15_247_234_662].map(human_bytes);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "212 MiB", "14.2 GiB"]);
    }
}
