//! Opens a listening socket.

use super::ListenAddress;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where a port is served that this process may not bind.
pub(super) const FALLBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Binds and listens. A port on every address is one socket for IPv4 and IPv6, where the host has IPv6.
pub(super) fn bind(address: ListenAddress) -> io::Result<TcpListener> {
    match address {
        ListenAddress::One(address) => bind_one(address, false),
        ListenAddress::Any(port) => {
            match bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true) {
                Err(error) if lacks_ipv6(&error) => {
                    bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false)
                }
                other => other,
            }
        }
    }
}

fn bind_one(address: SocketAddr, is_dual_stack: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !is_dual_stack)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
