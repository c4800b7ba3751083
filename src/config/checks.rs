//! What must hold between nodes, checked before anything is downloaded or written.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::net::{Cidr, IpRange};
use super::node::{Cluster, Node};
use crate::error::Result;
use crate::problem::{Problem, Problems};

/// Pods of one node take a /24 of the pod network: k3s' default mask.
const NODE_POD_PREFIX: u8 = 24;

/// Checks the nodes against each other. All problems are reported at once.
pub fn check_cluster(cluster: &Cluster) -> Result<()> {
    let mut problems = Problems::new();
    check_agreement(cluster, &mut problems);
    check_unique(cluster, "hostname", &mut problems, |n| n.hostname.clone());
    check_unique(cluster, "address", &mut problems, |n| n.address.to_string());
    for node in &cluster.nodes {
        check_address(node, &mut problems);
        check_dns(cluster, node, &mut problems);
        check_fan(node, &mut problems);
    }
    if let Some(node) = cluster.nodes.first() {
        check_network(cluster, node, &mut problems);
        check_metallb(cluster, node, &mut problems);
        check_cluster_networks(cluster, node, &mut problems);
    }
    check_k3s(cluster, &mut problems);
    check_share(cluster, &mut problems);
    problems.report()
}

/// Every node must see the same network and cluster settings.
fn check_agreement(cluster: &Cluster, problems: &mut Problems) {
    for node in &cluster.nodes {
        for (table, same) in [
            (
                "network",
                shared_network(node) == shared_network(&cluster.nodes[0]),
            ),
            ("cluster", node.settings == cluster.settings),
        ] {
            if !same {
                let what = format!(
                    "[{table}] of {} differs from that of {}; what nodes share belongs into the profile they extend",
                    node.hostname, cluster.nodes[0].hostname
                );
                problems.push(Problem::new(node.origin(table), what));
            }
        }
    }
}

/// The part of the network that can not differ: each node may have an interface and name servers of
/// its own.
fn shared_network(node: &Node) -> (Cidr, Ipv4Addr, &str, Option<IpRange>, Option<IpRange>) {
    let n = &node.network;
    (n.cidr, n.gateway, &n.domain, n.dhcp, n.metallb)
}

fn check_unique(
    cluster: &Cluster,
    key: &str,
    problems: &mut Problems,
    of: impl Fn(&Node) -> String,
) {
    let mut seen: BTreeMap<String, &Node> = BTreeMap::new();
    for node in &cluster.nodes {
        let value = of(node);
        if let Some(other) = seen.get(&value) {
            let what = format!(
                "`{key}` {value} is that of profile `{}` too ({})",
                other.profile,
                other.origin(key)
            );
            problems.push(Problem::new(node.origin(key), what));
        }
        seen.entry(value).or_insert(node);
    }
}

fn check_address(node: &Node, problems: &mut Problems) {
    let (address, network) = (node.address, &node.network);
    let cidr = network.cidr;
    let why = if !cidr.contains(address) {
        format!("is outside the network {cidr}")
    } else if cidr.prefix() < 31 && address == cidr.network() {
        format!("is the name of the network {cidr}, not a host in it")
    } else if cidr.prefix() < 31 && address == cidr.broadcast() {
        format!("is the broadcast address of {cidr}")
    } else if address == network.gateway {
        "is the gateway's".to_owned()
    } else if let Some(dhcp) = network.dhcp.filter(|d| d.contains(address)) {
        format!(
            "is inside the router's DHCP range {dhcp}: the router may give it to something else"
        )
    } else {
        return;
    };
    problems.push(Problem::new(
        node.origin("address"),
        format!("`address` {address} of {} {why}", node.hostname),
    ));
}

fn check_dns(cluster: &Cluster, node: &Node, problems: &mut Problems) {
    for (name, address) in cluster.dns(node) {
        if address.is_none() {
            let what = format!("`network.dns`: `{name}` is neither an IPv4 address nor a node");
            problems.push(Problem::new(node.origin("network.dns"), what));
        }
    }
}

/// Steps of the fan that the firmware of a PoE HAT knows.
const FAN_STEPS: usize = 4;

fn check_fan(node: &Node, problems: &mut Problems) {
    let steps = node.boot.poe_fan.len();
    if steps > FAN_STEPS {
        let what =
            format!("`boot.poe_fan` has {steps} temperatures; the fan has {FAN_STEPS} steps");
        problems.push(Problem::new(node.origin("boot.poe_fan"), what));
    }
}

fn check_network(cluster: &Cluster, node: &Node, problems: &mut Problems) {
    let network = &cluster.network;
    if !network.cidr.contains(network.gateway) {
        let what = format!(
            "`network.gateway` {} is outside the network {}",
            network.gateway, network.cidr
        );
        problems.push(Problem::new(node.origin("network.gateway"), what));
    } else if is_edge(network.cidr, network.gateway) {
        let what = format!(
            "`network.gateway` {} is the first or last address of {}, which no host has",
            network.gateway, network.cidr
        );
        problems.push(Problem::new(node.origin("network.gateway"), what));
    }
    if let Some(dhcp) = network.dhcp {
        check_inside(network.cidr, dhcp, "network.dhcp", node, problems);
    }
}

/// Whether `address` names the network or reaches all of it.
fn is_edge(cidr: Cidr, address: Ipv4Addr) -> bool {
    cidr.prefix() < 31 && (address == cidr.network() || address == cidr.broadcast())
}

