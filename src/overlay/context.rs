//! What templates see of a node and its cluster. `docs/roles.md` is the reference.

use std::collections::BTreeMap;
use std::net::IpAddr;

use minijinja::{Value, context};
use serde_json::{Value as Json, json};

use super::catalog::Catalog;
use super::role::Role;
use crate::config::{Cluster, Node, OptionTable, Sudo};
use crate::error::Result;
use crate::problems::Problems;

/// The first account of a Debian system.
pub const USER_ID: u32 = 1000;

/// The part of the context that all nodes share. It is made once; what is made of it shares its
/// values.
#[derive(Debug)]
pub struct ClusterContext {
    cluster: Value,
    /// `node` of each profile.
    nodes: BTreeMap<String, Value>,
}

/// What all roles of one node see. A clone shares its values.
#[derive(Debug, Clone)]
pub struct NodeContext(BTreeMap<&'static str, Value>);

impl ClusterContext {
    /// Describes every node with its roles and their options.
    pub fn new(cluster: &Cluster, catalog: &Catalog) -> Result<Self> {
        let mut problems = Problems::new();
        let mut nodes = BTreeMap::new();
        // Made once: a template that searched all nodes for a role would do so for each node.
        let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for node in &cluster.nodes {
            if let Some(roles) = problems.keep(catalog.roles_of(node))? {
                for role in &roles {
                    let of_role = addresses.entry(role.name.replace('-', "_")).or_default();
                    of_role.push(node.address.to_string());
                }
                let described = from_json(describe(cluster, node, &roles));
                nodes.insert(node.profile.clone(), described);
            }
        }
        problems.report()?;
        let of = |node: Option<&Node>| node.and_then(|n| nodes.get(&n.profile)).cloned();
        let share = cluster.settings.share_node.as_ref();
        let share = share.and_then(|name| cluster.find(name));
        let network = &cluster.network;
        let settings = &cluster.settings;
        let facts = json!({
            "name": settings.name,
            "domain": network.domain,
            "cidr": network.cidr.to_string(),
            "prefix": network.cidr.prefix(),
            "gateway": network.gateway,
            "dhcp": network.dhcp.map(|r| r.to_string()),
            "metallb": network.metallb.map(|r| r.to_string()),
            "ingress": settings.ingress,
            "pod_cidr": settings.pod_cidr.to_string(),
            "service_cidr": settings.service_cidr.to_string(),
        });
        let shared = context! {
            hosts => hosts(cluster),
            addresses => Value::from(addresses),
            k3s_server => of(cluster.k3s_server()).unwrap_or(Value::from(())),
            share_node => of(share).unwrap_or(Value::from(())),
            nodes => nodes.values().cloned().collect::<Vec<Value>>(),
            ..from_json(facts)
        };
        Ok(Self {
            cluster: shared,
            nodes,
        })
    }
}

impl NodeContext {
    /// The context of `node`, of which `shared` knows the cluster.
    pub fn new(shared: &ClusterContext, node: &Node, ssh_keys: &[String]) -> Self {
        let described = shared.nodes.get(&node.profile).cloned();
        let described = described.unwrap_or(Value::UNDEFINED);
        let role = described.get_attr("options").unwrap_or(Value::UNDEFINED);
        let mut context = BTreeMap::from([
            ("cluster", shared.cluster.clone()),
            ("node", described),
            ("role", role),
        ]);
        context.extend(settings(node, ssh_keys).map(|(key, json)| (key, from_json(json))));
        Self(context)
    }

    /// What templates and conditions of `role` see.
    pub fn of_role(&self, role: &Role) -> Value {
        let key = role.name.replace('-', "_");
        let options = self.0.get("role").and_then(|all| all.get_attr(&key).ok());
        let mut context = self.0.clone();
        context.insert("options", options.unwrap_or(Value::UNDEFINED));
        Value::from(context)
    }
}

/// Every node's line of /etc/hosts. All nodes have all lines: made once, they cost next to nothing.
fn hosts(cluster: &Cluster) -> String {
    let line = |n: &Node| format!("{}\t{} {}", n.address, n.fqdn(), n.hostname);
    let lines: Vec<String> = cluster.nodes.iter().map(line).collect();
    lines.join("\n")
}

/// A node's settings that are no role's.
fn settings(node: &Node, ssh_keys: &[String]) -> [(&'static str, Json); 7] {
    let sudo = match node.user.sudo {
        Sudo::WithoutPassword => "nopasswd",
        Sudo::WithPassword => "password",
        Sudo::None => "none",
    };
    let user = json!({
        "name": node.user.name,
        "uid": USER_ID,
        "gid": USER_ID,
        "home": format!("/home/{}", node.user.name),
        "shell": node.user.shell,
        "groups": node.user.groups,
        "ssh_keys": ssh_keys,
        "sudo": sudo,
    });
    let locale = json!({
        "lang": node.locale.lang,
        "timezone": node.locale.timezone,
        "keyboard": node.locale.keyboard,
        "wifi_country": node.locale.wifi_country,
    });
    let boot = json!({
        "wifi": node.boot.wifi,
        "bluetooth": node.boot.bluetooth,
        "poe_fan": node.boot.poe_fan,
        "usb_quirks": node.boot.usb_quirks,
        "cmdline": node.boot.cmdline,
        "config_txt": node.boot.config_txt,
    });
    let wifi = json!({
        "ssid": node.wifi.ssid,
        "hidden": node.wifi.hidden,
        "security": node.wifi.security,
    });
    [
        ("user", user),
        (
            "ssh",
            json!({ "enabled": node.ssh.enabled, "password_login": node.ssh.password_login }),
        ),
        ("locale", locale),
        ("wifi", wifi),
        ("time", json!({ "servers": node.time.servers })),
        ("boot", boot),
        ("disk", json!({ "table": node.disk.table })),
    ]
}

fn from_json(json: Json) -> Value {
    Value::from(minijinja::value::Serde(json))
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
