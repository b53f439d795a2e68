//! Who listens on an address, from `/proc/net` and everybody's open descriptors.

use crate::engine::ports::Listener;
use crate::process_table::pids;
use alcedo_core::binding::Address;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longest command line shown, in bytes.
const COMMAND_BYTES_MAX: usize = 200;
/// `TCP_LISTEN` of the kernel.
const LISTENING: &str = "0A";
/// `__SO_ACCEPTCON` of the kernel: a Unix socket that listens.
const ACCEPTING: u32 = 1 << 16;

/// Listeners that a client of `address` could reach: on it, or on every address with the same port.
pub(super) fn on(address: &Address) -> io::Result<Vec<Listener>> {
    let sockets = match address {
        Address::Tcp(address) => tcp(*address)?,
        Address::Unix(path) => unix(path)?,
    };
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let owners = owners(&sockets);
    Ok(listeners(&sockets, &owners))
}

/// Inode of a listening socket → what is known without its process.
type Sockets = BTreeMap<u64, Open>;

#[derive(Debug, Clone, Copy)]
struct Open {
    /// Whether it is reachable from outside.
    public: bool,
    user: Option<u32>,
}

fn tcp(wanted: SocketAddr) -> io::Result<Sockets> {
    let mut found = Sockets::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match fs::read_to_string(table) {
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        found.extend(text.lines().skip(1).filter_map(|line| tcp_line(line, wanted)));
    }
    Ok(found)
}

fn tcp_line(line: &str, wanted: SocketAddr) -> Option<(u64, Open)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != LISTENING {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let ip = parse_ip(ip)?;
    let is_met = ip == wanted.ip() || ip.is_unspecified() || wanted.ip().is_unspecified();
    let is_same_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
    let user = fields.get(7).and_then(|uid| uid.parse().ok());
    let open = Open { public: !ip.is_loopback(), user };
    (is_met && is_same_port).then_some((inode.parse().ok()?, open))
}

/// The kernel prints the words of an address in the machine's order, each as one number.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |i: usize| u32::from_str_radix(text.get(i * 8..i * 8 + 8)?, 16).ok();
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into()),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?.to_ne_bytes());
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

fn unix(wanted: &Path) -> io::Result<Sockets> {
    let text = fs::read_to_string("/proc/net/unix")?;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let path = line.split_once('/').map(|(_, rest)| format!("/{rest}"))?;
        let is_it = Path::new(&path) == wanted && flags & ACCEPTING != 0;
        let user = || fs::metadata(wanted).ok().map(|meta| meta.uid());
        is_it.then(|| Some((fields.get(6)?.parse().ok()?, Open { public: false, user: user() })))?
    };
    Ok(text.lines().skip(1).filter_map(line).collect())
}

/// Inode → pids that have it open, as far as we may look.
fn owners(sockets: &Sockets) -> BTreeMap<u64, Vec<u32>> {
    let mut owners: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for pid in pids() {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for link in entries.filter_map(|entry| fs::read_link(entry.path()).ok()) {
            let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some(inode) = inode.and_then(|text| text.parse().ok()) else { continue };
            if sockets.contains_key(&inode) {
                owners.entry(inode).or_default().push(pid);
            }
        }
    }
    owners
}

fn listeners(sockets: &Sockets, owners: &BTreeMap<u64, Vec<u32>>) -> Vec<Listener> {
    let mut found = Vec::new();
    for (inode, open) in sockets {
        let mut pids = owners.get(inode).cloned().unwrap_or_default();
        pids.sort_unstable();
        pids.dedup();
        if pids.is_empty() {
            found.push(Listener {
                pid: None,
                user: open.user,
                command: String::new(),
                exe: None,
                cwd: None,
                public: open.public,
            });
        }
        found.extend(pids.into_iter().map(|pid| describe(pid, *open)));
    }
    found
}

fn describe(pid: u32, open: Open) -> Listener {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).ok();
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.truncate(COMMAND_BYTES_MAX);
    let command = String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned();
    let (exe, cwd) = (link("exe"), link("cwd"));
    Listener { pid: Some(pid), user: open.user, command, exe, cwd, public: open.public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_prints_them() {
        // What a little-endian machine prints; a big-endian one prints the same numbers the other way round.
        if cfg!(target_endian = "little") {
            assert_eq!(parse_ip("0100007F"), Some("127.0.0.1".parse().unwrap()));
            let loopback = parse_ip("00000000000000000000000001000000");
            assert_eq!(loopback, Some("::1".parse().unwrap()));
            let mapped = parse_ip("0000000000000000FFFF00000100007F");
            assert_eq!(mapped, Some("127.0.0.1".parse().unwrap()));
        }
        assert_eq!(parse_ip("00000000"), Some("0.0.0.0".parse().unwrap()));
        assert_eq!(parse_ip("zz"), None);
    }
}
