//! What the proxy knows of a service, and the compare-and-set that changes it. Pure, except [`StateDir`], which moves
//! records through a [`crate::disk::Disk`].
//!
//! Disk and wire format, version 1. A reader ignores fields it does not know; fields are added with
//! `#[serde(default)]` and never renamed. A file with a newer version is left as it is and not served.

mod file;
mod store;

pub use file::{DecodeError, FORMAT_VERSION, decode, encode};
pub use store::{BadFile, Loaded, SaveError, StateDir};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything about one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name; see [`is_service_name`].
    pub service: String,
    /// Counts switches; 0: never switched. Changes of structure do not touch it.
    pub generation: u64,
    /// The operation that made the target effective.
    pub operation: Option<String>,
    /// Where requests go.
    pub target: Option<Target>,
    /// What does not change with a switch.
    pub structure: Structure,
    /// Every request but those for the health path gets the maintenance page.
    #[serde(default)]
    pub maintenance: bool,
}

/// Where requests of a service can go, as one whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Opaque to the proxy.
    pub id: String,
    /// Added to every answer as headers; the same names are stripped from what clients and upstreams send.
    pub labels: Vec<(String, String)>,
    /// The most specific one that fits gets the request: with a domain before without, then the longest prefix.
    pub routes: Vec<Route>,
}

/// Which requests go to which addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Hosts it is for; empty: every host of the service.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Path prefix by whole segments: `/api` fits `/api` and `/api/x`, not `/apix`. `/` fits all.
    pub prefix: String,
    /// Used in turn.
    pub addresses: Vec<Address>,
}

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What does not change with a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Structure {
    /// Hosts of the service, the first is the canonical one; empty: every host on its listeners.
    pub domains: Vec<String>,
    /// Hosts that are redirected to the first domain: 301 for GET and HEAD, 308 for the rest.
    pub aliases: Vec<String>,
    /// `"80"` (every address, IPv4 and IPv6) or `"127.0.0.1:8080"`.
    pub listen: Vec<String>,
    /// Path prefixes of the hosts that belong to this service; empty: `/`.
    pub prefixes: Vec<String>,
    /// Larger request bodies are answered 413, in bytes.
    pub max_body_bytes: u64,
    /// Until the first byte of the answer, in milliseconds; then 504. Streams and tunnels are not cut.
    pub timeout_ms: u64,
    /// CIDRs (or single addresses) whose word about client address, scheme and host is taken.
    pub trusted_proxies: Vec<String>,
    /// How long what is under way may take once its target has lost traffic.
    pub drain: DrainLimits,
    /// Answered by the target during maintenance, too.
    pub health_path: Option<String>,
}

impl Default for Structure {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            aliases: Vec::new(),
            listen: vec!["127.0.0.1:8080".to_owned()],
            prefixes: Vec::new(),
            max_body_bytes: 100 << 20,
            timeout_ms: 60_000,
            trusted_proxies: Vec::new(),
            drain: DrainLimits::default(),
            health_path: None,
        }
    }
}

/// Limits for what is under way on a target without traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainLimits {
    /// For requests, in milliseconds.
    pub requests_ms: u64,
    /// For upgraded connections and event streams, in milliseconds.
    pub websockets_ms: u64,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self { requests_ms: 30_000, websockets_ms: 600_000 }
    }
}

/// The generation is not the expected one: somebody else switched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("switch {service}: expected generation {expected}, found {found}")]
pub struct Conflict {
    /// The service.
    pub service: String,
    /// What the caller expected.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

/// What a switch comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// This operation is the effective one already; nothing to do.
    Already,
    /// The record to make durable, then to publish.
    To(Box<ServiceRecord>),
}

impl ServiceRecord {
    /// A service that was never switched.
    pub fn new(service: impl Into<String>, structure: Structure) -> Self {
        Self {
            service: service.into(),
            generation: 0,
            operation: None,
            target: None,
            structure,
            maintenance: false,
        }
    }

    /// Compare-and-set: the record with `target` when the generation is still `expected`. The same operation with the
    /// same target, repeated while it is the effective one, is [`Switch::Already`].
    pub fn switch(
        &self,
        expected: u64,
        operation: &str,
        target: &Target,
    ) -> Result<Switch, Conflict> {
        if self.operation.as_deref() == Some(operation) && self.target.as_ref() == Some(target) {
            return Ok(Switch::Already);
        }
        if self.generation != expected {
            return Err(Conflict {
                service: self.service.clone(),
                expected,
                found: self.generation,
            });
        }
        let mut next = self.clone();
        next.generation += 1;
        next.operation = Some(operation.to_owned());
        next.target = Some(target.clone());
        Ok(Switch::To(Box::new(next)))
    }
}

/// Whether the text can name a service: 1 to 64 of `a-z`, `0-9`, `-`, starting with a letter or digit. Safe as a file name.
pub fn is_service_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str) -> Target {
        Target { id: id.to_owned(), labels: Vec::new(), routes: Vec::new() }
    }

    fn switched(record: &ServiceRecord, operation: &str, id: &str) -> ServiceRecord {
        match record.switch(record.generation, operation, &target(id)) {
            Ok(Switch::To(next)) => *next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn switch_counts_generations_and_keeps_the_operation() {
        let first = switched(&ServiceRecord::new("shop", Structure::default()), "op-1", "a");
        assert_eq!((first.generation, first.operation.as_deref()), (1, Some("op-1")));
        assert_eq!(switched(&first, "op-2", "b").target, Some(target("b")));
    }

    #[test]
    fn stale_generation_is_refused() {
        let first = switched(&ServiceRecord::new("shop", Structure::default()), "op-1", "a");
        let conflict = first.switch(0, "op-2", &target("b")).unwrap_err();
        assert_eq!((conflict.expected, conflict.found), (0, 1));
    }

    #[test]
    fn repeated_operation_is_already_done_but_not_after_another_one() {
        let first = switched(&ServiceRecord::new("shop", Structure::default()), "op-1", "a");
        assert_eq!(first.switch(0, "op-1", &target("a")), Ok(Switch::Already));
        let second = switched(&first, "op-2", "b");
        assert!(second.switch(0, "op-1", &target("a")).is_err());
        assert!(first.switch(0, "op-1", &target("z")).is_err());
    }
}
