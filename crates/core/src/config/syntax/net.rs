//! Domains, listening addresses and networks.

use super::{Complaint, Syntax, quote};
use crate::host::{HOST_FORMS, HostAddress};
use std::net::{IpAddr, SocketAddr};

/// A machine.
pub(in super::super) enum Host {}

impl Syntax for Host {
    type Value = HostAddress;
    const FORMAT: &'static str = "alcedo-host";
    const WHAT: &'static str = "a machine like \"deploy@vps.example\"";

    fn parse(text: &str) -> Result<HostAddress, Complaint> {
        HostAddress::parse(text).map_err(|error| {
            Complaint::new(format!("is {}: {}", quote(text), error.problem)).hint(HOST_FORMS)
        })
    }
}

/// A host name, lower case, without port.
pub(in super::super) enum Domain {}

impl Syntax for Domain {
    type Value = String;
    const FORMAT: &'static str = "alcedo-domain";
    const WHAT: &'static str = "a domain like \"shop.example\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        let not = || Complaint::new(format!("has {}, which is not a domain", quote(text)));
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':', '?']).next().unwrap_or(rest);
            return Err(not().hint(format!("without the scheme: \"{host}\"")));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(not().hint("for an address leave `domains` out and set `router.listen`"));
        }
        if let Some((host, _)) = text.split_once([':', '/']) {
            return Err(not().hint(format!("the name alone: \"{host}\"; ports: `router.listen`")));
        }
        if text.starts_with("*.") {
            return Err(not().hint("wildcards are not in this version: name each domain"));
        }
        if !text.is_ascii() {
            return Err(not().hint("write it in its ASCII form, xn--…"));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(not().hint(format!("in lower case: \"{}\"", text.to_ascii_lowercase())));
        }
        if !is_host_name(text) {
            return Err(not().hint("letters, digits, hyphens and dots, like \"shop.example\""));
        }
        Ok(text.to_owned())
    }
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// What goes into a `Host` header: a name or an address, with or without port.
pub(in super::super) enum HostHeader {}

impl Syntax for HostHeader {
    type Value = String;
    const FORMAT: &'static str = "alcedo-host";
    const WHAT: &'static str = "a host like \"shop.example\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        if text.is_empty() || text.len() > 253 || !text.bytes().all(is_fine) {
            let problem = format!("is {}, which is not a host", quote(text));
            return Err(Complaint::new(problem).hint("a name alone, like \"shop.example\""));
        }
        Ok(text.to_owned())
    }
}

/// Where the proxy listens: a port (every address) or `IP:port`.
pub(in super::super) enum Listen {}

impl Syntax for Listen {
    type Value = String;
    const FORMAT: &'static str = "alcedo-listen";
    const WHAT: &'static str = "a port or address like \"80\" or \"127.0.0.1:8080\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        let port = if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse::<u16>().ok()
        } else {
            text.parse::<SocketAddr>().ok().map(|address| address.port())
        };
        match port {
            Some(1..) => Ok(text.trim_start_matches('0').to_owned()),
            Some(0) | None => {
                let problem =
                    format!("has {}, which is no port from 1 to 65535 and no address", quote(text));
                Err(Complaint::new(problem).hint("\"80\", \"127.0.0.1:8080\" or \"[::1]:8080\""))
            }
        }
    }
}

/// A network in CIDR form; a single address means itself.
pub(in super::super) enum Cidr {}

impl Syntax for Cidr {
    type Value = String;
    const FORMAT: &'static str = "alcedo-cidr";
    const WHAT: &'static str = "a network like \"10.0.0.0/8\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            let problem = format!("has the name {}; names are not in this version", quote(text));
            return Err(Complaint::new(problem).hint("networks like \"173.245.48.0/20\""));
        }
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let not = || {
            let problem = format!("has {}, which is not a network", quote(text));
            Complaint::new(problem).hint("like \"10.0.0.0/8\" or \"2001:db8::/32\"")
        };
        let address: IpAddr = address.parse().map_err(|_| not())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let is_number =
            |b: &str| (1..=3).contains(&b.len()) && b.bytes().all(|b| b.is_ascii_digit());
        let bits: u32 = match bits {
            None => width,
            Some(bits) if is_number(bits) => bits.parse().map_err(|_| not())?,
            Some(_) => return Err(not()),
        };
        if bits > width {
            return Err(not());
        }
        let network = network(address, bits);
        if network != address {
            let problem = format!("has {}, an address inside a network", quote(text));
            return Err(Complaint::new(problem).hint(format!("\"{network}/{bits}\"?")));
        }
        Ok(format!("{network}/{bits}"))
    }
}

fn network(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((a.to_bits() & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((a.to_bits() & mask).into())
        }
    }
}
