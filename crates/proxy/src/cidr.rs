//! Address ranges of proxies whose word is taken.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses; IPv4 is kept as IPv4-mapped IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    bits: u128,
    mask: u128,
}

/// The text is no address and no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {0:?} as an address range: expected something like 192.0.2.0/24")]
pub(crate) struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (ip, length) = text.split_once('/').map_or((text, None), |(ip, n)| (ip, Some(n)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let own_bits = if ip.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(own_bits), |n| n.parse::<u32>().map_err(|_| wrong()))?;
        if length > own_bits {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(own_bits - length).unwrap_or(0);
        Ok(Self { bits: to_bits(ip) & mask, mask })
    }
}

impl Cidr {
    /// Whether the address is in the range.
    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        to_bits(ip) & self.mask == self.bits
    }
}

fn to_bits(ip: IpAddr) -> u128 {
    let v6: Ipv6Addr = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let holds =
            |range: &str, ip: &str| range.parse::<Cidr>().unwrap().contains(ip.parse().unwrap());
        assert!(holds("192.0.2.0/24", "192.0.2.7") && !holds("192.0.2.0/24", "192.0.3.7"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("2001:db8::/32", "2001:db8::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1"));
        for bad in ["cloudflare", "1.2.3.4/33", "1.2.3.4/x", ""] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
