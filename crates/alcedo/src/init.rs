//! Reads a directory for `init`: names, and the texts of what can be a source. Follows no link and changes nothing.

use alcedo_core::init::Directory;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// More files than this say no more than the first ones.
const FILES_MAX: usize = 20_000;
/// A longer one is no source that a person wrote.
const TEXT_BYTES_MAX: u64 = 512 << 10;
/// All texts together.
const BYTES_MAX: u64 = 64 << 20;
/// Made by tools, or a history.
const SKIPPED: [&str; 14] = [
    ".git",
    ".hg",
    ".next",
    ".nuxt",
    ".tox",
    ".venv",
    "__pycache__",
    "bower_components",
    "dist",
    "node_modules",
    "target",
    "vendor",
    "venv",
    ".idea",
];
/// Whose texts are looked into.
const TEXTS: [&str; 28] = [
    "py", "js", "mjs", "cjs", "ts", "tsx", "jsx", "go", "rs", "php", "rb", "java", "kt", "toml",
    "json", "txt", "yaml", "yml", "mod", "cfg", "ini", "lock", "conf", "sh", "env", "Procfile",
    "artisan", "example",
];

/// What stands in `dir`.
///
/// # Errors
/// The directory itself cannot be read; what below it cannot be is left out.
pub(crate) fn read(dir: &Path) -> io::Result<Directory> {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut files = BTreeMap::new();
    let (mut dirs, mut bytes) = (vec![dir.to_owned()], 0);
    let mut is_first = true;
    while let Some(next) = dirs.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if is_first => return Err(error),
            other => other,
        };
        is_first = false;
        for entry in entries.into_iter().flatten().flatten() {
            let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED.contains(&file_name.as_str()) {
                dirs.push(path);
            } else if kind.is_file() && files.len() < FILES_MAX {
                let Ok(relative) = path.strip_prefix(dir) else { continue };
                files.insert(
                    relative.to_string_lossy().into_owned(),
                    text(&path, &file_name, &mut bytes),
                );
            }
        }
    }
    Ok(Directory { name, files })
}

fn text(path: &Path, name: &str, bytes: &mut u64) -> String {
    let end = name.rsplit('.').next().unwrap_or(name);
    let length = fs::metadata(path).map_or(0, |meta| meta.len());
    if !TEXTS.contains(&end) || length > TEXT_BYTES_MAX || *bytes + length > BYTES_MAX {
        return String::new();
    }
    *bytes += length;
    fs::read_to_string(path).unwrap_or_default()
}
