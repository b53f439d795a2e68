//! Directories that slots run in, and deploy scripts: names and a few texts, to a limit.

use alcedo_core::survey::{Survey, journal_mode};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Names of a slot's directory that are looked at.
const NAMES_MAX: usize = 5_000;
/// Scripts that are looked at.
const SCRIPTS_MAX: usize = 100;
/// A longer one is no deploy script.
const SCRIPT_BYTES_MAX: u64 = 64 << 10;
/// Where people keep them.
const SCRIPT_DIRS: [&str; 4] = ["/usr/local/bin", "/usr/local/sbin", "/opt", "/root"];
/// Directories of other people's code.
const SKIPPED: [&str; 6] = ["node_modules", "vendor", "venv", ".venv", "target", "__pycache__"];

/// Adds trees and scripts.
pub(super) fn read(survey: &mut Survey, dir: Option<&Path>) {
    let web = |unit: &&alcedo_core::units::Unit| unit.slot.is_some() || unit.port.is_some();
    let dirs: BTreeSet<PathBuf> =
        survey.units.iter().filter(web).filter_map(|unit| unit.dir.clone()).collect();
    for dir in dirs.iter().filter(|dir| dir.components().count() > 2) {
        tree(dir, survey);
    }
    let mut places: Vec<PathBuf> = SCRIPT_DIRS.iter().map(PathBuf::from).collect();
    for parent in ["/home", "/srv", "/opt", "/srv/www"] {
        places
            .extend(fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    places.extend(
        dir.into_iter().flat_map(|dir| [dir.to_owned(), dir.join("scripts"), dir.join("bin")]),
    );
    places.sort();
    places.dedup();
    for place in places {
        scripts(&place, survey);
    }
}

/// Two levels: what is served lies near the top.
fn tree(dir: &Path, survey: &mut Survey) {
    let mut open = vec![(dir.to_owned(), 0)];
    let mut seen = 0;
    while let Some((next, depth)) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            seen += 1;
            if seen > NAMES_MAX {
                return;
            }
            let (path, name) = (entry.path(), entry.file_name());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir
                && depth < 2
                && name != ".git"
                && !SKIPPED.iter().any(|skipped| name == *skipped)
            {
                open.push((path.clone(), depth + 1));
            }
            if let Ok(to) = fs::read_link(&path) {
                survey.links.insert(path.clone(), next.join(to));
                // Of what is shared only databases are of interest.
                let shared = fs::read_dir(&path).into_iter().flatten().flatten().take(NAMES_MAX);
                shared.for_each(|entry| database(&entry.path(), survey));
            }
            database(&path, survey);
            if [".env", "package.json"].iter().any(|known| name == *known)
                && let Ok(text) = fs::read_to_string(&path)
            {
                survey.settings.insert(path.clone(), text);
            }
            survey.files.insert(path);
        }
    }
}

/// Its header says how it keeps transactions.
fn database(path: &Path, survey: &mut Survey) {
    let is_named = path
        .extension()
        .is_some_and(|end| ["db", "db3", "sqlite", "sqlite3"].iter().any(|known| end == *known));
    let mut header = [0; 100];
    let read = |path: &Path, header: &mut [u8]| fs::File::open(path)?.read_exact(header);
    if is_named
        && fs::metadata(path).is_ok_and(|meta| meta.is_file())
        && read(path, &mut header).is_ok()
    {
        survey.databases.extend(journal_mode(&header).map(|journal| (path.to_owned(), journal)));
    }
}

/// Those that have to do with nginx.
fn scripts(dir: &Path, survey: &mut Survey) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_small =
            entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= SCRIPT_BYTES_MAX);
        if !is_small || survey.scripts.len() >= SCRIPTS_MAX {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let is_shell = path.extension().is_some_and(|e| e == "sh")
            || text
                .lines()
                .next()
                .is_some_and(|first| first.starts_with("#!") && first.contains("sh"));
        let switches =
            text.contains("reload") && text.contains("nginx") || text.contains("/etc/nginx");
        if is_shell && switches {
            survey.scripts.insert(path, text);
        }
    }
}
