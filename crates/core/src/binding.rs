//! What a slot runs: a release, the release's own part of the config, a snapshot of its environment, its addresses.
//!
//! Immutable while the slot runs, so a crash-restart or a reboot starts the same thing again. Stored in the journal:
//! fields are added with `#[serde(default)]` and never renamed.

use crate::config::{Health, Runner, Smoke, Stop, Warmup};
use crate::names::{AppName, DeployId, ReleaseId, ServiceName};
use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Identity of a binding: the deploy that made it and its slot, `d42-green`. Also the opaque target id at the router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BindingId(String);

impl BindingId {
    /// The binding that `deploy` makes for `slot`.
    pub fn new(deploy: DeployId, slot: Slot) -> Self {
        Self(format!("{deploy}-{slot}"))
    }

    /// As text; safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads back what [`Self::as_str`] gave (from the router or a shim); `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (deploy, slot) = text.split_once('-')?;
        Some(Self::new(deploy.starts_with('d').then(|| deploy.parse().ok())??, slot.parse().ok()?))
    }

    /// The slot in it.
    pub fn slot(&self) -> Slot {
        if self.0.ends_with(Slot::Green.as_str()) { Slot::Green } else { Slot::Blue }
    }
}

impl fmt::Display for BindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a slot runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its identity.
    pub id: BindingId,
    /// The app, by its name on the host.
    pub app: AppName,
    /// `production` or the name after `-e`.
    pub environment: String,
    /// Where it runs.
    pub slot: Slot,
    /// What runs it.
    #[serde(default)]
    pub runner: Runner,
    /// What it runs.
    pub release: ReleaseId,
    /// The directory of the release instance, absolute.
    pub instance: PathBuf,
    /// Every process of the slot.
    pub processes: Vec<Process>,
    /// Checked before traffic and through the public address.
    pub smoke: Vec<Smoke>,
    /// Asked before traffic.
    pub warmup: Option<Warmup>,
}

/// One process of a slot, everything already decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name within the slot.
    pub name: ServiceName,
    /// Program and arguments; every `{name}` and `$NAME` replaced.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited from the daemon.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute.
    pub dir: PathBuf,
    /// Where it listens.
    pub address: Address,
    /// A pool of php-fpm, which is spoken to in FastCGI; absent: it speaks HTTP.
    #[serde(default)]
    pub pool: Option<Pool>,
    /// How it is stopped.
    pub stop: Stop,
    /// Path prefixes that go to it; empty: all others.
    pub routes: Vec<String>,
    /// Domains of this process alone.
    #[serde(default)]
    pub domains: Vec<String>,
    /// How it shows that it is ready.
    pub health: Health,
}

/// What a pool of php-fpm needs besides its command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The document root, by its real path: what PHP caches is the release's own.
    pub root: PathBuf,
    /// The php-fpm.
    pub program: PathBuf,
    /// Where its configuration is written before each start.
    pub file: PathBuf,
    /// What is written there.
    pub text: String,
    /// Processes that answer.
    #[serde(default)]
    pub children: u32,
}

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// A TCP address, always loopback for slots.
    Tcp(SocketAddr),
    /// A Unix socket.
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

impl Address {
    /// The TCP port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}
