//! The LAN: addresses, name servers, ranges, and the networks inside the cluster.

use std::net::{IpAddr, Ipv4Addr};

use super::provides::Provides;
use crate::config::net::{Cidr, IpRange};
use crate::config::node::{Cluster, Node};
use crate::problem::Problem;
use crate::problems::Problems;

/// Networks that a LAN can be.
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/// Networks that a LAN cannot be, and why.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "means \"this network\""),
    (
        "100.64.0.0/10",
        "belongs to carriers (CGNAT) and to tailnets",
    ),
    ("127.0.0.0/8", "is loopback"),
    ("169.254.0.0/16", "is link-local"),
    ("192.0.0.0/24", "is reserved for protocols"),
    ("192.0.2.0/24", "is for documentation"),
    ("198.18.0.0/15", "is for benchmarks"),
    ("198.51.100.0/24", "is for documentation"),
    ("203.0.113.0/24", "is for documentation"),
    ("224.0.0.0/4", "is multicast"),
    ("240.0.0.0/4", "is reserved"),
];

/// Prefix lengths of a service network: the API server takes at most 20 bits of hosts, and the
/// cluster's DNS is the tenth address.
const SERVICE_PREFIXES: std::ops::RangeInclusive<u8> = 12..=28;

/// Prefix lengths of a pod network: nodes take a /24 each, in at most 16 bits.
const POD_PREFIXES: std::ops::RangeInclusive<u8> = 8..=24;

pub fn check(cluster: &Cluster, provides: Provides<'_>, problems: &mut Problems) {
    for node in &cluster.nodes {
        check_address(node, problems);
        check_dns(cluster, node, provides, problems);
        check_time(cluster, node, provides, problems);
    }
    let Some(node) = cluster.nodes.first() else {
        return;
    };
    let judge = Judge {
        cluster,
        node,
        problems,
    };
    judge.run();
}

fn check_address(node: &Node, problems: &mut Problems) {
    let (address, network) = (node.address, &node.network);
    let cidr = network.cidr;
    let why = if !cidr.contains(address) {
        format!("is outside the network {cidr}")
    } else if is_edge(cidr, address) {
        format!("is the first or last address of {cidr}, which no host can have")
    } else if address == network.gateway {
        "is the gateway's".to_owned()
    } else if let Some(dhcp) = network.dhcp.filter(|d| d.contains(address)) {
        format!("is inside the DHCP range {dhcp}: the router may give it to another machine")
    } else {
        return;
    };
    let what = format!("`address` {address} {why}");
    problems.push(Problem::new(node.origin("address"), what));
}

/// Whether `address` names the network or reaches all of it.
fn is_edge(cidr: Cidr, address: Ipv4Addr) -> bool {
    cidr.prefix() < 31 && (address == cidr.network() || address == cidr.broadcast())
}

fn check_dns(cluster: &Cluster, node: &Node, provides: Provides<'_>, problems: &mut Problems) {
    let key = "network.dns";
    if node.network.dns.is_empty() {
        let what =
            "`network.dns` is empty: with a static address the nodes would have no name server";
        let hint = "name the router, a public resolver, or the node that serves DNS";
        problems.push(Problem::new(node.origin(key), what).with_hint(hint));
    }
    for (index, name) in node.network.dns.iter().enumerate() {
        let why = match name.parse::<IpAddr>() {
            Ok(address) => wrong_resolver(cluster, node, address, provides),
            Err(_) => match cluster.find(name) {
                None => Some("is neither an address nor a node".to_owned()),
                Some(other) => not_serving(other, provides),
            },
        };
        if let Some(why) = why {
            let place = node
                .item_origin(key, index)
                .unwrap_or_else(|| node.origin(key));
            problems.push(Problem::new(place, format!("`{key}`: `{name}` {why}")));
        }
    }
}

