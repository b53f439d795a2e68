//! What stands in front of the host: names, and a CDN.

use super::{Survey, finding};
use crate::lint::{Finding, Severity};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// <https://www.cloudflare.com/ips-v4>, <https://www.cloudflare.com/ips-v6>; unchanged since 2021.
const CLOUDFLARE_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(173, 245, 48, 0), 20),
    (Ipv4Addr::new(103, 21, 244, 0), 22),
    (Ipv4Addr::new(103, 22, 200, 0), 22),
    (Ipv4Addr::new(103, 31, 4, 0), 22),
    (Ipv4Addr::new(141, 101, 64, 0), 18),
    (Ipv4Addr::new(108, 162, 192, 0), 18),
    (Ipv4Addr::new(190, 93, 240, 0), 20),
    (Ipv4Addr::new(188, 114, 96, 0), 20),
    (Ipv4Addr::new(197, 234, 240, 0), 22),
    (Ipv4Addr::new(198, 41, 128, 0), 17),
    (Ipv4Addr::new(162, 158, 0, 0), 15),
    (Ipv4Addr::new(104, 16, 0, 0), 13),
    (Ipv4Addr::new(104, 24, 0, 0), 14),
    (Ipv4Addr::new(172, 64, 0, 0), 13),
    (Ipv4Addr::new(131, 0, 72, 0), 22),
];
const CLOUDFLARE_V6: [(Ipv6Addr, u32); 7] = [
    (Ipv6Addr::new(0x2400, 0xcb00, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2803, 0xf800, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2405, 0xb500, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2405, 0x8100, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2a06, 0x98c0, 0, 0, 0, 0, 0, 0), 29),
    (Ipv6Addr::new(0x2c0f, 0xf248, 0, 0, 0, 0, 0, 0), 32),
];

pub(super) fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (domain, addresses) in &survey.names {
        match addresses {
            None => found.push(unknown(domain)),
            Some(addresses) if addresses.iter().any(is_cloudflare) => {
                found.extend(cloudflare(survey, domain))
            }
            Some(addresses) if addresses.is_disjoint(&survey.addresses) => {
                let at: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                found.push(elsewhere(domain, &at.join(", ")));
            }
            Some(_) => {}
        }
    }
    found
}

/// S1-8.
fn unknown(domain: &str) -> Finding {
    let message = "nobody knows this name: users cannot reach the site by it, and no certificate can be had for it";
    finding(
        "dns.unknown",
        Severity::Warning,
        domain,
        message,
        "an A record (and AAAA) with the address of this host",
    )
}

/// S1-8. Behind NAT or a floating address that is how it is meant.
fn elsewhere(domain: &str, at: &str) -> Finding {
    let message = format!("the name leads to {at}, and this host has none of these addresses");
    finding(
        "dns.elsewhere",
        Severity::Info,
        domain,
        message,
        "nothing, behind NAT, a load balancer or a CDN; else the A record",
    )
}

/// S3-31: real IP, redirect loop, cached identity.
fn cloudflare(survey: &Survey, domain: &str) -> Vec<Finding> {
    let mut found = vec![finding(
        "edge.cached-identity",
        Severity::Info,
        domain,
        "Cloudflare stands in front: a cached answer of a health or version page proves nothing about the switch",
        "Cache-Control: no-store on these pages; alcedo verifies at the origin",
    )];
    if !survey.has_real_ip {
        found.push(finding(
            "edge.real-ip",
            Severity::Warning,
            domain,
            "Cloudflare stands in front, and every client has Cloudflare's address",
            "set_real_ip_from for its networks and real_ip_header CF-Connecting-IP; with alcedo's own site: router.trusted_proxies",
        ));
    }
    if survey.redirects.contains(domain) {
        found.push(finding(
            "edge.redirect-loop",
            Severity::Warning,
            domain,
            "port 80 redirects to https behind Cloudflare: in its mode \"Flexible\" this is a loop",
            "mode \"Full (strict)\" in Cloudflare, with a certificate here",
        ));
    }
    found
}

fn is_cloudflare(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => CLOUDFLARE_V4
            .iter()
            .any(|(net, bits)| (u32::from(*ip) ^ u32::from(*net)) >> (32 - bits) == 0),
        IpAddr::V6(ip) => CLOUDFLARE_V6
            .iter()
            .any(|(net, bits)| (u128::from(*ip) ^ u128::from(*net)) >> (128 - bits) == 0),
    }
}
