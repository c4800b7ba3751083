//! Typed settings of a node and of the cluster it belongs to, made from checked profiles.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::core_keys::is_core_table;
use super::field::dotted;
use super::kind::parse_size;
use super::load::{RawProfile, table_of, text_of};
use super::net::{Cidr, IpRange};
use super::schema::Schema;
use super::value::{Item, Origin, Value};
use crate::error::{Error, Result};
use crate::problem::Problem;
use crate::problems::Problems;

/// A role's options by name, as values ready for templates.
pub type OptionTable = BTreeMap<String, serde_json::Value>;

/// All nodes of a project. They agree on `network` and `settings`.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub network: Network,
    pub settings: ClusterSettings,
    /// Sorted by profile name.
    pub nodes: Vec<Node>,
    /// Host name → index of the first node that has it.
    by_host: BTreeMap<String, usize>,
}

/// One node: a profile with everything decided.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the profile.
    pub profile: String,
    pub hostname: String,
    pub address: Ipv4Addr,
    /// As the profile lists them; what they bring along is resolved by the overlay room.
    pub roles: Vec<String>,
    pub first_boot: FirstBoot,
    pub base: BaseSettings,
    pub network: Network,
    pub wifi: Wifi,
    pub settings: ClusterSettings,
    pub user: User,
    pub ssh: Ssh,
    pub locale: Locale,
    pub time: Time,
    pub boot: Boot,
    pub disk: DiskSettings,
    /// Name of a secret → where it comes from (`env:NAME` …). Empty references are left out.
    pub secrets: BTreeMap<String, (String, Origin)>,
    /// Options of every role there is, whether this node has it or not.
    pub options: BTreeMap<String, OptionTable>,
    file: Origin,
    /// Everything as it was written, for the places in messages.
    written: Arc<BTreeMap<String, Item>>,
}

/// How a node learns who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstBoot {
    /// Cloud-init where the base has it, offline elsewhere.
    Auto,
    CloudInit,
    Offline,
}

#[derive(Debug, Clone)]
pub struct BaseSettings {
    pub image: String,
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub cidr: Cidr,
    pub gateway: Ipv4Addr,
    /// Addresses, or names of nodes, as the profile has them.
    pub dns: Vec<String>,
    pub domain: String,
    pub search: Vec<String>,
    pub interface: String,
    pub dhcp: Option<IpRange>,
    pub metallb: Option<IpRange>,
}

/// A Wi-Fi network to join.
#[derive(Debug, Clone)]
pub struct Wifi {
    /// `None`: no Wi-Fi.
    pub ssid: Option<String>,
    pub hidden: bool,
    /// `wpa2`, `wpa3` or `open`.
    pub security: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    pub name: String,
    pub ingress: Option<Ipv4Addr>,
    pub pod_cidr: Cidr,
    pub service_cidr: Cidr,
    /// Profile or host name of the node that shares the cluster's disk.
    pub share_node: Option<String>,
}

#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    /// As written: a key, or `file:PATH`.
    pub ssh_keys: Vec<(String, Origin)>,
    pub groups: Vec<String>,
    pub shell: String,
    pub sudo: Sudo,
}

/// What the user may do with sudo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    WithoutPassword,
    WithPassword,
    None,
}

#[derive(Debug, Clone)]
pub struct Ssh {
    pub enabled: bool,
    pub password_login: bool,
}