/// A time server is outside, or a node with a role for it.
fn check_time(cluster: &Cluster, node: &Node, provides: Provides<'_>, problems: &mut Problems) {
    let key = "time.servers";
    for (index, name) in node.time.servers.iter().enumerate() {
        let owner = match name.parse::<IpAddr>() {
            Ok(address) => {
                if let Some(why) = wrong_host(node, address) {
                    let place = node.item_origin(key, index);
                    let place = place.unwrap_or_else(|| node.origin(key));
                    problems.push(Problem::new(place, format!("`{key}`: `{name}` {why}")));
                    continue;
                }
                cluster
                    .nodes
                    .iter()
                    .find(|n| IpAddr::V4(n.address) == address)
            }
            Err(_) => cluster
                .nodes
                .iter()
                .find(|n| n.hostname == *name || n.fqdn() == *name || n.profile == *name),
        };
        let silent = owner.filter(|owner| !provides(owner, "ntp"));
        let why = match silent {
            Some(owner) => format!("is {}, which has no role that serves time", owner.hostname),
            None if name == "localhost" => "is the node itself".to_owned(),
            None => continue,
        };
        let place = node.item_origin(key, index);
        let place = place.unwrap_or_else(|| node.origin(key));
        problems.push(Problem::new(place, format!("`{key}`: `{name}` {why}")));
    }
}

/// Why no other host can have `address`: it is the node itself, an edge of the LAN, or inside the
/// cluster, where a node does not look anything up.
fn wrong_host(node: &Node, address: IpAddr) -> Option<String> {
    if address.is_loopback() {
        return Some("is the node itself, where nothing answers".to_owned());
    }
    let IpAddr::V4(v4) = address else {
        return None;
    };
    let cidr = node.network.cidr;
    if cidr.contains(v4) && is_edge(cidr, v4) {
        return Some(format!(
            "is the first or last address of {cidr}, which no host can have"
        ));
    }
    let inner = [node.settings.pod_cidr, node.settings.service_cidr];
    let inner = inner.into_iter().find(|network| network.contains(v4))?;
    Some(format!("is inside the cluster's own network {inner}"))
}

fn wrong_resolver(
    cluster: &Cluster,
    node: &Node,
    address: IpAddr,
    provides: Provides<'_>,
) -> Option<String> {
    if let Some(why) = wrong_host(node, address) {
        return Some(why);
    }
    let IpAddr::V4(v4) = address else {
        return None;
    };
    let owner = cluster.nodes.iter().find(|n| n.address == v4)?;
    not_serving(owner, provides)
}

fn not_serving(node: &Node, provides: Provides<'_>) -> Option<String> {
    if provides(node, "dns") {
        None
    } else {
        Some(format!(
            "is {}, which has no role that serves DNS",
            node.hostname
        ))
    }
}

/// Checks of what all nodes share; places are those that the first node inherits.
struct Judge<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    problems: &'a mut Problems,
}

