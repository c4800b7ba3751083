//! What keys a profile may have, of which kind, with which default: data, so that checking,
//! defaults and documentation come from one place.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use regex_lite::Regex;

use super::net::{Cidr, IpRange};
use super::value::{Item, Origin, Value};
use crate::error::{Error, Result};
use crate::problem::{Problem, Problems, nearest};
use crate::secrets::check_reference;

/// What a key's value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bool,
    Integer,
    /// A list of strings.
    List,
    Address,
    Cidr,
    Range,
    Hostname,
    Domain,
    UserName,
    /// Bytes, written `512MiB`, `16GiB` or a plain number.
    Size,
}

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub default: Option<Value>,
    /// A profile with the role that brings this option must set it.
    pub required: bool,
    /// When not empty, the only values allowed.
    pub choices: Vec<String>,
    /// A regular expression that the whole value matches, or each value of a list.
    pub pattern: Option<String>,
    pub help: String,
}

/// A table of a profile and the keys it may have.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub help: String,
    pub fields: Vec<Field>,
}

/// All tables. The table named `""` holds the keys that stand at the top of a profile.
#[derive(Debug, Clone)]
pub struct Schema {
    tables: BTreeMap<String, Table>,
    /// Names that `[secrets]` may define, with what they are for.
    secrets: BTreeMap<String, String>,
}