#[derive(Debug, Clone)]
pub struct Locale {
    pub lang: String,
    pub timezone: String,
    pub keyboard: String,
    pub wifi_country: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Time {
    pub servers: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Boot {
    pub wifi: bool,
    pub bluetooth: bool,
    pub poe_fan: Vec<String>,
    pub usb_quirks: Vec<String>,
    pub config_txt: Vec<String>,
    pub cmdline: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// Bytes of the whole image, when fixed.
    pub size: Option<u64>,
    /// Bytes left free in the root file system.
    pub spare: u64,
    pub table: DiskTable,
}

/// Which partition table the image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskTable {
    /// The base's own.
    Keep,
    Gpt,
}

impl Cluster {
    /// Checks every profile against `schema` and makes typed nodes of those that name a host. What is
    /// wrong goes to `problems`; without any there is a cluster.
    pub fn resolve(
        raw: Vec<RawProfile>,
        schema: &Schema,
        problems: &mut Problems,
    ) -> Result<Option<Self>> {
        let has_nodes = raw.iter().any(|profile| profile.is_node);
        let mut nodes = Vec::new();
        for mut profile in raw {
            let fine = problems.keep(schema.apply(&mut profile.values))?.is_some();
            if profile.is_node && fine {
                nodes.extend(problems.keep(Node::from_values(profile, schema))?);
            }
        }
        if !has_nodes && problems.is_empty() {
            return Err(Error::usage("no profile names a host")
                .with_hint("a node's profile sets `hostname` and `address`"));
        }
        Ok(nodes
            .first()
            .map(|first| (first.network.clone(), first.settings.clone()))
            .filter(|_| problems.is_empty())
            .map(|(network, settings)| Self {
                network,
                settings,
                by_host: by_host(&nodes),
                nodes,
            }))
    }

    /// The node of a profile.
    pub fn node(&self, profile: &str) -> Option<&Node> {
        let found = self
            .nodes
            .binary_search_by(|n| n.profile.as_str().cmp(profile));
        found.ok().and_then(|i| self.nodes.get(i))
    }

    /// The node that a name stands for: its profile or its host name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.node(name)
            .or_else(|| self.by_host.get(name).and_then(|i| self.nodes.get(*i)))
    }

    /// The first k3s server: the one that others join.
    pub fn k3s_server(&self) -> Option<&Node> {
        self.nodes.iter().find(|n| n.has_role("k3s-server"))
    }

    /// The name servers of the network as addresses; `None` for a name that no node has.
    pub fn dns(&self, node: &Node) -> Vec<(String, Option<IpAddr>)> {
        node.network
            .dns
            .iter()
            .map(|name| {
                let address = name
                    .parse()
                    .ok()
                    .or_else(|| self.find(name).map(|n| n.address.into()));
                (name.clone(), address)
            })
            .collect()
    }
}

impl Node {
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r == role)
    }

    /// Host name with domain.
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.hostname, self.network.domain)
    }

    /// Where `table.key` (or a key at the top) was written; of a default, where its table was, or else
    /// the host name.
    pub fn origin(&self, key: &str) -> Origin {
        let table = key.split_once('.').map_or(key, |(table, _)| table);
        [key, table, "hostname"]
            .into_iter()
            .filter_map(|key| self.item(key))
            .map(|item| &item.origin)
            .find(|origin| !origin.is_default())
            .cloned()
            .unwrap_or_else(|| Origin::named(format!("profile {}", self.profile)))
    }

    /// Where item `index` of the list `table.key` was written.
    pub fn item_origin(&self, key: &str, index: usize) -> Option<Origin> {
        let items = self.item(key)?.value.as_list();
        let origin = &items.get(index)?.origin;
        (!origin.is_default()).then(|| origin.clone())
    }

    /// Whether `table.key` was written anywhere, and is not a default.
    pub fn is_set(&self, key: &str) -> bool {
        self.item(key).is_some_and(|i| !i.origin.is_default())
    }

    /// Where the node's own profile, not one that it extends, sets a key of `table`.
    pub fn own_table(&self, table: &str) -> Option<Origin> {
        let table = self.item(table)?.value.as_table()?;
        let mut origins = table.values().map(|item| &item.origin);
        origins.find(|origin| origin.is_beside(&self.file)).cloned()
    }

    fn item(&self, key: &str) -> Option<&Item> {
        let Some((table, key)) = key.split_once('.') else {
            return self.written.get(key);
        };
        self.written.get(table)?.value.as_table()?.get(key)
    }

    fn from_values(profile: RawProfile, schema: &Schema) -> Result<Self> {
        let values = &profile.values;
        let mut reader = Reader {
            profile: &profile,
            missing: Problems::new(),
        };
        let hostname = reader.required(values, "", "hostname");
        let address = reader.required(values, "", "address");
        let network = reader.network();
        let settings = reader.cluster();
        reader.missing.report()?;
        let required = "a required key passed its check without a value";
        Ok(Self {
            profile: profile.name,
            hostname: hostname.ok_or_else(|| Error::usage(required))?,
            address: address.ok_or_else(|| Error::usage(required))?,
            roles: list(values, "roles"),
            first_boot: first_boot(values),
            base: base(&table_of(values, "base")),
            network: network.ok_or_else(|| Error::usage(required))?,
            wifi: wifi(&table_of(values, "wifi")),
            settings: settings.ok_or_else(|| Error::usage(required))?,
            user: user(&table_of(values, "user")),
            ssh: ssh(&table_of(values, "ssh")),
            locale: locale(&table_of(values, "locale")),
            time: Time {
                servers: list(&table_of(values, "time"), "servers"),
            },
            boot: boot(&table_of(values, "boot")),
            disk: disk(&table_of(values, "disk")),
            secrets: secrets(&table_of(values, "secrets")),
            options: options(values, schema),
            file: profile.file,
            written: Arc::new(profile.values),
        })
    }
}

