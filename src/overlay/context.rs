//! What templates see of a node and its cluster. `docs/roles.md` is the reference.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::catalog::Catalog;
use super::role::Role;
use crate::config::{Cluster, Network, Node, OptionTable, Sudo};
use crate::error::Result;

/// The first account of a Debian system.
pub const USER_ID: u32 = 1000;

/// The part of the context that all nodes share.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterContext(Json);

impl ClusterContext {
    /// Describes every node with its roles and their options.
    pub fn new(cluster: &Cluster, catalog: &Catalog) -> Result<Self> {
        let mut nodes = Vec::new();
        for node in &cluster.nodes {
            let roles = catalog.roles_of(node)?;
            nodes.push(describe(cluster, node, &roles));
        }
        let server = cluster.k3s_server();
        let server = server.and_then(|s| nodes.iter().find(|n| n["profile"] == s.profile));
        let share = cluster.settings.share_node.as_ref();
        let share = share.and_then(|name| cluster.find(name));
        let share = share.and_then(|s| nodes.iter().find(|n| n["profile"] == s.profile));
        let Network {
            cidr,
            gateway,
            domain,
            dhcp,
            metallb,
            ..
        } = &cluster.network;
        let settings = &cluster.settings;
        Ok(Self(json!({
            "name": settings.name,
            "domain": domain,
            "cidr": cidr.to_string(),
            "prefix": cidr.prefix(),
            "gateway": gateway,
            "dhcp": dhcp.map(|r| r.to_string()),
            "metallb": metallb.map(|r| r.to_string()),
            "ingress": settings.ingress,
            "pod_cidr": settings.pod_cidr.to_string(),
            "service_cidr": settings.service_cidr.to_string(),
            "k3s_server": server,
            "share_node": share,
            "nodes": nodes,
        })))
    }
}

/// The whole context for one role on one node.
pub fn node_context(
    cluster: &Cluster,
    shared: &ClusterContext,
    node: &Node,
    roles: &[&Role],
    role: &Role,
    ssh_keys: &[String],
) -> minijinja::Value {
    let options = node.options.get(&role.name).cloned().unwrap_or_default();
    let sudo = match node.user.sudo {
        Sudo::WithoutPassword => "nopasswd",
        Sudo::WithPassword => "password",
        Sudo::None => "none",
    };
    minijinja::Value::from(minijinja::value::Serde(json!({
        "options": options,
        "role": role_options(node, roles),
        "node": describe(cluster, node, roles),
        "cluster": shared,
        "user": {
            "name": node.user.name,
            "uid": USER_ID,
            "gid": USER_ID,
            "home": format!("/home/{}", node.user.name),
            "shell": node.user.shell,
            "groups": node.user.groups,
            "ssh_keys": ssh_keys,
            "sudo": sudo,
        },
        "ssh": { "enabled": node.ssh.enabled, "password_login": node.ssh.password_login },
        "locale": {
            "lang": node.locale.lang,
            "timezone": node.locale.timezone,
            "keyboard": node.locale.keyboard,
            "wifi_country": node.locale.wifi_country,
        },
        "wifi": {
            "ssid": node.wifi.ssid,
            "hidden": node.wifi.hidden,
            "security": node.wifi.security,
        },
        "time": { "servers": node.time.servers },
        "boot": {
            "wifi": node.boot.wifi,
            "bluetooth": node.boot.bluetooth,
            "poe_fan": node.boot.poe_fan,
            "usb_quirks": node.boot.usb_quirks,
            "cmdline": node.boot.cmdline,
            "config_txt": node.boot.config_txt,
        },
        "disk": { "table": node.disk.table },
    })))
}

fn describe(cluster: &Cluster, node: &Node, roles: &[&Role]) -> Json {
    let network = &node.network;
    let mut search = vec![network.domain.clone()];
    search.extend(
        network
            .search
            .iter()
            .filter(|s| **s != network.domain)
            .cloned(),
    );
    let dns: Vec<IpAddr> = cluster
        .dns(node)
        .into_iter()
        .filter_map(|(_, address)| address)
        .collect();
    let (dns4, dns6): (Vec<&IpAddr>, Vec<&IpAddr>) = dns.iter().partition(|a| a.is_ipv4());
    json!({
        "profile": node.profile,
        "hostname": node.hostname,
        "fqdn": node.fqdn(),
        "address": node.address,
        "prefix": network.cidr.prefix(),
        "netmask": network.cidr.netmask(),
        "interface": network.interface,
        "wireless": network.interface.starts_with("wl"),
        "gateway": network.gateway,
        "dns": dns,
        "dns4": dns4,
        "dns6": dns6,
        "search": search,
        "roles": roles.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        "options": role_options(node, roles),
    })
}

/// Options of the roles on a node, `-` in a role's name written `_`.
fn role_options(node: &Node, roles: &[&Role]) -> BTreeMap<String, OptionTable> {
    roles
        .iter()
        .map(|role| {
            let options = node.options.get(&role.name).cloned().unwrap_or_default();
            (role.name.replace('-', "_"), options)
        })
        .collect()
}