/// name, kind, default as TOML ("" for none), help
type CoreField = (&'static str, Kind, &'static str, &'static str);
type CoreTable = (&'static str, &'static str, &'static [CoreField]);

const CORE: &[CoreTable] = &[
    (
        "",
        "The node",
        &[
            (
                "extends",
                Kind::Text,
                "",
                "Profile whose settings this one starts from.",
            ),
            (
                "hostname",
                Kind::Hostname,
                "",
                "Name of the node; a profile without one is only there to be extended.",
            ),
            (
                "address",
                Kind::Address,
                "",
                "The node's static IPv4 address.",
            ),
            (
                "roles",
                Kind::List,
                "[]",
                "What the node does; `base` is always there.",
            ),
            (
                "firstboot",
                Kind::Text,
                "\"auto\"",
                "How hostname, keys and locale get onto the node: through cloud-init's seed, offline, or by what the base has.",
            ),
        ],
    ),
    (
        "base",
        "The operating system image to start from",
        &[
            (
                "image",
                Kind::Text,
                "\"raspios-lite-arm64\"",
                "`raspios-lite-arm64`, `raspios-oldstable-lite-arm64`, a URL, or a path to .img, .img.xz, .img.gz, .img.zst or .zip.",
            ),
            (
                "sha256",
                Kind::Text,
                "",
                "SHA-256 of the file behind the URL, as hexadecimal digits.",
            ),
        ],
    ),
    (
        "network",
        "The network that all nodes share",
        &[
            ("cidr", Kind::Cidr, "", "The LAN."),
            ("gateway", Kind::Address, "", "The router."),
            (
                "dns",
                Kind::List,
                "[]",
                "Name servers in order: addresses, or profile or host names of nodes.",
            ),
            (
                "domain",
                Kind::Domain,
                "\"home.lab\"",
                "Domain of the nodes' names; also searched.",
            ),
            ("search", Kind::List, "[]", "More search domains."),
            (
                "interface",
                Kind::Text,
                "\"eth0\"",
                "Network interface that gets the address.",
            ),
            (
                "dhcp",
                Kind::Range,
                "",
                "What the router hands out; nodes stay clear of it.",
            ),
            (
                "metallb",
                Kind::Range,
                "",
                "Addresses for the cluster's load balancer.",
            ),
        ],
    ),
    (
        "cluster",
        "What all nodes agree on",
        &[
            ("name", Kind::Text, "\"home\"", "Name of the cluster."),
            (
                "ingress",
                Kind::Address,
                "",
                "Address that the cluster's ingress answers on.",
            ),
            (
                "pod_cidr",
                Kind::Cidr,
                "\"10.42.0.0/16\"",
                "Addresses of pods; each node takes a /24.",
            ),
            (
                "service_cidr",
                Kind::Cidr,
                "\"10.43.0.0/16\"",
                "Addresses of services.",
            ),
            (
                "share_node",
                Kind::Text,
                "",
                "Profile or host name of the node whose Samba share backs the cluster's volumes.",
            ),
        ],
    ),
    (
        "user",
        "The account on every node",
        &[
            (
                "name",
                Kind::UserName,
                "\"pi\"",
                "Login name; the base's `pi` is renamed to it.",
            ),
            (
                "ssh_keys",
                Kind::List,
                "[]",
                "Public keys that may log in: the key itself, or `file:PATH` with one key a line.",
            ),
            (
                "groups",
                Kind::List,
                "[\"adm\", \"dialout\", \"cdrom\", \"audio\", \"users\", \"sudo\", \"video\", \"games\", \"plugdev\", \"input\", \"render\", \"netdev\", \"gpio\", \"i2c\", \"spi\"]",
                "Groups the user is in; those that the base does not have are left out.",
            ),
            ("shell", Kind::Text, "\"/bin/bash\"", "Login shell."),
            (
                "sudo",
                Kind::Text,
                "\"nopasswd\"",
                "sudo without a password, with one, or not at all.",
            ),
        ],
    ),
    (
        "ssh",
        "The SSH server",
        &[
            ("enabled", Kind::Bool, "true", "Start the SSH server."),
            (
                "password_login",
                Kind::Bool,
                "false",
                "Accept passwords as well as keys.",
            ),
        ],
    ),
    (
        "locale",
        "Language and place",
        &[
            ("lang", Kind::Text, "\"en_GB.UTF-8\"", "Locale."),
            (
                "timezone",
                Kind::Text,
                "\"Etc/UTC\"",
                "Time zone, as in /usr/share/zoneinfo.",
            ),
            ("keyboard", Kind::Text, "\"gb\"", "Keyboard layout (XKB)."),
            (
                "wifi_country",
                Kind::Text,
                "",
                "Two-letter country that sets the Wi-Fi rules.",
            ),
        ],
    ),
    (
        "time",
        "Time synchronisation",
        &[(
            "servers",
            Kind::List,
            "[]",
            "NTP servers; empty means the base's own.",
        )],
    ),
    (
        "boot",
        "Firmware settings",
        &[
            ("wifi", Kind::Bool, "true", "Leave Wi-Fi on."),
            ("bluetooth", Kind::Bool, "true", "Leave Bluetooth on."),
            (
                "poe_fan",
                Kind::List,
                "[]",
                "PoE HAT fan steps: up to four temperatures in thousandths of a degree.",
            ),
            (
                "usb_quirks",
                Kind::List,
                "[]",
                "usb-storage.quirks entries, `VVVV:PPPP:u`, for disks that fail with UAS.",
            ),
            (
                "config_txt",
                Kind::List,
                "[]",
                "Lines added to config.txt under [all].",
            ),
            ("cmdline", Kind::List, "[]", "Words added to cmdline.txt."),
        ],
    ),
    (
        "disk",
        "The image",
        &[
            (
                "size",
                Kind::Size,
                "",
                "Size of the image; without it the root file system only grows when the payload needs room.",
            ),
            (
                "spare",
                Kind::Size,
                "\"64MiB\"",
                "Room left free in the root file system.",
            ),
            (
                "table",
                Kind::Text,
                "\"keep\"",
                "Partition table of the image: the base's own, or a GPT, which cards and SSDs beyond 2 TiB need (docs/gpt.md).",
            ),
        ],
    ),
];

/// `(table, key, allowed values)`
const CORE_CHOICES: &[(&str, &str, &[&str])] = &[
    ("", "firstboot", &["auto", "cloud-init", "offline"]),
    ("user", "sudo", &["nopasswd", "password", "none"]),
    ("disk", "table", &["keep", "gpt"]),
];

/// `(table, key, pattern)`: these go into files of the node as they are.
const CORE_PATTERNS: &[(&str, &str, &str)] = &[
    ("network", "interface", "[A-Za-z0-9._-]{1,15}"),
    ("network", "search", "[A-Za-z0-9.-]+"),
    ("user", "groups", "[A-Za-z0-9_-]+"),
    ("user", "shell", "/[A-Za-z0-9._/+-]+"),
    ("locale", "lang", "[A-Za-z0-9._@-]+"),
    ("locale", "timezone", "[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"),
    ("locale", "keyboard", "[a-z0-9_,()-]+"),
    ("locale", "wifi_country", "[A-Z]{2}"),
    ("time", "servers", "[A-Za-z0-9.:-]+"),
    ("boot", "poe_fan", "[0-9]{1,6}"),
    ("boot", "usb_quirks", "[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}:[a-z]+"),
    ("boot", "config_txt", "[^\\n\\r]*"),
    ("boot", "cmdline", "[^\\n\\r]*"),
];

/// Secrets that are not a role's.
const CORE_SECRETS: &[(&str, &str)] = &[(
    "password_hash",
    "The user's password as a crypt hash (yescrypt `$y$…`, SHA-512 `$6$…`, SHA-256 `$5$…`, bcrypt `$2b$…` or scrypt `$7$…`); without it the account has none.",
)];

impl Schema {
    /// The keys that do not belong to a role.
    pub fn core() -> Self {
        let tables = CORE
            .iter()
            .map(|(name, help, fields)| {
                let table = Table {
                    name: (*name).to_owned(),
                    help: (*help).to_owned(),
                    fields: fields.iter().map(|f| core_field(name, f)).collect(),
                };
                ((*name).to_owned(), table)
            })
            .collect();
        let secrets = CORE_SECRETS
            .iter()
            .map(|(name, help)| ((*name).to_owned(), (*help).to_owned()))
            .collect();
        Self { tables, secrets }
    }

    /// Adds a role's options. A role can not be called like a table that is there already.
    pub fn add_table(&mut self, table: Table) -> Result<()> {
        if table.name == "secrets" || self.tables.contains_key(&table.name) {
            return Err(Error::usage(format!(
                "a role can not be called `{}`: profiles have a table of that name already",
                table.name
            )));
        }
        self.tables.insert(table.name.clone(), table);
        Ok(())
    }

    /// Lets `[secrets]` define `name`.
    pub fn add_secret(&mut self, name: &str, help: &str) {
        self.secrets
            .entry(name.to_owned())
            .or_insert_with(|| help.to_owned());
    }

    /// All tables, the top of a profile first.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// The secrets that profiles can define, and what they are for.
    pub fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// Checks every key of a merged profile and fills in defaults. All problems are reported.
    pub fn apply(&self, profile: &mut BTreeMap<String, Item>) -> Result<()> {
        let mut problems = Problems::new();
        self.check_keys(profile, &mut problems);
        for table in self.tables.values() {
            self.apply_table(table, profile, &mut problems);
        }
        problems.report()
    }

    fn check_keys(&self, profile: &BTreeMap<String, Item>, problems: &mut Problems) {
        let top = self.tables.get("").map_or(&[][..], |t| &t.fields);
        let names: Vec<&str> = top
            .iter()
            .map(|f| f.name.as_str())
            .chain(self.tables.keys().map(String::as_str))
            .chain(["secrets"])
            .filter(|n| !n.is_empty())
            .collect();
        for (key, item) in profile {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, "", &names));
            }
        }
        if let Some(item) = profile.get("secrets") {
            self.check_secrets(item, problems);
        }
    }

    fn check_secrets(&self, item: &Item, problems: &mut Problems) {
        let Value::Table(table) = &item.value else {
            problems.push(Problem::new(&item.origin, "`secrets` must be a table"));
            return;
        };
        let names: Vec<&str> = self.secrets.keys().map(String::as_str).collect();
        for (key, item) in table {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, "secrets", &names));
            } else if let Some(text) = item.value.as_text() {
                // Empty takes back what is inherited.
                if let Some(refusal) = check_reference(text).err().filter(|_| !text.is_empty()) {
                    problems.push(refusal.problem(&item.origin, &dotted("secrets", key)));
                }
            } else {
                let what = format!(
                    "`secrets.{key}` must be a string that says where the secret is, like `env:NAME`, `file:PATH` or `cmd:COMMAND`"
                );
                problems.push(Problem::new(&item.origin, what));
            }
        }
    }

    fn apply_table(
        &self,
        table: &Table,
        profile: &mut BTreeMap<String, Item>,
        problems: &mut Problems,
    ) {
        if table.name.is_empty() {
            apply_fields(table, profile, problems);
            return;
        }
        let item = profile.entry(table.name.clone()).or_insert_with(|| Item {
            value: Value::Table(BTreeMap::new()),
            origin: default_origin(),
        });
        let Value::Table(values) = &mut item.value else {
            let what = format!("`{}` must be a table", table.name);
            problems.push(Problem::new(&item.origin, what));
            return;
        };
        let names: Vec<&str> = table.fields.iter().map(|f| f.name.as_str()).collect();
        for (key, item) in values.iter() {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, &table.name, &names));
            }
        }
        apply_fields(table, values, problems);
    }
}

