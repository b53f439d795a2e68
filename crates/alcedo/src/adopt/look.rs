//! Looks at the host, and changes nothing: nginx's sites, units, who listens.

use crate::adapters::probe_http::HttpProbe;
use crate::adapters::router_nginx::{Hold, Nginx};
use crate::engine::ports::{EffectError, Listener, Probe};
use alcedo_core::binding::Address;
use alcedo_core::init::{HandMade, Process, local_port};
use alcedo_core::nginx::{Adopted, Beside, Dump, adopt};
use alcedo_core::units::{Unit, environment_files, parse, slot_in};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where units of one's own are.
const UNITS: &str = "/etc/systemd/system";
/// First words of what `setup` wrote.
const OURS: &str = "# Written by `alcedo setup`";
/// Files larger than this are no configuration.
const BYTES_MAX: u64 = 1 << 20;
/// Ports that are looked at for alcedo's own listener.
const PORTS: std::ops::Range<u16> = 8080..8180;

/// Everything that a take-over is decided from.
///
/// # Errors
/// nginx cannot be asked.
pub(crate) fn look() -> Result<HandMade, EffectError> {
    let sites = sites(&Nginx::new(None, Hold::Whole))?;
    let units = units();
    let mut ports: BTreeSet<u16> =
        sites.iter().filter_map(|site| local_port(&site.live_address)).collect();
    ports.extend(units.iter().filter_map(|unit| unit.port));
    let mut listeners: BTreeMap<u16, Process> =
        ports.into_iter().filter_map(|port| Some((port, listener(port)?))).collect();
    let is_taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
    for port in PORTS.filter(is_taken) {
        listeners.entry(port).or_insert_with(|| nobody_known(false));
    }
    Ok(HandMade {
        links: links(&units),
        sites,
        units,
        listeners,
        units_taken: units_taken(),
        dirs_taken: dirs_taken(),
    })
}

/// Sites of a known layout.
pub(super) fn sites(nginx: &Nginx) -> Result<Vec<Adopted>, EffectError> {
    let (dump, _) = nginx.dump()?;
    Ok(read_sites(&dump))
}

/// The same, of what nginx printed.
pub(crate) fn read_sites(dump: &Dump) -> Vec<Adopted> {
    adopt(dump, &beside(dump))
}

/// Files in the directories that nginx includes: where it refuses its configuration, it prints none of them.
pub(crate) fn nginx_files(dir: &Path) -> BTreeMap<PathBuf, String> {
    let entries = ["conf.d", "sites-enabled"]
        .iter()
        .flat_map(|name| fs::read_dir(dir.join(name)))
        .flatten()
        .flatten();
    entries.filter_map(|entry| Some((entry.path(), text(&entry.path())?))).collect()
}

/// The process that listens on a port.
pub(crate) fn listening_pid(port: u16) -> Option<u32> {
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    HttpProbe.listeners(&address).ok()?.first()?.pid
}

/// Hand-made units of this host that start something.
pub(crate) fn units() -> Vec<Unit> {
    let entries = fs::read_dir(UNITS).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "service"))
        .collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let Some(text) = text(&file).filter(|text| !text.starts_with(OURS)) else { continue };
        let env = environment_files(&file, &text)
            .into_iter()
            .filter_map(|path| Some((path.clone(), self::text(&path)?)));
        found.extend(parse(&file, &text, &env.collect()));
    }
    found
}

/// Who listens on a port of this host, as it was started.
pub(crate) fn listener(port: u16) -> Option<Process> {
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let found: Vec<Listener> = HttpProbe.listeners(&address).unwrap_or_default();
    let first = found.first()?;
    let is_public = found.iter().any(|listener| listener.public);
    let Some(pid) = first.pid else { return Some(nobody_known(is_public)) };
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let argv = words
        .split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let uid = fs::metadata(format!("/proc/{pid}")).ok().map(|meta| meta.uid());
    Some(Process {
        argv: argv.collect(),
        dir: first.cwd.clone(),
        user: uid.map(crate::setup::user_name),
        is_public,
    })
}

fn nobody_known(is_public: bool) -> Process {
    Process { argv: Vec::new(), dir: None, user: None, is_public }
}

/// Links among nginx's files, and the other colour's files beside them.
fn beside(dump: &Dump) -> Beside {
    let mut beside = Beside::default();
    let mut dirs = BTreeSet::new();
    for path in dump.files.keys() {
        if let Ok(to) = fs::read_link(path) {
            dirs.extend(
                path.parent()
                    .map(|dir| dir.join(&to))
                    .and_then(|full| full.parent().map(Path::to_owned)),
            );
            beside.links.insert(path.clone(), to);
        }
    }
    for entry in dirs.iter().flat_map(fs::read_dir).flatten().flatten() {
        let path = entry.path();
        let is_colour = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| slot_in(name).is_some());
        if let (true, Some(text)) = (is_colour, text(&path)) {
            beside.texts.insert(path, text);
        }
    }
    beside
}

/// Template units of others.
fn units_taken() -> BTreeSet<String> {
    let dirs = [UNITS, "/run/systemd/system", "/usr/lib/systemd/system"];
    let entries = dirs.iter().flat_map(fs::read_dir).flatten().flatten();
    let others =
        entries.filter(|entry| text(&entry.path()).is_none_or(|text| !text.starts_with(OURS)));
    others
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix("@.service")?.to_owned()))
        .collect()
}

/// Directories below `/srv` in which something stands that is not alcedo's.
fn dirs_taken() -> BTreeSet<String> {
    let entries = fs::read_dir("/srv").into_iter().flatten().flatten();
    let is_used =
        |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    let named = entries.filter(|entry| is_used(&entry.path()));
    named.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Links above and within the directories that units run in.
pub(crate) fn links(units: &[Unit]) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    let programs = units.iter().filter_map(|unit| unit.exec.first()).map(PathBuf::from);
    let dirs: BTreeSet<PathBuf> = units.iter().filter_map(|unit| unit.dir.clone()).collect();
    for path in programs.chain(dirs.iter().cloned()) {
        let above = path.ancestors().filter(|path| {
            path.starts_with("/srv") || path.starts_with("/var/www") || path.starts_with("/opt")
        });
        found.extend(above.filter_map(|path| Some((path.to_owned(), target(path)?))));
    }
    for dir in dirs.iter().filter(|dir| *dir != Path::new("/")) {
        let below = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in below {
            if let Some(to) = target(&path) {
                found.insert(path, to);
            } else if path.is_dir() {
                let inner =
                    fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
                found.extend(inner.filter_map(|path| Some((path.clone(), target(&path)?))));
            }
        }
    }
    found
}

fn target(path: &Path) -> Option<PathBuf> {
    let to = fs::read_link(path).ok()?;
    Some(path.parent().unwrap_or(Path::new("/")).join(to))
}

fn text(path: &Path) -> Option<String> {
    fs::metadata(path).ok().filter(|meta| meta.is_file() && meta.len() <= BYTES_MAX)?;
    fs::read_to_string(path).ok()
}
