//! All checks, and those of settings that nodes share.

use std::collections::BTreeMap;

use super::provides::Provides;
use super::{domains, machine, network};
use crate::config::node::{Cluster, Node};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::did_you_mean;

/// Checks the nodes by themselves and against each other.
pub fn check_cluster(cluster: &Cluster, provides: Provides<'_>, problems: &mut Problems) {
    check_agreement(cluster, problems);
    check_unique(cluster, "hostname", problems, |n| n.hostname.clone());
    check_unique(cluster, "address", problems, |n| n.address.to_string());
    check_names(cluster, problems);
    network::check(cluster, provides, problems);
    domains::check(cluster, problems);
    for node in &cluster.nodes {
        machine::check(node, problems);
    }
    check_share(cluster, provides, problems);
}

/// Every node must see the same network and cluster settings.
fn check_agreement(cluster: &Cluster, problems: &mut Problems) {
    let first = &cluster.nodes[0];
    for node in &cluster.nodes {
        for key in differing_keys(first, node) {
            let what = format!(
                "`{key}` of {} differs from that of {} ({}); put shared settings in the profile that both extend",
                node.hostname,
                first.hostname,
                first.origin(key)
            );
            problems.push(Problem::new(node.origin(key), what));
        }
    }
}

/// Keys that cannot differ between nodes, and do. Each node may have an interface and name servers
/// of its own.
fn differing_keys(a: &Node, b: &Node) -> Vec<&'static str> {
    let (n, m, s, t) = (&a.network, &b.network, &a.settings, &b.settings);
    [
        ("network.cidr", n.cidr == m.cidr),
        ("network.gateway", n.gateway == m.gateway),
        ("network.domain", n.domain == m.domain),
        ("network.dhcp", n.dhcp == m.dhcp),
        ("network.metallb", n.metallb == m.metallb),
        ("cluster.name", s.name == t.name),
        ("cluster.ingress", s.ingress == t.ingress),
        ("cluster.pod_cidr", s.pod_cidr == t.pod_cidr),
        ("cluster.service_cidr", s.service_cidr == t.service_cidr),
        ("cluster.share_node", s.share_node == t.share_node),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(key, _)| key)
    .collect()
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
                "`{key}` {value} is also that of profile `{}` ({})",
                other.profile,
                other.origin(key)
            );
            problems.push(Problem::new(node.origin(key), what));
        }
        seen.entry(value).or_insert(node);
    }
}

/// A name stands for one node, whether it is a profile's or a host's.
fn check_names(cluster: &Cluster, problems: &mut Problems) {
    let profiles: BTreeMap<&str, &Node> = cluster
        .nodes
        .iter()
        .map(|n| (n.profile.as_str(), n))
        .collect();
    for node in &cluster.nodes {
        let other = profiles.get(node.hostname.as_str());
        if let Some(other) = other.filter(|o| o.profile != node.profile) {
            let what = format!(
                "`hostname` {} is the name of another node's profile ({}), so it would stand for two nodes",
                node.hostname, other.hostname
            );
            problems.push(Problem::new(node.origin("hostname"), what));
        }
    }
}

fn check_share(cluster: &Cluster, provides: Provides<'_>, problems: &mut Problems) {
    let Some(name) = &cluster.settings.share_node else {
        return;
    };
    let origin = cluster.nodes[0].origin("cluster.share_node");
    match cluster.find(name) {
        None => {
            let what = format!("`cluster.share_node`: there is no node `{name}`");
            let nodes = cluster.nodes.iter();
            let names: Vec<&str> = nodes
                .flat_map(|n| [n.profile.as_str(), n.hostname.as_str()])
                .collect();
            let hint = did_you_mean(name, &names);
            problems.push(Problem::new(origin, what).with_maybe_hint(hint));
        }
        Some(node) if !provides(node, "share") => {
            let what = format!("`cluster.share_node`: {name} has no role that shares a disk");
            problems.push(Problem::new(origin, what));
        }
        Some(_) => {}
    }
}
