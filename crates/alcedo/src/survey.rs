//! What `check` sees of this host: units, sites, scripts, trees, names. Reads, bounded, and changes nothing.

mod bundle;
mod trees;

pub(crate) use bundle::bundle;

use crate::adapters::router_nginx::{Hold, Nginx, of_dump};
use crate::adopt;
use alcedo_core::init::local_port;
use alcedo_core::lint::{Finding, Severity};
use alcedo_core::nginx::{Dump, Host, duplicate_upstreams};
use alcedo_core::survey::{Survey, findings};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// For all names together: a resolver that does not answer must not hold `check` up.
const NAMES_LIMIT: Duration = Duration::from_secs(3);
/// More domains than this are not asked for.
const NAMES_MAX: usize = 50;

/// Everything found on this host. `dir`: the app's own directory, whose scripts are looked at, too.
pub(crate) fn look(dir: Option<&Path>) -> Vec<Finding> {
    let nginx = Nginx::new(None, Hold::Whole);
    let mut survey = Survey { units: adopt::units(), ..Survey::default() };
    let mut found = of_nginx(&nginx, &mut survey);
    survey.enabled = enabled();
    survey.links = adopt::links(&survey.units);
    let mut ports: BTreeSet<u16> =
        survey.sites.iter().filter_map(|site| local_port(&site.live_address)).collect();
    ports.extend(
        survey.units.iter().filter(|unit| unit.slot.is_some()).filter_map(|unit| unit.port),
    );
    survey.listeners =
        ports.into_iter().filter_map(|port| Some((port, adopt::listener(port)?))).collect();
    survey.addresses = addresses();
    survey.journald = journald();
    memory(&mut survey);
    survey.disk_bytes = Some(crate::adapters::machine::disk_available_bytes(Path::new("/srv")));
    trees::read(&mut survey, dir);
    found.extend(findings(&survey));
    found.sort_by(|a, b| (a.severity, &a.id, &a.subject).cmp(&(b.severity, &b.id, &b.subject)));
    found.dedup();
    found
}

/// nginx's own findings, and what of it the others need. A host without nginx has none.
fn of_nginx(nginx: &Nginx, survey: &mut Survey) -> Vec<Finding> {
    let Ok(about) = nginx.about() else { return Vec::new() };
    let dump = match nginx.dump() {
        Ok((dump, _)) => dump,
        Err(error) => return of_broken(nginx, &about, &error),
    };
    survey.sites = adopt::read_sites(&dump);
    let chosen = survey.sites.iter().map(|site| site.switch_file().to_owned());
    survey.selectors =
        chosen.filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?))).collect();
    served(&dump, survey);
    of_dump(&about, &dump)
}

/// Only root may read all of it; for root it is broken, and the files say why.
fn of_broken(
    nginx: &Nginx,
    about: &str,
    error: &crate::engine::ports::EffectError,
) -> Vec<Finding> {
    let told = |id: &str, severity, message: String, fix: &str| Finding {
        id: id.to_owned(),
        severity,
        subject: "nginx".to_owned(),
        message,
        fix: Some(fix.to_owned()),
        accepted: false,
    };
    if !rustix::process::geteuid().is_root() {
        let message = "its configuration is root's to read, so it was not looked at".to_owned();
        return vec![told("nginx.not-looked-at", Severity::Info, message, "sudo alcedo check")];
    }
    let files = adopt::nginx_files(&nginx.dir(about));
    let host = Host { about, is_distribution: None, missing: &[], files: &files };
    let mut found = duplicate_upstreams(&host);
    let message =
        format!("its configuration does not pass, so no reload of any site works: {error}");
    found.push(told("nginx.broken", Severity::Error, message, "nginx -t names the place"));
    found
}

/// Names that are served, and what is done for a CDN in front.
fn served(dump: &Dump, survey: &mut Survey) {
    let servers = || dump.http().filter(|d| d.name == "server");
    let is_public = |name: &&String| {
        name.contains('.') && !name.contains(['*', '~', '$']) && !name.ends_with(".local")
    };
    let names: BTreeSet<String> = servers()
        .flat_map(|s| s.all("server_name"))
        .flat_map(|d| &d.args)
        .filter(is_public)
        .cloned()
        .collect();
    survey.has_real_ip = dump.http().any(|d| {
        d.name == "set_real_ip_from" || d.walk().iter().any(|d| d.name == "set_real_ip_from")
    });
    for server in servers() {
        let returns = |d: &&alcedo_core::nginx::Directive| {
            d.name == "return" && d.args.iter().any(|arg| arg.starts_with("https://"))
        };
        let on_80 = server.all("listen").all(|l| !l.args.iter().any(|arg| arg == "ssl"));
        if on_80 && server.walk().iter().any(returns) {
            survey.redirects.extend(server.all("server_name").flat_map(|d| d.args.clone()));
        }
    }
    survey.names = resolve(names);
}

/// Asked for in threads of their own; what has no answer in time is left out.
fn resolve(names: BTreeSet<String>) -> BTreeMap<String, Option<BTreeSet<IpAddr>>> {
    let (tell, told) = mpsc::channel();
    let mut open = 0;
    for name in names.into_iter().take(NAMES_MAX) {
        let tell = tell.clone();
        let ask = move || {
            let found = (name.as_str(), 80).to_socket_addrs();
            let _ = tell.send((name.clone(), found.ok().map(|all| all.map(|a| a.ip()).collect())));
        };
        open += usize::from(std::thread::Builder::new().name("name".to_owned()).spawn(ask).is_ok());
    }
    let deadline = crate::adapters::clock::now().after(NAMES_LIMIT);
    let mut found = BTreeMap::new();
    while found.len() < open {
        let Ok((name, addresses)) = told.recv_timeout(crate::adapters::clock::left(deadline))
        else {
            break;
        };
        found.insert(name, addresses);
    }
    found
}

/// Units that start at boot, by the links that say so.
fn enabled() -> BTreeSet<String> {
    let dir = Path::new("/etc/systemd/system/multi-user.target.wants");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn journald() -> String {
    let mut files = vec![PathBuf::from("/etc/systemd/journald.conf")];
    for dir in ["/etc/systemd/journald.conf.d", "/usr/lib/systemd/journald.conf.d"] {
        files.extend(fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// What the live processes have, and what is left.
fn memory(survey: &mut Survey) {
    use crate::adapters::machine::memory_available_bytes;
    let live: BTreeSet<u16> =
        survey.sites.iter().filter_map(|site| local_port(&site.live_address)).collect();
    let table = crate::process_table::Table::read();
    let pids = live.into_iter().filter_map(adopt::listening_pid);
    survey.live_bytes = pids.map(|pid| table.memory_bytes(pid)).sum();
    survey.available_bytes = memory_available_bytes();
}

/// Of `/proc/net/fib_trie` and `if_inet6`: every address of this host but loopback's.
fn addresses() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut last = None;
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.contains("32 host LOCAL") {
            found.extend(last.filter(|ip| !ip.is_loopback()).map(IpAddr::V4));
        }
    }
    let six = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let words = six
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    found.extend(words.map(Ipv6Addr::from).filter(|ip| !ip.is_loopback()).map(IpAddr::V6));
    found
}
