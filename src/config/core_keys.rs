//! The keys that do not belong to a role: one row a key, with all that is said of it.

use super::field::{Field, Table};
use super::kind::Kind;
use super::value::{Origin, parse_override};

/// One key, as data.
pub struct Key {
    name: &'static str,
    kind: Kind,
    /// Kind of the items, if the key is a list.
    of: Option<Kind>,
    /// TOML; empty for none.
    default: &'static str,
    choices: &'static [&'static str],
    help: &'static str,
}

const fn key(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key {
        name,
        kind,
        of: None,
        default: "",
        choices: &[],
        help,
    }
}

const fn list(name: &'static str, of: Kind, help: &'static str) -> Key {
    let mut list = key(name, Kind::List, help);
    list.of = Some(of);
    list.default = "[]";
    list
}

impl Key {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    fn field(&self) -> Field {
        let default = (!self.default.is_empty())
            .then(|| parse_override(self.default, &Origin::default_value()));
        Field {
            of: self.of,
            default,
            choices: self.choices.iter().map(|c| (*c).to_owned()).collect(),
            ..Field::new(self.name, self.kind, self.help)
        }
    }
}

type CoreTable = (&'static str, &'static str, &'static [Key]);

const TABLES: &[CoreTable] = &[
    ("", "The node", NODE),
    ("base", "The operating system image to start from", BASE),
    ("network", "The network that all nodes share", NETWORK),
    ("wifi", "Wi-Fi, beside the cable or in its place", WIFI),
    ("cluster", "What all nodes agree on", CLUSTER),
    ("user", "The account on every node", USER),
    ("ssh", "The SSH server", SSH),
    ("locale", "Language and place", LOCALE),
    ("time", "Time synchronisation", TIME),
    ("boot", "Firmware settings", BOOT),
    ("disk", "The image", DISK),
];

const NODE: &[Key] = &[
    key(
        "extends",
        Kind::String,
        "Profile whose settings this one starts from.",
    ),
    key(
        "hostname",
        Kind::Hostname,
        "Name of the node. A profile without one can only be extended.",
    ),
    key("address", Kind::Address, "The node's static IPv4 address."),
    list(
        "roles",
        Kind::String,
        "What the node does. Every node also has the role `common`.",
    ),
    key(
        "firstboot",
        Kind::String,
        "How hostname, keys and locale are set: with cloud-init, offline, or automatically by what the base supports.",
    )
    .or("\"auto\"")
    .one_of(&["auto", "cloud-init", "offline"]),
];

const BASE: &[Key] = &[
    key(
        "image",
        Kind::BaseImage,
        "`raspios-lite-arm64`, `raspios-oldstable-lite-arm64`, a URL, or a path to .img, .img.xz, .img.gz, .img.zst or .zip.",
    )
    .or("\"raspios-lite-arm64\""),
    key(
        "sha256",
        Kind::Sha256,
        "SHA-256 of the file behind the URL, as hexadecimal digits.",
    ),
];

const NETWORK: &[Key] = &[
    key("cidr", Kind::Cidr, "The LAN."),
    key("gateway", Kind::Address, "The router."),
    list(
        "dns",
        Kind::AddressOrName,
        "Name servers in order: addresses, or profile or host names of nodes that serve DNS.",
    ),
    key(
        "domain",
        Kind::Domain,
        "Domain of the nodes' names, which is also searched.",
    )
    .or("\"home.lab\""),
    list("search", Kind::SearchDomain, "More search domains."),
    key(
        "interface",
        Kind::Interface,
        "Network interface that gets the address. A wireless one, such as wlan0, needs [wifi].",
    )
    .or("\"eth0\""),
    key(
        "dhcp",
        Kind::Range,
        "Addresses that the router hands out. Nodes must be outside it.",
    ),
    key(
        "metallb",
        Kind::Range,
        "Addresses reserved for the cluster's load balancer.",
    ),
];

const WIFI: &[Key] = &[
    key(
        "ssid",
        Kind::Ssid,
        "Name of the network. With it the radio is switched on. Unless `network.interface` is wireless, the node gets an address by DHCP there.",
    ),
    key(
        "hidden",
        Kind::Bool,
        "The network does not announce its name.",
    )
    .or("false"),
    key(
        "security",
        Kind::String,
        "wpa2 also joins networks that offer WPA2 and WPA3. The password is the secret `wifi_password`.",
    )
    .or("\"wpa2\"")
    .one_of(&["wpa2", "wpa3", "open"]),
];

const CLUSTER: &[Key] = &[
    key("name", Kind::String, "Name of the cluster.").or("\"home\""),
    key(
        "ingress",
        Kind::Address,
        "Address that the cluster's ingress will answer on.",
    ),
    key(
        "pod_cidr",
        Kind::Cidr,
        "Addresses of pods. Each node takes a /24.",
    )
    .or("\"10.42.0.0/16\""),
    key("service_cidr", Kind::Cidr, "Addresses of services.").or("\"10.43.0.0/16\""),
    key(
        "share_node",
        Kind::String,
        "Profile or host name of the node whose Samba share will back the cluster's volumes.",
    ),
];

const USER: &[Key] = &[
    key(
        "name",
        Kind::UserName,
        "Login name. The base's `pi` is renamed to it.",
    )
    .or("\"pi\""),
    list(
        "ssh_keys",
        Kind::SshKey,
        "Public keys that may log in: the key itself, or `file:PATH` with one key a line.",
    ),
    list(
        "groups",
        Kind::GroupName,
        "Groups the user is in. Those of the default that the base does not have are left out.",
    )
    .or("[\"adm\", \"dialout\", \"cdrom\", \"audio\", \"users\", \"sudo\", \"video\", \"games\", \"plugdev\", \"input\", \"render\", \"netdev\", \"gpio\", \"i2c\", \"spi\"]"),
    key("shell", Kind::Shell, "Login shell.").or("\"/bin/bash\""),
    key(
        "sudo",
        Kind::String,
        "sudo without a password, with the user's password, or not at all.",
    )
    .or("\"nopasswd\"")
    .one_of(&["nopasswd", "password", "none"]),
];

const SSH: &[Key] = &[
    key("enabled", Kind::Bool, "Start the SSH server.").or("true"),
    key(
        "password_login",
        Kind::Bool,
        "Accept passwords as well as keys.",
    )
    .or("false"),
];

const LOCALE: &[Key] = &[
    key("lang", Kind::Locale, "Locale.").or("\"en_GB.UTF-8\""),
    key(
        "timezone",
        Kind::TimeZone,
        "Time zone, as in /usr/share/zoneinfo.",
    )
    .or("\"Etc/UTC\""),
    key("keyboard", Kind::Keyboard, "Keyboard layout (XKB).").or("\"gb\""),
    key(
        "wifi_country",
        Kind::Country,
        "Two-letter country that sets the Wi-Fi rules.",
    ),
];

const TIME: &[Key] = &[list(
    "servers",
    Kind::AddressOrName,
    "NTP servers. Empty: the base's own.",
)];

const BOOT: &[Key] = &[
    key("wifi", Kind::Bool, "Leave Wi-Fi on.").or("true"),
    key("bluetooth", Kind::Bool, "Leave Bluetooth on.").or("true"),
    list(
        "poe_fan",
        Kind::Millidegrees,
        "PoE HAT fan steps: up to four rising temperatures in thousandths of a degree.",
    ),
    list(
        "usb_quirks",
        Kind::UsbQuirk,
        "usb-storage.quirks entries, `VVVV:PPPP:u`, for disks that fail with UAS.",
    ),
    list(
        "config_txt",
        Kind::ConfigLine,
        "Lines added to config.txt, in this order.",
    ),
    list("cmdline", Kind::KernelWord, "Words added to cmdline.txt."),
];

const DISK: &[Key] = &[
    key(
        "size",
        Kind::Size,
        "Size of the image. Without it the root file system grows only when the payload needs room.",
    ),
    key(
        "spare",
        Kind::Size,
        "Room left free in the root file system.",
    )
    .or("\"64MiB\""),
    key(
        "table",
        Kind::String,
        "Partition table of the image: the base's own, or a GPT, which cards and SSDs beyond 2 TiB need (docs/gpt.md).",
    )
    .or("\"keep\"")
    .one_of(&["keep", "gpt"]),
];

/// Secrets that are not a role's.
pub const SECRETS: &[(&str, &str)] = &[(
    "password_hash",
    "The user's password as a crypt hash (yescrypt `$y$…`, SHA-512 `$6$…`, SHA-256 `$5$…`, bcrypt `$2b$…` or scrypt `$7$…`). Without it the account has none.",
)];

/// The tables, the top of a profile first.
pub fn tables() -> impl Iterator<Item = Table> {
    TABLES.iter().map(|(name, help, keys)| Table {
        name: (*name).to_owned(),
        help: (*help).to_owned(),
        fields: keys.iter().map(Key::field).collect(),
    })
}

/// Whether `name` is a table of the core, and no role's.
pub fn is_core_table(name: &str) -> bool {
    TABLES.iter().any(|(table, ..)| *table == name)
}
