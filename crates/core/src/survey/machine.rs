//! The machine and the trees: disk, memory, journal, what slots share and what they only seem to share.

use super::{Journal, Survey, finding};
use crate::lint::{Finding, Severity};
use std::path::Path;

/// Free disk below which a deploy is likely to fail.
const DISK_LOW_BYTES: u64 = 512 << 20;

pub(super) fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        [journal(survey), memory(survey), disk(survey)].into_iter().flatten().collect();
    for path in &survey.files {
        found.extend(git(path));
        found.extend(nested_link(survey, path));
        found.extend(sqlite(survey, path));
    }
    found.extend(survey.settings.iter().filter_map(|(path, text)| sessions(path, text)));
    found.extend(survey.databases.iter().filter_map(|(path, journal)| not_wal(path, *journal)));
    found
}

/// S1-54: without a limit of its own the journal takes a tenth of the disk, up to 4 GB.
fn journal(survey: &Survey) -> Option<Finding> {
    let has_limit =
        survey.journald.lines().any(|line| line.trim_start().starts_with("SystemMaxUse="));
    (!has_limit).then(|| {
        let message = "the journal has no limit of its own: a deploy that crashes in a loop takes up to a tenth of the disk, or 4 GB";
        finding("journald.unlimited", Severity::Info, "/etc/systemd/journald.conf", message, "SystemMaxUse=500M, then: sudo systemctl restart systemd-journald")
    })
}

/// S1-44: old releases eat disk.
fn disk(survey: &Survey) -> Option<Finding> {
    let free = survey.disk_bytes.filter(|free| *free < DISK_LOW_BYTES)?;
    let message = format!("{} MiB are free where releases are kept", free >> 20);
    Some(finding(
        "disk.low",
        Severity::Warning,
        "/srv",
        message,
        "du -xh --max-depth 2 / | sort -h | tail shows what is growing; alcedo prune --dry-run",
    ))
}

/// S0-35.
fn memory(survey: &Survey) -> Option<Finding> {
    (survey.live_bytes > survey.available_bytes).then(|| {
        let message = format!(
            "a second copy of what is live needs about {} MiB, {} MiB are available",
            survey.live_bytes >> 20,
            survey.available_bytes >> 20
        );
        finding(
            "memory.two-copies",
            Severity::Warning,
            "memory",
            message,
            "free memory, or accept = [\"memory.two-copies\"]",
        )
    })
}

/// S0-D5.
fn git(path: &Path) -> Option<Finding> {
    path.ends_with(".git").then(|| {
        let message = "the repository's history lies in the directory that is served";
        finding(
            "tree.git-exposed",
            Severity::Error,
            path.display().to_string(),
            message,
            "remove it, and never ship it; alcedo leaves it out",
        )
    })
}

/// S0-D6: `uploads/uploads`, made by `ln -s` where a real directory was in the way.
fn nested_link(survey: &Survey, path: &Path) -> Option<Finding> {
    let is_nested =
        path.parent()?.file_name() == path.file_name() && survey.links.contains_key(path);
    is_nested.then(|| {
        let message = "this link was made inside the directory that it was to replace: what is written there is not shared";
        let fix = "move what is in there to the shared one, remove the directory, then link it: ln -sfn";
        finding("tree.nested-link", Severity::Error, path.display().to_string(), message, fix)
    })
}

/// S3-1: one file linked without its directory, or one database for each slot.
fn sqlite(survey: &Survey, path: &Path) -> Option<Finding> {
    let name = path.file_name()?.to_str()?;
    let is_database = [".sqlite", ".sqlite3", ".db", ".db3"].iter().any(|end| name.ends_with(end));
    if !is_database || path.ancestors().skip(1).any(|above| survey.links.contains_key(above)) {
        return None;
    }
    let message = match survey.links.contains_key(path) {
        true => {
            "the database is shared as one file: its -wal and -shm beside it are not, and each slot misses what the other wrote"
        }
        false => {
            "each slot has a database of its own: what is written to one is gone after the switch"
        }
    };
    let fix = "a directory of its own for it, shared as a whole: shared.dirs = [\"data\"]; and PRAGMA journal_mode = WAL";
    Some(finding("shared.sqlite", Severity::Error, path.display().to_string(), message, fix))
}

/// S3-1: two slots are two writers.
fn not_wal(path: &Path, journal: Journal) -> Option<Finding> {
    (journal == Journal::Rollback).then(|| {
        let message = "the database is not in WAL mode: while one slot writes, the other one cannot read, and answers \"database is locked\"";
        finding("shared.sqlite-journal", Severity::Warning, path.display().to_string(), message, "PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000")
    })
}

/// S0-33: sessions in files of one slot end with the switch.
fn sessions(path: &Path, text: &str) -> Option<Finding> {
    if path.ends_with("package.json") {
        return in_memory(path, text);
    }
    let keys = ["SESSION_DRIVER", "CACHE_STORE", "CACHE_DRIVER"];
    let at = text.lines().position(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            keys.contains(&key.trim())
                && ["file", "array"].contains(&value.trim().trim_matches(['"', '\'']))
        })
    })?;
    let message = "sessions or caches are kept in files of one slot: everybody is logged out by a switch, unless that directory is shared";
    let fix = "SESSION_DRIVER=database, redis or cookie; or share the directory: shared.dirs = [\"storage\"]";
    Some(finding(
        "session.files",
        Severity::Warning,
        format!("{}:{}", path.display(), at + 1),
        message,
        fix,
    ))
}

/// S0-33: what `express-session` does when no store is given.
fn in_memory(path: &Path, text: &str) -> Option<Finding> {
    let at = text.lines().position(|line| line.contains("\"express-session\""))?;
    let has_store = ["connect-", "-store", "-session-sequelize", "redis"]
        .iter()
        .any(|word| text.contains(word));
    (!has_store).then(|| {
        let message = "sessions are kept in the process: everybody is logged out by a switch and by each restart";
        finding("session.memory", Severity::Warning, format!("{}:{}", path.display(), at + 1), message, "a store: connect-redis, connect-pg-simple; or cookie-session")
    })
}
