//! Networks and address ranges as profiles write them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 network, `10.100.0.0/24`. The host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

impl Cidr {
    /// Length of the network part in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network mask, `255.255.255.0`.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask())
    }

    /// The first address: names the network, not a host.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The last address: reaches every host.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network | !self.mask())
    }

    /// The `n`-th address of the network; `None` outside of it.
    pub fn host(self, n: u32) -> Option<Ipv4Addr> {
        let address = self.network.checked_add(n)?;
        self.contains(address.into()).then(|| address.into())
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.network
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text
            .split_once('/')
            .ok_or("a network is written like 10.100.0.0/24")?;
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| format!("`{address}` is not an IPv4 address"))?;
        let prefix = prefix_length(prefix, 32)?;
        let mut cidr = Self { network: 0, prefix };
        cidr.network = u32::from(address) & cidr.mask();
        if cidr.network() != address {
            return Err(format!("{text} has host bits set; the network is {cidr}"));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

/// The first and last address of an IPv6 network, `fd00::/8`. The host bits are zero.
pub fn ipv6_network(text: &str) -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let (address, prefix) = text
        .split_once('/')
        .ok_or("a network is written like fd00::/8")?;
    let address: Ipv6Addr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IPv6 address"))?;
    let prefix = prefix_length(prefix, 128)?;
    let host_bits = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let network = Ipv6Addr::from(u128::from(address) & !host_bits);
    if network == address {
        Ok((network, Ipv6Addr::from(u128::from(address) | host_bits)))
    } else {
        Err(format!(
            "{text} has host bits set; the network is {network}/{prefix}"
        ))
    }
}

/// Digits without a zero or a sign before them: Rust takes those, and most programs do not.
fn prefix_length(text: &str, longest: u8) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|length: &u8| *length <= longest && length.to_string() == text)
        .ok_or_else(|| format!("`/{text}` is not a prefix length from /0 to /{longest}"))
}

/// Addresses from `first` to `last`, both included: `10.100.0.50-10.100.0.75`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl IpRange {
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for IpRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| -> Result<Ipv4Addr, String> {
            part.trim()
                .parse()
                .map_err(|_| format!("`{}` is not an IPv4 address", part.trim()))
        };
        let (first, last) = text
            .split_once('-')
            .ok_or("a range is written like 10.100.0.50-10.100.0.75")?;
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last {
            return Err(format!("{text} ends before it begins"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidr_knows_its_edges() {
        let lan: Cidr = "10.100.0.0/24".parse().unwrap();
        assert_eq!(lan.broadcast(), Ipv4Addr::new(10, 100, 0, 255));
        assert_eq!(lan.host(10), Some(Ipv4Addr::new(10, 100, 0, 10)));
        assert_eq!(lan.host(256), None);
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.overlaps(lan));
    }

    #[test]
    fn malformed_networks_say_why() {
        for (text, why) in [
            ("10.0.0.1", "written like"),
            ("10.0.0.1/24", "host bits"),
            ("10.0.0.0/33", "prefix"),
            ("10.0.0.0/+8", "prefix"),
            ("10.0.0.0/08", "prefix"),
            ("10.0.0/8", "not an IPv4"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn ranges_touch_or_not() {
        let a: IpRange = "10.0.0.1-10.0.0.9".parse().unwrap();
        assert!(a.overlaps("10.0.0.9-10.0.0.12".parse().unwrap()));
        assert!(!a.overlaps("10.0.0.10-10.0.0.12".parse().unwrap()));
        assert!("10.0.0.9-10.0.0.1".parse::<IpRange>().is_err());
    }
}