fn core_field(table: &str, (name, kind, default, help): &CoreField) -> Field {
    let choices = CORE_CHOICES
        .iter()
        .find(|(t, key, _)| *t == table && key == name)
        .map(|(_, _, choices)| choices.iter().map(|c| (*c).to_owned()).collect())
        .unwrap_or_default();
    Field {
        name: (*name).to_owned(),
        kind: *kind,
        default: (!default.is_empty())
            .then(|| super::value::parse_override(default, &default_origin())),
        required: false,
        choices,
        pattern: CORE_PATTERNS
            .iter()
            .find(|(t, key, _)| *t == table && key == name)
            .map(|(_, _, pattern)| (*pattern).to_owned()),
        help: (*help).to_owned(),
    }
}

fn default_origin() -> Origin {
    Origin::named("default")
}

fn apply_fields(table: &Table, values: &mut BTreeMap<String, Item>, problems: &mut Problems) {
    for field in &table.fields {
        match (values.get(&field.name), &field.default) {
            (Some(item), _) => field.check(&table.name, item, problems),
            (None, Some(default)) => {
                let item = Item {
                    value: default.clone(),
                    origin: default_origin(),
                };
                values.insert(field.name.clone(), item);
            }
            (None, None) => {}
        }
    }
}

impl Field {
    fn check(&self, table: &str, item: &Item, problems: &mut Problems) {
        let key = dotted(table, &self.name);
        match self.kind.check(&item.value) {
            Ok(()) => {
                self.check_choice(&key, item, problems);
                self.check_pattern(&key, item, problems);
            }
            Err(why) => problems.push(Problem::new(&item.origin, format!("`{key}`: {why}"))),
        }
    }