fn by_host(nodes: &[Node]) -> BTreeMap<String, usize> {
    let mut index = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        index.entry(node.hostname.clone()).or_insert(i);
    }
    index
}

struct Reader<'a> {
    profile: &'a RawProfile,
    missing: Problems,
}

impl Reader<'_> {
    /// A key without which there is no node; what is wrong with it goes to `missing`.
    fn required<T: FromStr>(
        &mut self,
        values: &BTreeMap<String, Item>,
        table: &str,
        key: &str,
    ) -> Option<T> {
        let found = text_of(values, key).and_then(|text| text.parse().ok());
        if found.is_none() {
            let origin = match values.get(key) {
                Some(item) => item.origin.clone(),
                None => self.place_of(table),
            };
            let what = format!("`{}` is missing", dotted(table, key));
            self.missing.push(Problem::new(&origin, what));
        }
        found
    }

    /// Where a key of `table` would stand that is missing: what nodes share is missing in the profile
    /// that they share.
    fn place_of(&self, table: &str) -> Origin {
        let written = self.profile.values.get(table).map(|item| &item.origin);
        match written.filter(|origin| !origin.is_default()) {
            Some(origin) => origin.clone(),
            None if table.is_empty() => self.profile.file.clone(),
            None => self.profile.root.clone(),
        }
    }

    fn network(&mut self) -> Option<Network> {
        let table = table_of(&self.profile.values, "network");
        let cidr = self.required(&table, "network", "cidr");
        let gateway = self.required(&table, "network", "gateway");
        let domain = self.required(&table, "network", "domain");
        Some(Network {
            cidr: cidr?,
            gateway: gateway?,
            dns: list(&table, "dns"),
            domain: domain?,
            search: list(&table, "search"),
            interface: text_of(&table, "interface").unwrap_or_default(),
            dhcp: parsed(&table, "dhcp"),
            metallb: parsed(&table, "metallb"),
        })
    }

    fn cluster(&mut self) -> Option<ClusterSettings> {
        let table = table_of(&self.profile.values, "cluster");
        let pod_cidr = self.required(&table, "cluster", "pod_cidr");
        let service_cidr = self.required(&table, "cluster", "service_cidr");
        Some(ClusterSettings {
            name: text_of(&table, "name").unwrap_or_default(),
            ingress: parsed(&table, "ingress"),
            pod_cidr: pod_cidr?,
            service_cidr: service_cidr?,
            share_node: text_of(&table, "share_node"),
        })
    }
}

fn parsed<T: FromStr>(table: &BTreeMap<String, Item>, key: &str) -> Option<T> {
    text_of(table, key).and_then(|text| text.parse().ok())
}

fn list(table: &BTreeMap<String, Item>, key: &str) -> Vec<String> {
    table.get(key).map(|i| i.value.texts()).unwrap_or_default()
}

fn flag(table: &BTreeMap<String, Item>, key: &str) -> bool {
    matches!(table.get(key).map(|i| &i.value), Some(Value::Bool(true)))
}

fn size(table: &BTreeMap<String, Item>, key: &str) -> Option<u64> {
    match table.get(key).map(|i| &i.value) {
        Some(Value::Integer(n)) => u64::try_from(*n).ok(),
        Some(Value::Text(text)) => parse_size(text).ok(),
        _ => None,
    }
}