impl Judge<'_> {
    fn run(mut self) {
        self.lan();
        self.gateway();
        self.dhcp();
        self.metallb();
        self.ingress();
        self.inner_networks();
    }

    fn push(&mut self, key: &str, what: String) {
        self.problems.push(Problem::new(
            self.node.origin(key),
            format!("`{key}` {what}"),
        ));
    }

    fn lan(&mut self) {
        let cidr = self.cluster.network.cidr;
        if let Some((network, why)) = special(cidr) {
            self.push(
                "network.cidr",
                format!("{cidr} cannot be a LAN: {network} {why}"),
            );
        } else if !is_private(cidr) {
            let ranges = PRIVATE.join(", ");
            self.push(
                "network.cidr",
                format!("{cidr} belongs to others on the internet, whom the nodes could then not reach; use a part of {ranges}"),
            );
        } else if cidr.prefix() > 30 {
            self.push(
                "network.cidr",
                format!("{cidr} has no room for a router and a node"),
            );
        }
    }

    fn gateway(&mut self) {
        let (gateway, cidr) = (self.cluster.network.gateway, self.cluster.network.cidr);
        if !cidr.contains(gateway) {
            self.push(
                "network.gateway",
                format!("{gateway} is outside the network {cidr}"),
            );
        } else if is_edge(cidr, gateway) {
            self.push(
                "network.gateway",
                format!("{gateway} is the first or last address of {cidr}, which no host can have"),
            );
        }
    }

    fn dhcp(&mut self) {
        let network = &self.cluster.network;
        let Some(dhcp) = network.dhcp else { return };
        let key = "network.dhcp";
        self.host_range(key, dhcp);
        if dhcp.contains(network.gateway) {
            self.push(
                key,
                format!("{dhcp} contains the gateway {}", network.gateway),
            );
        }
    }

    /// A range whose every address a host could have.
    fn host_range(&mut self, key: &str, range: IpRange) {
        let cidr = self.cluster.network.cidr;
        if !cidr.contains(range.first) || !cidr.contains(range.last) {
            self.push(key, format!("{range} is not inside the network {cidr}"));
        } else if [range.first, range.last]
            .into_iter()
            .any(|a| is_edge(cidr, a))
        {
            self.push(
                key,
                format!(
                    "{range} contains the first or last address of {cidr}, which no host can have"
                ),
            );
        }
    }

    fn metallb(&mut self) {
        let network = &self.cluster.network;
        let Some(pool) = network.metallb else { return };
        let key = "network.metallb";
        self.host_range(key, pool);
        if let Some(dhcp) = network.dhcp.filter(|d| d.overlaps(pool)) {
            self.push(key, format!("{pool} overlaps the DHCP range {dhcp}"));
        }
        if pool.contains(network.gateway) {
            self.push(
                key,
                format!("{pool} contains the gateway {}", network.gateway),
            );
        }
        for other in self
            .cluster
            .nodes
            .iter()
            .filter(|n| pool.contains(n.address))
        {
            self.push(
                key,
                format!("{pool} contains {} ({})", other.hostname, other.address),
            );
        }
    }

    fn ingress(&mut self) {
        let network = &self.cluster.network;
        let Some(ingress) = self.cluster.settings.ingress else {
            return;
        };
        let cidr = network.cidr;
        let why = if let Some(pool) = network.metallb.filter(|pool| !pool.contains(ingress)) {
            format!("is outside the MetalLB pool {pool}")
        } else if !cidr.contains(ingress) {
            format!("is outside the network {cidr}")
        } else if is_edge(cidr, ingress) {
            format!("is the first or last address of {cidr}, which no host can have")
        } else if ingress == network.gateway {
            "is the gateway's".to_owned()
        } else if let Some(dhcp) = network.dhcp.filter(|d| d.contains(ingress)) {
            format!("is inside the DHCP range {dhcp}: the router may give it to another machine")
        } else {
            return;
        };
        self.push("cluster.ingress", format!("{ingress} {why}"));
    }

    fn inner_networks(&mut self) {
        let settings = &self.cluster.settings;
        let lan = self.cluster.network.cidr;
        for (key, cidr, prefixes) in [
            ("cluster.pod_cidr", settings.pod_cidr, POD_PREFIXES),
            (
                "cluster.service_cidr",
                settings.service_cidr,
                SERVICE_PREFIXES,
            ),
        ] {
            if !prefixes.contains(&cidr.prefix()) {
                self.push(
                    key,
                    format!(
                        "{cidr}: Kubernetes takes a prefix from /{} to /{}",
                        prefixes.start(),
                        prefixes.end()
                    ),
                );
            } else if let Some(why) = not_inside(cidr) {
                self.push(key, format!("{cidr} {why}"));
            }
            if cidr.overlaps(lan) {
                self.push(key, format!("{cidr} overlaps the LAN {lan}"));
            }
        }
        if settings.pod_cidr.overlaps(settings.service_cidr) {
            // The one that somebody wrote is the one to change.
            let (pods, services) = ("cluster.pod_cidr", "cluster.service_cidr");
            if self.node.is_set(services) {
                let (a, b) = (settings.service_cidr, settings.pod_cidr);
                self.push(services, format!("{a} overlaps `{pods}` {b}"));
            } else {
                let (a, b) = (settings.pod_cidr, settings.service_cidr);
                self.push(pods, format!("{a} overlaps `{services}` {b}"));
            }
        }
    }
}

/// Why `cidr` cannot be a network inside the cluster. CGNAT can, where no tailnet uses it.
fn not_inside(cidr: Cidr) -> Option<String> {
    match special(cidr) {
        Some(("100.64.0.0/10", _)) => None,
        Some((network, why)) => Some(format!("cannot be used: {network} {why}")),
        None if is_private(cidr) => None,
        None => {
            Some("belongs to others on the internet, whom pods could then not reach".to_owned())
        }
    }
}

fn special(cidr: Cidr) -> Option<(&'static str, &'static str)> {
    SPECIAL
        .iter()
        .copied()
        .find(|(network, _)| network.parse().is_ok_and(|n: Cidr| n.overlaps(cidr)))
}

/// Whether all of `cidr` is private (RFC 1918).
fn is_private(cidr: Cidr) -> bool {
    PRIVATE.iter().any(|network| {
        network
            .parse()
            .is_ok_and(|n: Cidr| n.prefix() <= cidr.prefix() && n.contains(cidr.network()))
    })
}
