//! Addresses, networks, ranges and sizes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::reason::Reason;
use crate::config::net::{Cidr, IpRange, ipv6_network};

pub fn ipv4(text: &str) -> Result<Ipv4Addr, Reason> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an IPv4 address"))
}

/// An address that a host can have.
pub fn ip(text: &str) -> Result<IpAddr, Reason> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an IP address"))?;
    let is_host = match address {
        IpAddr::V4(v4) => is_ipv4_host(v4),
        IpAddr::V6(v6) => is_ipv6_host(v6),
    };
    if is_host {
        Ok(address)
    } else {
        Err(format!("`{text}` is not the address of a host"))
    }
}

/// Neither of "this network", link-local, multicast, reserved nor for documentation.
fn is_ipv4_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_link_local() && !address.is_documentation()
}

/// Neither unspecified, multicast, link-local (which needs a scope), site-local, for documentation nor
/// an IPv4 address in another form.
fn is_ipv6_host(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    !address.is_unspecified()
        && !address.is_multicast()
        && address.to_ipv4_mapped().is_none()
        && first & 0xff80 != 0xfe80
        && (first, second) != (0x2001, 0x0db8)
}

/// A port behind an address; `parse` alone would take a sign.
pub fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `address` or `address#port`: plain DNS, which is what dnsmasq and FTL speak.
pub fn resolver(text: &str) -> Result<(), Reason> {
    let (address, port) = match text.split_once('#') {
        Some((address, port)) => (address, Some(port)),
        None => (text, None),
    };
    ip(address).map_err(|_| {
        format!("`{text}` is not a resolver: write an address, or address#port (plain DNS only)")
    })?;
    match port.map(is_port) {
        None | Some(true) => Ok(()),
        Some(false) => Err(format!("`{text}`: what follows # is not a port")),
    }
}

pub fn cidr(text: &str) -> Result<Cidr, Reason> {
    text.parse()
}

/// A network or an address, of either family.
pub fn any_network(text: &str) -> Result<(), Reason> {
    let Some((address, _)) = text.split_once('/') else {
        return text.parse::<IpAddr>().map(drop).map_err(|_| {
            format!("`{text}` is neither a network like 192.168.1.0/24 nor an address")
        });
    };
    match address.parse() {
        Ok(IpAddr::V4(_)) => cidr(text).map(drop),
        Ok(IpAddr::V6(_)) => ipv6_network(text).map(drop),
        Err(_) => Err(format!("`{address}` is not an IP address")),
    }
}

pub fn range(text: &str) -> Result<IpRange, Reason> {
    text.parse()
}

pub fn mac(text: &str) -> Result<(), Reason> {
    let octets: Vec<&str> = text.split(':').collect();
    let is_octet = |o: &&str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(is_octet) {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a MAC address like aa:bb:cc:dd:ee:ff"
        ))
    }
}

/// Parses `512MiB`, `16GiB`, `4096KiB` or a plain number of bytes.
pub fn parse_size(text: &str) -> Result<u64, Reason> {
    let wrong = || format!("`{text}` is not a size like 512MiB or 16GiB");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1_u64 << 30,
        _ => return Err(wrong()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(wrong)
}
