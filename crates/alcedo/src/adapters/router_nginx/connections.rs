//! Open connections to the addresses of a slot, from the kernel's tables: what nginx itself does not tell by upstream.

use alcedo_core::binding::Address;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ESTABLISHED: &str = "01";
const UNIX_CONNECTED: &str = "03";

/// How many connections to any of these addresses are open.
pub(super) fn open(addresses: &[&Address]) -> u64 {
    let tcp = ["/proc/net/tcp", "/proc/net/tcp6"].map(read).concat();
    let unix = read("/proc/net/unix");
    let to_tcp = tcp.lines().filter_map(remote).filter(|remote| {
        addresses.iter().any(|a| matches!(a, Address::Tcp(address) if address == remote))
    });
    let to_unix = unix.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(5) == Some(&UNIX_CONNECTED)
            && fields.get(7).is_some_and(|path| {
                addresses.iter().any(|a| matches!(a, Address::Unix(p) if p.as_os_str() == *path))
            })
    });
    (to_tcp.count() + to_unix.count()) as u64
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The other end of an established connection, from a line of `/proc/net/tcp` or `tcp6`.
fn remote(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_whitespace().skip(2);
    let (remote, state) = (fields.next()?, fields.next()?);
    if state != ESTABLISHED {
        return None;
    }
    let (ip, port) = remote.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> = (0..ip.len() / 8)
        .map(|n| u32::from_str_radix(ip.get(n * 8..n * 8 + 8)?, 16).ok())
        .collect();
    // Each word stands as it is in memory.
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn open_connections_are_counted_by_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let both = [Address::Tcp(address), Address::Unix(path.clone())];
        let both: Vec<&Address> = both.iter().collect();
        assert_eq!(open(&both), 0);
        let _one = TcpStream::connect(address).unwrap();
        assert_eq!(open(&both), 1);
        let _two = UnixStream::connect(&path).unwrap();
        let _accepted = unix.accept().unwrap();
        assert_eq!(open(&both), 2);
    }
}
