//! What `check` says about this host's nginx: found in what it would read now, and in whether it runs.

use super::host::{Hold, Master};
use super::record::Record;
use super::site::Place;
use crate::engine::ports::EffectError;
use alcedo_core::event::Failure;
use alcedo_core::lint::{Finding, Severity};
use alcedo_core::nginx::{Dump, Host, certificates, duplicate_upstreams, findings};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Only Debian's and Ubuntu's packages have this.
const OF_DISTRIBUTION: &str = "--lock-path=/var/lock/nginx.lock";
/// Where files are read from when nginx does not say.
const DIRS: [&str; 2] = ["conf.d", "sites-enabled"];
/// Files of nginx are small; a larger one is none.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything found.
pub(super) fn of(place: &Place<'_>) -> Vec<Finding> {
    let nginx = place.nginx;
    if nginx.hold() == Hold::Units {
        let mut found = of_site(place);
        found.push(unread());
        return found;
    }
    let about = match nginx.about() {
        Ok(about) => about,
        Err(error) => return vec![told("nginx.missing", "nginx", error)],
    };
    let mut found = match nginx.dump() {
        Ok((dump, _)) => of_dump(&about, &dump),
        Err(error) => {
            let files = files(&nginx.dir(&about));
            let host = Host { about: &about, is_distribution: None, missing: &[], files: &files };
            let mut found = duplicate_upstreams(&host);
            found.push(told("nginx.broken", "nginx -t", error));
            found
        }
    };
    found.extend(of_site(place));
    found
}

/// What is wrong with the configuration that an nginx (which tells `about` itself) would read now.
pub(crate) fn of_dump(about: &str, dump: &Dump) -> Vec<Finding> {
    let missing: Vec<PathBuf> =
        certificates(dump).into_iter().filter(|path| !path.exists()).collect();
    let host = Host {
        about,
        is_distribution: Some(about.contains(OF_DISTRIBUTION)),
        missing: &missing,
        files: &BTreeMap::new(),
    };
    findings(dump, &host)
}

/// What only root may read is looked at where root is.
fn unread() -> Finding {
    Finding {
        id: "nginx.unread".to_owned(),
        severity: Severity::Info,
        subject: "nginx".to_owned(),
        message: "the daemon runs without root, so it looked at this app's site only".to_owned(),
        fix: Some("sudo alcedo setup --dry-run looks at all of nginx".to_owned()),
        accepted: false,
    }
}

fn of_site(place: &Place<'_>) -> Vec<Finding> {
    let record = match Record::load(place.dir) {
        Ok(Some(record)) if record.structure > 0 => record,
        Ok(_) => return Vec::new(),
        Err(error) => return vec![told("router.record", "the router's record", error)],
    };
    let mut found = Vec::new();
    if let Err(error) = Master::of(&record.pid_file) {
        found.push(told("nginx.not-running", "nginx", error));
    }
    match place.existing(&record) {
        Err(error) => {
            found.push(told("router.site-edited", &record.site.display().to_string(), error));
        }
        Ok(None) => found.push(Finding {
            id: "router.site-gone".to_owned(),
            severity: Severity::Error,
            subject: record.site.display().to_string(),
            message: "the site is gone: after the next reload nobody reaches the app".to_owned(),
            fix: Some("alcedo deploy puts it back".to_owned()),
            accepted: false,
        }),
        Ok(Some(_)) => {}
    }
    found
}

fn told(id: &str, subject: &str, error: EffectError) -> Finding {
    let failure = Failure::from(error);
    let message = match failure.detail.lines().next() {
        Some(detail) => format!("{}: {detail}", failure.what),
        None => failure.what,
    };
    Finding {
        id: id.to_owned(),
        severity: Severity::Error,
        subject: subject.to_owned(),
        message,
        fix: failure.hint,
        accepted: false,
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, String> {
    let entries = DIRS.iter().flat_map(|name| fs::read_dir(dir.join(name))).flatten().flatten();
    let read = |path: PathBuf| {
        let is_small = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() < FILE_BYTES_MAX);
        let text = is_small.then(|| fs::read_to_string(&path).ok()).flatten()?;
        Some((path, text))
    };
    entries.filter_map(|entry| read(entry.path())).collect()
}
