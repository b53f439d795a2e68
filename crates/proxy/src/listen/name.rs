//! An address to listen on: as configurations write it and as a descriptor is named.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// A port on every address, IPv4 and IPv6: `80`.
    Any(u16),
    /// One address: `127.0.0.1:8080`, `[::1]:8080`.
    One(SocketAddr),
}

/// The text is neither a port nor an address with a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as an address to listen on: expected a port or an address with a port")]
pub struct ListenAddressError {
    /// The text.
    pub text: String,
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        if let Ok(port) = text.parse() {
            return Ok(Self::Any(port));
        }
        text.parse().map(Self::One).map_err(|_| ListenAddressError { text: text.to_owned() })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => port.fmt(f),
            Self::One(address) => address.fmt(f),
        }
    }
}

impl ListenAddress {
    /// Name of the descriptor (`FDNAME`, in `LISTEN_FDNAMES`), which must not hold a colon: `listen-any-80`,
    /// `listen-127.0.0.1-8080`, `listen-v6.__1-8080` (colons of IPv6 as underscores).
    pub fn to_fd_name(self) -> String {
        match self {
            Self::Any(port) => format!("listen-any-{port}"),
            Self::One(address) => match address.ip() {
                IpAddr::V4(ip) => format!("listen-{ip}-{}", address.port()),
                IpAddr::V6(ip) => {
                    format!("listen-v6.{}-{}", ip.to_string().replace(':', "_"), address.port())
                }
            },
        }
    }

    /// Reads a descriptor's name; `None` when it is not one of ours.
    pub fn from_fd_name(name: &str) -> Option<Self> {
        let (host, port) = name.strip_prefix("listen-")?.rsplit_once('-')?;
        let port = port.parse().ok()?;
        let ip = match host.strip_prefix("v6.") {
            Some(v6) => IpAddr::V6(v6.replace('_', ":").parse().ok()?),
            None if host == "any" => return Some(Self::Any(port)),
            None => IpAddr::V4(host.parse().ok()?),
        };
        Some(Self::One(SocketAddr::new(ip, port)))
    }

    /// Whether a socket bound to `bound` listens for this.
    pub fn fits(self, bound: SocketAddr) -> bool {
        match self {
            Self::Any(port) => bound.ip().is_unspecified() && bound.port() == port,
            Self::One(address) => address == bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_from_text_and_from_descriptor_names() {
        for text in ["80", "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:1", "[fe80::1]:443"] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let name = address.to_fd_name();
            assert!(!name.contains(':'), "{name}");
            assert_eq!(ListenAddress::from_fd_name(&name), Some(address));
        }
        assert!("localhost:80".parse::<ListenAddress>().is_err());
        assert_eq!(ListenAddress::from_fd_name("alcedo.socket"), None);
    }
}