fn first_boot(values: &BTreeMap<String, Item>) -> FirstBoot {
    match text_of(values, "firstboot").as_deref() {
        Some("cloud-init") => FirstBoot::CloudInit,
        Some("offline") => FirstBoot::Offline,
        _ => FirstBoot::Auto,
    }
}

fn base(table: &BTreeMap<String, Item>) -> BaseSettings {
    BaseSettings {
        image: text_of(table, "image").unwrap_or_default(),
        sha256: text_of(table, "sha256"),
    }
}

fn user(table: &BTreeMap<String, Item>) -> User {
    let ssh_keys = match table.get("ssh_keys").map(|i| &i.value) {
        Some(Value::List(items)) => items
            .iter()
            .filter_map(|i| Some((i.value.as_text()?.to_owned(), i.origin.clone())))
            .collect(),
        _ => Vec::new(),
    };
    User {
        name: text_of(table, "name").unwrap_or_default(),
        ssh_keys,
        groups: list(table, "groups"),
        shell: text_of(table, "shell").unwrap_or_default(),
        sudo: match text_of(table, "sudo").as_deref() {
            Some("nopasswd") => Sudo::WithoutPassword,
            Some("password") => Sudo::WithPassword,
            _ => Sudo::None,
        },
    }
}

fn ssh(table: &BTreeMap<String, Item>) -> Ssh {
    Ssh {
        enabled: flag(table, "enabled"),
        password_login: flag(table, "password_login"),
    }
}

fn wifi(table: &BTreeMap<String, Item>) -> Wifi {
    Wifi {
        ssid: text_of(table, "ssid"),
        hidden: flag(table, "hidden"),
        security: text_of(table, "security").unwrap_or_default(),
    }
}

fn locale(table: &BTreeMap<String, Item>) -> Locale {
    Locale {
        lang: text_of(table, "lang").unwrap_or_default(),
        timezone: text_of(table, "timezone").unwrap_or_default(),
        keyboard: text_of(table, "keyboard").unwrap_or_default(),
        wifi_country: text_of(table, "wifi_country"),
    }
}

fn boot(table: &BTreeMap<String, Item>) -> Boot {
    Boot {
        wifi: flag(table, "wifi"),
        bluetooth: flag(table, "bluetooth"),
        poe_fan: list(table, "poe_fan"),
        usb_quirks: list(table, "usb_quirks"),
        config_txt: list(table, "config_txt"),
        cmdline: list(table, "cmdline"),
    }
}

fn disk(table: &BTreeMap<String, Item>) -> DiskSettings {
    DiskSettings {
        size: size(table, "size"),
        spare: size(table, "spare").unwrap_or_default(),
        table: match text_of(table, "table").as_deref() {
            Some("gpt") => DiskTable::Gpt,
            _ => DiskTable::Keep,
        },
    }
}

fn secrets(table: &BTreeMap<String, Item>) -> BTreeMap<String, (String, Origin)> {
    table
        .iter()
        .filter_map(|(name, item)| {
            let reference = item.value.as_text().filter(|t| !t.is_empty())?;
            Some((name.clone(), (reference.to_owned(), item.origin.clone())))
        })
        .collect()
}

/// Options of the tables that are roles; an option without a value is null.
fn options(values: &BTreeMap<String, Item>, schema: &Schema) -> BTreeMap<String, OptionTable> {
    schema
        .tables()
        .filter(|table| !is_core_table(&table.name))
        .map(|table| {
            let given = table_of(values, &table.name);
            let options = table.fields.iter().map(|field| {
                let value = given.get(&field.name).map(|i| to_json(&i.value));
                (field.name.clone(), value.unwrap_or_default())
            });
            (table.name.clone(), options.collect())
        })
        .collect()
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.clone().into(),
        Value::Integer(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::List(items) => items.iter().map(|i| to_json(&i.value)).collect(),
        Value::Table(table) => table
            .iter()
            .map(|(k, i)| (k.clone(), to_json(&i.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Other(_) => serde_json::Value::Null,
    }
}
