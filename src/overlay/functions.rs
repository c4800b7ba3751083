//! Functions about addresses and texts, for the expressions of `[[check]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use minijinja::{Environment, Error, ErrorKind};
use regex_lite::Regex;

use crate::config::{Cidr, IpRange, ipv6_network};

/// Adds all functions to `env`.
pub fn register(env: &mut Environment<'_>) {
    env.add_function("within", within);
    env.add_function("overlaps", overlaps);
    env.add_function("before", before);
    env.add_function("at_edge", at_edge);
    env.add_function("is_private", is_private);
    env.add_function("url_host", url_host);
    env.add_function("matches", matches);
    env.add_function("cname_cycle", cname_cycle);
    env.add_filter("repeated", repeated);
    env.add_test("containing", containing);
    env.add_filter("taint_key", taint_key);
    env.add_filter("covers", covers);
    env.add_filter("cidr_subnets", cidr_subnets);
}

/// First and last address of an address, a network or a range; `None` for anything else. An IPv4 address
/// is before every IPv6 address, so what is of two families has nothing in common.
fn span(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Ok(address) = text.parse() {
        return Some((address, address));
    }
    if let Ok(cidr) = text.parse::<Cidr>() {
        return Some((cidr.network().into(), cidr.broadcast().into()));
    }
    if let Ok((first, last)) = ipv6_network(text) {
        return Some((first.into(), last.into()));
    }
    let range: IpRange = text.parse().ok()?;
    Some((range.first.into(), range.last.into()))
}

/// Whether all of `inner` is in `outer`; each is an address, a network or a range.
fn within(inner: &str, outer: &str) -> bool {
    match (span(inner), span(outer)) {
        (Some(inner), Some(outer)) => outer.0 <= inner.0 && inner.1 <= outer.1,
        _ => false,
    }
}

/// An alias of `alias,target` lines that leads back to itself; empty if none does.
fn cname_cycle(lines: Vec<String>) -> String {
    let pairs: BTreeMap<&str, &str> = lines
        .iter()
        .filter_map(|line| line.split_once(','))
        .map(|(alias, target)| (alias.trim(), target.trim()))
        .collect();
    let leads_back = |start: &&&str| {
        let mut name = **start;
        for _ in 0..pairs.len() {
            match pairs.get(name) {
                Some(target) if target == *start => return true,
                Some(target) => name = target,
                None => return false,
            }
        }
        false
    };
    let found = pairs.keys().find(leads_back);
    found.map_or(String::new(), |alias| (*alias).to_owned())
}

/// Whether `value` is in the list: `in` the other way round, for `select`.
fn containing(list: Vec<String>, value: String) -> bool {
    list.contains(&value)
}

/// The first value that stands in the list twice; empty if none does.
fn repeated(values: Vec<String>) -> String {
    let mut seen = BTreeSet::new();
    let again = values.into_iter().find(|value| !seen.insert(value.clone()));
    again.unwrap_or_default()
}

/// What makes a taint the same as another: its key and its effect.
fn taint_key(taint: &str) -> String {
    let (rest, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
    let key = rest.split('=').next().unwrap_or_default();
    format!("{key}:{effect}")
}

/// Whether the network `outer` contains all of `inner`, as a filter for `map`.
fn covers(outer: &str, inner: &str) -> bool {
    within(inner, outer)
}

/// How many networks with a longer `prefix` an IPv4 network has.
fn cidr_subnets(network: &str, prefix: u8) -> Result<u64, Error> {
    let cidr: Cidr = network
        .parse()
        .map_err(|why: String| Error::new(ErrorKind::InvalidOperation, why))?;
    Ok(match prefix.checked_sub(cidr.prefix()) {
        Some(bits) => 1 << bits.min(32),
        None => 0,
    })
}

/// Whether the two share an address.
fn overlaps(a: &str, b: &str) -> bool {
    match (span(a), span(b)) {
        (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
        _ => false,
    }
}

/// Whether the address `a` is not after `b`.
fn before(a: &str, b: &str) -> bool {
    match (span(a), span(b)) {
        (Some(a), Some(b)) => a.0 <= b.0,
        _ => false,
    }
}

/// Whether `address` is the first or last of `network`, which no host can have.
fn at_edge(address: &str, network: &str) -> bool {
    match (span(address), span(network)) {
        (Some((address, _)), Some((first, last))) => address == first || address == last,
        _ => false,
    }
}

/// Whether an IPv4 address is private, a tailnet's, link-local or loopback.
fn is_private(address: &str) -> bool {
    [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "127.0.0.0/8",
    ]
    .iter()
    .any(|network| within(address, network))
}

/// The host of a URL, without port and brackets.
fn url_host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default().to_owned(),
        None => authority.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// Whether all of `text` matches the regular expression `pattern`.
fn matches(text: &str, pattern: &str) -> Result<bool, Error> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map(|regex| regex.is_match(text))
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_addresses_networks_and_ranges() {
        assert!(within("10.0.0.5", "10.0.0.0/24"));
        assert!(within("10.0.0.5-10.0.0.9", "10.0.0.0/24"));
        assert!(!within("10.0.0.0/16", "10.0.0.0/24"));
        assert!(!within("fd00::1", "10.0.0.0/24") && !within("10.0.0.1", "::/1"));
        assert!(within("fd00::1:0/112", "FD00::/64") && !within("fd00::/64", "fd00::/65"));
        assert!(!overlaps("fd00::/64", "10.0.0.0/8") && overlaps("fd00::/8", "fd00::9"));
        assert!(overlaps("10.0.0.5-10.0.0.9", "10.0.0.9-10.0.0.10"));
        assert!(!overlaps("10.0.0.5", "10.0.0.6"));
        assert!(before("10.0.0.9", "10.0.0.10") && !before("10.0.0.10", "10.0.0.9"));
        assert!(at_edge("10.0.0.255", "10.0.0.0/24") && !at_edge("10.0.0.254", "10.0.0.0/24"));
        assert!(is_private("192.168.1.1") && !is_private("8.8.8.8"));
    }

    #[test]
    fn what_stands_twice_or_leads_back() {
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        assert_eq!(cname_cycle(list(&["a,b", "b,c", "c,a", "x,a"])), "a");
        assert_eq!(cname_cycle(list(&["a,b", "b,c", "x,c"])), "");
        assert_eq!(repeated(list(&["a", "b", "a"])), "a");
        assert_eq!(taint_key("a=b:NoSchedule"), taint_key("a=c:NoSchedule"));
    }

    #[test]
    fn hosts_of_urls() {
        assert_eq!(url_host("http://hs.example.com:8080/x"), "hs.example.com");
        assert_eq!(url_host("https://[fd00::1]:443/"), "fd00::1");
    }
}
