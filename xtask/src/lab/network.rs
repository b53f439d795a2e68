//! One bridge in a network namespace, and a namespace on it for each host.

use super::must;
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The lab's own network: nothing on it reaches the machine's.
#[derive(Debug)]
pub struct Network {
    label: String,
    /// Last numbers of the addresses in use.
    taken: Mutex<Vec<u8>>,
    lasts: bool,
}

/// A host's way onto the bridge.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its namespace.
    pub namespace: PathBuf,
    /// Its address, /24.
    pub address: Ipv4Addr,
    name: String,
    port: String,
}

impl Lane {
    pub(super) fn new(name: &str, number: u8) -> Self {
        Self {
            namespace: PathBuf::from(format!("/run/netns/alab-{name}")),
            address: Ipv4Addr::new(10, 77, 0, number),
            name: format!("alab-{name}"),
            port: format!("v{number}"),
        }
    }
}

impl Network {
    /// A network that is gone when it is dropped.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::make(&format!("{:x}x{number}", std::process::id()), false)
    }

    /// The network with this label, made when it is not there; it stays.
    pub fn lasting(label: &str) -> Result<Self> {
        Self::make(label, true)
    }

    /// Removes one that stays.
    pub fn remove(label: &str) {
        must(&["ip", "netns", "del", &format!("alab-{label}")]).ok();
    }

    fn make(label: &str, lasts: bool) -> Result<Self> {
        let network = Self { label: label.to_owned(), taken: Mutex::default(), lasts };
        let bridge = network.bridge();
        if PathBuf::from("/run/netns").join(&bridge).exists() {
            return Ok(network);
        }
        must(&["ip", "netns", "add", &bridge])?;
        must(&["ip", "-n", &bridge, "link", "set", "lo", "up"])?;
        must(&["ip", "-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        must(&["ip", "-n", &bridge, "addr", "add", "10.77.0.1/24", "dev", "br0"])?;
        must(&["ip", "-n", &bridge, "link", "set", "br0", "up"])?;
        Ok(network)
    }

    /// What tells it from other labs on this machine.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The namespace of the bridge; `10.77.0.1` is in it, and every host can be reached from it.
    pub fn bridge(&self) -> String {
        format!("alab-{}", self.label)
    }

    pub(super) fn join(&self, name: &str) -> Result<Lane> {
        let lane = Lane::new(name, self.number()?);
        let port = &lane.port;
        let (bridge, host) = (self.bridge(), lane.name.as_str());
        must(&["ip", "netns", "add", host])?;
        must(&[
            "ip", "link", "add", port, "netns", &bridge, "type", "veth", "peer", "name", "host0",
            "netns", host,
        ])?;
        must(&["ip", "-n", &bridge, "link", "set", port, "master", "br0", "up"])?;
        let address = format!("{}/24", lane.address);
        must(&["ip", "-n", host, "addr", "add", &address, "dev", "host0"])?;
        must(&["ip", "-n", host, "link", "set", "host0", "up"])?;
        must(&["ip", "-n", host, "link", "set", "lo", "up"])?;
        Ok(lane)
    }

    pub(super) fn leave(&self, lane: &Lane) {
        must(&["ip", "netns", "del", &lane.name]).ok();
        let last = lane.address.octets()[3];
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).retain(|n| *n != last);
    }

    pub(super) fn set_link(&self, lane: &Lane, state: &str) -> Result<()> {
        must(&["ip", "-n", &self.bridge(), "link", "set", &lane.port, state]).map(drop)
    }

    fn number(&self) -> Result<u8> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = must(&["ip", "-n", &self.bridge(), "-o", "link"])?;
        let is_free = |n: &u8| !taken.contains(n) && !ports.contains(&format!(": v{n}@"));
        let number = (11..=250).find(is_free).context("find a free address")?;
        taken.push(number);
        Ok(number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.lasts {
            return;
        }
        must(&["ip", "netns", "del", &self.bridge()]).ok();
    }
}