    fn check_choice(&self, key: &str, item: &Item, problems: &mut Problems) {
        let Some(text) = item.value.as_text() else {
            return;
        };
        if self.choices.is_empty() || self.choices.iter().any(|c| c == text) {
            return;
        }
        let allowed = self.choices.join("`, `");
        let what = format!("`{key}` is `{text}`; it can be `{allowed}`");
        problems.push(Problem::new(&item.origin, what));
    }

    fn check_pattern(&self, key: &str, item: &Item, problems: &mut Problems) {
        let Some(pattern) = &self.pattern else { return };
        let items = match &item.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(item),
        };
        for item in items {
            // Empty stands for a value that is not given.
            let Some(text) = item.value.as_text().filter(|t| !t.is_empty()) else {
                continue;
            };
            if !full_match(pattern).is_ok_and(|regex| regex.is_match(text)) {
                let what = format!("`{key}`: {text:?} is not of the form {pattern}");
                problems.push(Problem::new(&item.origin, what));
            }
        }
    }
}

/// `pattern` as something that only whole texts match.
pub fn full_match(pattern: &str) -> std::result::Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|error| format!("`pattern` {pattern} is not a regular expression: {error}"))
}

impl Kind {
    fn check(self, value: &Value) -> std::result::Result<(), String> {
        let wrong = |wanted: &str| Err(format!("wants {wanted}, not a {}", value.type_name()));
        match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::Integer | Self::Size, Value::Integer(0..)) => {
                Ok(())
            }
            (Self::Integer, Value::Integer(_)) => Err("can not be negative".to_owned()),
            (Self::Bool, _) => wrong("true or false"),
            (Self::Integer, _) => wrong("a whole number"),
            (Self::List, Value::List(items)) => {
                match items.iter().find(|i| i.value.as_text().is_none()) {
                    Some(item) => Err(format!(
                        "wants a list of strings, and one is a {}",
                        item.value.type_name()
                    )),
                    None => Ok(()),
                }
            }
            (Self::List, _) => wrong("a list of strings"),
            (_, Value::Text(text)) => self.check_text(text),
            _ => wrong("a string"),
        }
    }

    fn check_text(self, text: &str) -> std::result::Result<(), String> {
        match self {
            // Takes back what is inherited; where there must be one, it is missed later.
            Self::Address | Self::Range | Self::Size if text.is_empty() => Ok(()),
            Self::Address => text
                .parse::<Ipv4Addr>()
                .map(drop)
                .map_err(|_| format!("`{text}` is not an IPv4 address")),
            Self::Cidr => text.parse::<Cidr>().map(drop),
            Self::Range => text.parse::<IpRange>().map(drop),
            Self::Hostname => check_hostname(text),
            Self::Domain => text.split('.').try_for_each(check_label),
            Self::UserName => check_user_name(text),
            Self::Size => parse_size(text).map(drop),
            _ => Ok(()),
        }
    }
}

