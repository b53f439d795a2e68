//! `check` of a host: what stands in the way of a deploy that loses nothing, on a host of alcedo's own making or of
//! anybody's. Each finding has an id, the place, the reason and the fix; the table is in `docs/guide/check.md`.
//!
//! Pure: what was seen comes in, findings come out. What could not be looked at is no finding.

mod edge;
mod machine;
mod scripts;
mod sites;
mod units;

use crate::init::Process;
use crate::lint::{Finding, Severity};
use crate::nginx::Adopted;
use crate::units::Unit;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// How SQLite keeps a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Readers go on while somebody writes.
    Wal,
    /// They do not.
    Rollback,
}

/// The journal mode in a database's header (<https://www.sqlite.org/fileformat.html>, offset 18); `None`: it is no database.
pub fn journal_mode(header: &[u8]) -> Option<Journal> {
    let version = header.starts_with(b"SQLite format 3\0").then(|| header.get(18)).flatten()?;
    Some(if *version == 2 { Journal::Wal } else { Journal::Rollback })
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Hand-made units.
    pub units: Vec<Unit>,
    /// Names of those that start at boot.
    pub enabled: BTreeSet<String>,
    /// Links that units run behind, and within their directories.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Sites of a known hand-made layout.
    pub sites: Vec<Adopted>,
    /// Text of each site's file that chooses.
    pub selectors: BTreeMap<PathBuf, String>,
    /// Who listens where sites or units say that somebody does.
    pub listeners: BTreeMap<u16, Process>,
    /// Shell scripts that have to do with nginx.
    pub scripts: BTreeMap<PathBuf, String>,
    /// Names in the directories that units run in, two levels deep, absolute.
    pub files: BTreeSet<PathBuf>,
    /// Texts of `.env` and `package.json` there, by path; values are looked at and never shown.
    pub settings: BTreeMap<PathBuf, String>,
    /// SQLite databases there whose header was read.
    pub databases: BTreeMap<PathBuf, Journal>,
    /// Addresses of each domain that is served; `None`: the name is not known.
    pub names: BTreeMap<String, Option<BTreeSet<IpAddr>>>,
    /// Addresses of this host.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether sites take the client's address from whoever is in front.
    pub has_real_ip: bool,
    /// Sites on port 80 that redirect to themselves with TLS, by domain.
    pub redirects: BTreeSet<String>,
    /// `journald.conf` and what is beside it.
    pub journald: String,
    /// Free disk where releases will be, in bytes; absent: not known.
    pub disk_bytes: Option<u64>,
    /// Resident memory of what is live, in bytes.
    pub live_bytes: u64,
    /// Memory that could be used without swapping, in bytes.
    pub available_bytes: u64,
}

/// Everything found, the worst first.
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = units::findings(survey);
    found.extend(sites::findings(survey));
    found.extend(survey.scripts.iter().flat_map(|(path, text)| scripts::findings(path, text)));
    found.extend(machine::findings(survey));
    found.extend(edge::findings(survey));
    found.sort_by(|a, b| (a.severity, &a.id, &a.subject).cmp(&(b.severity, &b.id, &b.subject)));
    found.dedup();
    found
}

fn finding(
    id: &str,
    severity: Severity,
    subject: impl Into<String>,
    message: impl Into<String>,
    fix: &str,
) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        subject: subject.into(),
        message: message.into(),
        fix: Some(fix.to_owned()),
        accepted: false,
    }
}

#[cfg(test)]
mod tests;