fn check_inside(cidr: Cidr, range: IpRange, key: &str, node: &Node, problems: &mut Problems) {
    if !cidr.contains(range.first) || !cidr.contains(range.last) {
        let what = format!("`{key}` {range} is not inside the network {cidr}");
        problems.push(Problem::new(node.origin(key), what));
    }
}

fn check_metallb(cluster: &Cluster, node: &Node, problems: &mut Problems) {
    let Some(pool) = cluster.network.metallb else {
        return;
    };
    let key = "network.metallb";
    let origin = node.origin(key);
    check_inside(cluster.network.cidr, pool, key, node, problems);
    if let Some(dhcp) = cluster.network.dhcp.filter(|d| d.overlaps(pool)) {
        let what = format!("`{key}` {pool} overlaps the DHCP range {dhcp}");
        problems.push(Problem::new(&origin, what));
    }
    if pool.contains(cluster.network.gateway) {
        let what = format!(
            "`{key}` {pool} contains the gateway {}",
            cluster.network.gateway
        );
        problems.push(Problem::new(&origin, what));
    }
    if [pool.first, pool.last]
        .into_iter()
        .any(|a| is_edge(cluster.network.cidr, a))
    {
        let what = format!(
            "`{key}` {pool} contains the first or last address of {}, which no host can have",
            cluster.network.cidr
        );
        problems.push(Problem::new(&origin, what));
    }
    for other in cluster.nodes.iter().filter(|n| pool.contains(n.address)) {
        let what = format!(
            "`{key}` {pool} contains {} ({})",
            other.hostname, other.address
        );
        problems.push(Problem::new(&origin, what));
    }
    if let Some(ingress) = cluster.settings.ingress.filter(|a| !pool.contains(*a)) {
        let what = format!("`cluster.ingress` {ingress} is outside the MetalLB pool {pool}");
        problems.push(Problem::new(node.origin("cluster.ingress"), what));
    }
}

fn check_cluster_networks(cluster: &Cluster, node: &Node, problems: &mut Problems) {
    let settings = &cluster.settings;
    let lan = cluster.network.cidr;
    for (key, cidr) in [
        ("cluster.pod_cidr", settings.pod_cidr),
        ("cluster.service_cidr", settings.service_cidr),
    ] {
        if cidr.overlaps(lan) {
            let what = format!("`{key}` {cidr} overlaps the LAN {lan}");
            problems.push(Problem::new(node.origin(key), what));
        }
    }
    if settings.pod_cidr.overlaps(settings.service_cidr) {
        let what = format!(
            "`cluster.pod_cidr` {} overlaps `cluster.service_cidr` {}",
            settings.pod_cidr, settings.service_cidr
        );
        problems.push(Problem::new(node.origin("cluster.pod_cidr"), what));
    }
    let members = cluster.nodes.iter().filter(|n| is_k3s(n)).count() as u64;
    let room = 1_u64
        .checked_shl(u32::from(
            NODE_POD_PREFIX.saturating_sub(settings.pod_cidr.prefix()),
        ))
        .unwrap_or(u64::MAX);
    let fits = settings.pod_cidr.prefix() <= NODE_POD_PREFIX && room >= members;
    if !fits && members > 0 {
        let what = format!(
            "`cluster.pod_cidr` {} is too small: every node takes a /{NODE_POD_PREFIX} and there are {members} k3s nodes",
            settings.pod_cidr
        );
        problems.push(Problem::new(node.origin("cluster.pod_cidr"), what));
    }
}

fn is_k3s(node: &Node) -> bool {
    node.has_role("k3s-server") || node.has_role("k3s-agent")
}

fn check_k3s(cluster: &Cluster, problems: &mut Problems) {
    let with = |role: &'static str| cluster.nodes.iter().filter(move |n| n.has_role(role));
    let servers: Vec<&Node> = with("k3s-server").collect();
    if let Some(agent) = with("k3s-agent").next().filter(|_| servers.is_empty()) {
        let what = format!(
            "{} is a k3s-agent, but no node is a k3s-server",
            agent.hostname
        );
        problems.push(Problem::new(agent.origin("roles"), what));
    }
    if let [_, second, ..] = servers[..] {
        let etcd = servers.iter().all(|n| datastore(n) == Some("etcd"));
        if !etcd || servers.len().is_multiple_of(2) {
            let what = format!(
                "{} k3s servers: there must be exactly one, or an odd number of them that all have `datastore = \"etcd\"`",
                servers.len()
            );
            problems.push(Problem::new(second.origin("roles"), what));
        }
    }
}

fn datastore(node: &Node) -> Option<&str> {
    node.options.get("k3s-server")?.get("datastore")?.as_str()
}

fn check_share(cluster: &Cluster, problems: &mut Problems) {
    let Some(name) = &cluster.settings.share_node else {
        return;
    };
    let origin = cluster.nodes[0].origin("cluster.share_node");
    match cluster.find(name) {
        None => {
            let what = format!("`cluster.share_node`: there is no node `{name}`");
            problems.push(Problem::new(&origin, what));
        }
        Some(node) if !node.has_role("samba") => {
            let what = format!("`cluster.share_node`: {name} does not have the role `samba`");
            problems.push(Problem::new(&origin, what));
        }
        Some(_) => {}
    }
}