/// Parses `512MiB`, `16GiB`, `4096KiB` or a plain number of bytes.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1_u64 << 30,
        _ => return Err(format!("`{text}` is not a size like 512MiB or 16GiB")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is not a size like 512MiB or 16GiB"))
}

const RESERVED_HOSTNAMES: &[&str] = &["localhost", "raspberrypi", "ip6-localhost", "broadcasthost"];

fn check_hostname(name: &str) -> std::result::Result<(), String> {
    if RESERVED_HOSTNAMES.contains(&name) {
        return Err(format!("`{name}` is reserved; choose another host name"));
    }
    check_label(name)
}

fn check_label(label: &str) -> std::result::Result<(), String> {
    let fine = !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match fine {
        true => Ok(()),
        false => Err(format!(
            "`{label}` is not a host name: 1 to 63 of a-z, 0-9 and -, and no - at either end"
        )),
    }
}

/// Names of accounts that every Debian system has.
const RESERVED_USERS: &[&str] = &[
    "root",
    "daemon",
    "bin",
    "sys",
    "sync",
    "games",
    "man",
    "lp",
    "mail",
    "news",
    "uucp",
    "proxy",
    "www-data",
    "backup",
    "list",
    "irc",
    "nobody",
    "sshd",
    "messagebus",
    "avahi",
    "polkitd",
    "pihole",
    "systemd-network",
    "systemd-timesync",
];

fn check_user_name(name: &str) -> std::result::Result<(), String> {
    if RESERVED_USERS.contains(&name) {
        return Err(format!(
            "`{name}` is a system account; choose another user name"
        ));
    }
    let fine = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match fine {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is not a user name: up to 32 of a-z, 0-9 and -, beginning with a letter"
        )),
    }
}

/// The problem of a key that does not exist, with the nearest that does.
fn unknown_key(origin: &Origin, key: &str, table: &str, names: &[&str]) -> Problem {
    let hint = nearest(key, names).map(|n| format!("did you mean `{}`?", dotted(table, n)));
    Problem::new(origin, format!("unknown key `{}`", dotted(table, key))).with_maybe_hint(hint)
}

/// `table.key`, or `key` at the top.
pub fn dotted(table: &str, key: &str) -> String {
    match table {
        "" => key.to_owned(),
        table => format!("{table}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::parse_document;

    fn apply(text: &str) -> Result<BTreeMap<String, Item>> {
        let mut doc = parse_document(text, &"p.toml".into())?;
        Schema::core().apply(&mut doc)?;
        Ok(doc)
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let error = apply("[network]\ngatway = \"10.0.0.1\"\n").unwrap_err();
        assert_eq!(error.to_string(), "p.toml:2: unknown key `network.gatway`");
        assert_eq!(error.hint(), Some("did you mean `network.gateway`?"));
    }

    #[test]
    fn wrong_kinds_say_what_is_wanted() {
        for (text, why) in [
            ("roles = \"k3s\"", "list of strings"),
            ("address = \"10.0.0.256\"", "not an IPv4"),
            ("hostname = \"localhost\"", "reserved"),
            ("hostname = \"Big_Host\"", "not a host name"),
            ("[user]\nname = \"root\"", "system account"),
            ("[ssh]\nenabled = \"yes\"", "true or false"),
            ("firstboot = \"never\"", "`auto`, `cloud-init`, `offline`"),
            ("[disk]\ntable = \"mbr\"", "`keep`, `gpt`"),
            ("[secrets]\npassword_hash = 5", "env:NAME"),
            ("user = 5", "must be a table"),
        ] {
            let error = apply(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let error = apply("hostnme = \"a\"\n[ssh]\nenabled = 1\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("2 problems") && text.contains("did you mean `hostname`?"),
            "{text}"
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("99999999999GiB").is_err());
        assert!(parse_size("GiB").is_err());
    }
}
