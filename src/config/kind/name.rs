//! Names of hosts, domains, users and groups.

use std::net::IpAddr;

use super::address;
use super::reason::Reason;

/// Names of a hosts file and of Raspberry Pi OS that no node can have.
const RESERVED_HOSTNAMES: &[&str] = &[
    "localhost",
    "localhost4",
    "localhost6",
    "raspberrypi",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "kubernetes",
];

/// Domains that mean something else, what, and every name below them.
const RESERVED_DOMAINS: &[(&str, &str)] = &[
    (
        "local",
        "belongs to multicast DNS: phones and Macs never ask a DNS server for it",
    ),
    ("cluster.local", "is Kubernetes' own"),
    ("localhost", "means this machine"),
    ("ts.net", "is the tailnet's own"),
    ("beta.tailscale.net", "is the tailnet's own"),
    ("in-addr.arpa", "holds the names of addresses"),
    ("ip6.arpa", "holds the names of addresses"),
    ("onion", "is Tor's own"),
    ("invalid", "never resolves, by definition"),
    ("pi.hole", "is Pi-hole's own"),
];

/// Domains that nodes fetch from: with one of them as the LAN's, its hosts would no longer be found.
const NEEDED_DOMAINS: &[&str] = &[
    "pkg.dev",
    "cloudfront.net",
    "amazonaws.com",
    "debian.org",
    "docker.com",
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "github.com",
    "githubusercontent.com",
    "google.com",
    "k3s.io",
    "k8s.io",
    "pi-hole.net",
    "pkgs.dev",
    "quay.io",
    "rancher.com",
    "rancher.io",
    "raspberrypi.com",
    "raspberrypi.org",
    "tailscale.com",
    "backblazeb2.com",
    "cloudflare.com",
    "letsencrypt.org",
    "ntp.org",
];

/// Domains of the internet below which everybody can have one, and that people write by mistake as the
/// whole domain.
const PUBLIC_SUFFIXES: &[&str] = &[
    "co.uk",
    "org.uk",
    "com.au",
    "co.nz",
    "co.jp",
    "com.br",
    "duckdns.org",
    "dyndns.org",
    "ddns.net",
    "no-ip.org",
    "github.io",
    "pages.dev",
    "app",
    "biz",
    "cloud",
    "club",
    "co",
    "com",
    "de",
    "dev",
    "edu",
    "eu",
    "fr",
    "gov",
    "info",
    "io",
    "it",
    "me",
    "mil",
    "net",
    "network",
    "nl",
    "online",
    "org",
    "site",
    "store",
    "tech",
    "top",
    "tv",
    "uk",
    "us",
    "xyz",
    "arpa",
    "zip",
];

/// What programs take for an address: digits, or hexadecimal digits behind 0x.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").filter(|hex| !hex.is_empty());
    let is_hex = hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    is_hex || !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit())
}

pub fn hostname(name: &str) -> Result<(), Reason> {
    if RESERVED_HOSTNAMES.contains(&name) {
        return Err(format!("`{name}` is reserved; choose another host name"));
    }
    if is_number(name) {
        return Err(format!("`{name}` is a number, not a host name"));
    }
    label(name)
}

fn label(label: &str) -> Result<(), Reason> {
    let fine = !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{label}` is not a host name: 1 to 63 of a-z, 0-9 and -, and no - at either end"
        ))
    }
}

/// Whether `name` is `domain` or a name below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

pub fn domain(name: &str) -> Result<(), Reason> {
    labels(name)?;
    let instead = "choose a domain like home.arpa, lan or home.lab";
    if let Some((domain, why)) = RESERVED_DOMAINS.iter().find(|(d, _)| is_below(name, d)) {
        return Err(format!("`{domain}` {why}; {instead}"));
    }
    if let Some(needed) = needed(name) {
        return Err(format!(
            "nodes fetch from `{needed}`, whose hosts would no longer be found; {instead}, or a subdomain of a domain that you own"
        ));
    }
    if is_public_suffix(name) {
        return Err(format!(
            "`{name}` is not anybody's own domain on the internet; {instead}"
        ));
    }
    Ok(())
}

/// The domain of the internet that nodes need and that `name` is, or is below.
fn needed(name: &str) -> Option<&'static str> {
    NEEDED_DOMAINS
        .iter()
        .copied()
        .find(|domain| is_below(name, domain))
}

fn is_public_suffix(name: &str) -> bool {
    PUBLIC_SUFFIXES.contains(&name)
}

/// A domain that is searched: the tailnet's own is one, a whole top-level domain is not.
pub fn search_domain(name: &str) -> Result<(), Reason> {
    dns_name(name)?;
    if is_below(name, "ts.net") {
        return Ok(());
    }
    let reserved = RESERVED_DOMAINS.iter().find(|(d, _)| is_below(name, d));
    if let Some((domain, why)) = reserved {
        return Err(format!("`{domain}` {why}"));
    }
    if is_public_suffix(name) || needed(name).is_some() {
        return Err(format!(
            "`{name}` holds the hosts of others; every short name would be looked up among them"
        ));
    }
    Ok(())
}

/// What any DNS name must be: labels, at most 253 characters, not a number at the end.
fn labels(name: &str) -> Result<(), Reason> {
    if name.len() > 253 {
        return Err(format!(
            "the name has {} characters; DNS allows 253",
            name.len()
        ));
    }
    if name.split('.').any(str::is_empty) {
        return Err(format!("`{name}` has an empty part between its dots"));
    }
    name.split('.').try_for_each(label)?;
    let last = name.rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        return Err(format!("`{name}` ends in a number, so it is not a domain"));
    }
    Ok(())
}

pub fn address_or_name(text: &str) -> Result<(), Reason> {
    let is_ipv4 = text.contains(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_ipv6 = text.contains(':')
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    if is_ipv4 || is_ipv6 {
        return address::ip(text).map(drop);
    }
    dns_name(text).map_err(|_| format!("`{text}` is neither an address nor a host name"))
}

pub fn dns_name(name: &str) -> Result<(), Reason> {
    labels(name).map_err(|why| {
        if name.contains("://") {
            format!("`{name}` is a URL; write the name alone")
        } else {
            why
        }
    })
}

/// Accounts of Debian and Raspberry Pi OS, and those that its packages and our roles make.
const SYSTEM_USERS: &[&str] = &[
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
    "_apt",
    "sshd",
    "messagebus",
    "avahi",
    "polkitd",
    "pihole",
    "dnsmasq",
    "statd",
    "_rpc",
    "tss",
    "uuidd",
    "usbmux",
    "rtkit",
    "saned",
    "colord",
    "geoclue",
    "pulse",
    "lightdm",
    "dhcpcd",
    "ntp",
    "ntpsec",
    "_chrony",
    "systemd-network",
    "systemd-timesync",
    "systemd-resolve",
    "systemd-coredump",
    "systemd-oom",
    "rpi-first-boot-wizard",
    "rpi-gui-user",
];

/// Groups of Debian and Raspberry Pi OS: a user's own group would be one of these.
const SYSTEM_GROUPS: &[&str] = &[
    "adm",
    "tty",
    "disk",
    "kmem",
    "dialout",
    "fax",
    "voice",
    "cdrom",
    "floppy",
    "tape",
    "sudo",
    "audio",
    "dip",
    "operator",
    "src",
    "shadow",
    "utmp",
    "video",
    "sasl",
    "plugdev",
    "staff",
    "users",
    "nogroup",
    "crontab",
    "_ssh",
    "ssh",
    "ssl-cert",
    "input",
    "render",
    "sgx",
    "kvm",
    "clock",
    "netdev",
    "gpio",
    "i2c",
    "spi",
    "systemd-journal",
];

/// Groups that other systems or later packages have.
const OTHER_GROUPS: &[&str] = &[
    "autologin",
    "bluetooth",
    "docker",
    "lpadmin",
    "nopasswdlogin",
    "scanner",
    "wheel",
];

pub fn user(name: &str) -> Result<(), Reason> {
    if SYSTEM_USERS.contains(&name) {
        return Err(format!(
            "`{name}` is a system account; choose another user name"
        ));
    }
    if SYSTEM_GROUPS.contains(&name) || OTHER_GROUPS.contains(&name) {
        return Err(format!(
            "`{name}` is a group of the system; choose another user name"
        ));
    }
    account(name, "user name")
}

/// Whether Raspberry Pi OS Lite has the group `name`, as far as is known without a base.
pub fn is_system_group(name: &str) -> bool {
    SYSTEM_GROUPS.contains(&name) || SYSTEM_USERS.contains(&name)
}

pub fn group(name: &str) -> Result<(), Reason> {
    account(name, "group name")
}

/// What adduser and groupadd of Debian take.
fn account(name: &str, what: &str) -> Result<(), Reason> {
    let fine = !name.is_empty()
        && name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a {what}: up to 32 of a-z, 0-9, _ and -, beginning with a letter or _"
        ))
    }
}

/// `address name [name…]`. The address can be 0.0.0.0, which blocks a name.
pub fn host_record(text: &str) -> Result<(), Reason> {
    let mut words = text.split_whitespace();
    let address = words.next().unwrap_or_default();
    if address.parse::<IpAddr>().is_err() {
        return Err(format!("`{text}`: write an address first, then its names"));
    }
    let names: Vec<&str> = words.collect();
    if names.is_empty() {
        return Err(format!("`{text}` has no name; write `address name`"));
    }
    names.iter().try_for_each(|name| own_name(name))
}

/// A name that a DNS server of the LAN may give an address.
fn own_name(name: &str) -> Result<(), Reason> {
    dns_name(name)?;
    if name == "localhost" || is_below(name, "pi.hole") {
        return Err(format!("`{name}` has a meaning of its own"));
    }
    match needed(name) {
        Some(domain) => Err(format!(
            "nodes fetch from `{domain}`, and would no longer find `{name}`"
        )),
        None => Ok(()),
    }
}

/// `alias,target`.
pub fn cname(text: &str) -> Result<(), Reason> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names[..] {
        [alias, target] if alias == target => Err(format!("`{text}` points at itself")),
        [alias, target] => own_name(alias).and(dns_name(target)),
        [_] => Err(format!("`{text}` has no target; write `alias,target`")),
        _ => Err(format!(
            "`{text}` has more than one alias; write one entry for each"
        )),
    }
}

/// `MAC,address[,name]`.
pub fn fixed_lease(text: &str) -> Result<(), Reason> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match parts[..] {
        [mac, ip] => address::mac(mac).and(address::ipv4(ip).map(drop)),
        [mac, ip, name] => address::mac(mac)
            .and(address::ipv4(ip).map(drop))
            .and(dns_name(name)),
        _ => Err(format!(
            "`{text}` is not a fixed lease; write `MAC,address,name`"
        )),
    }
}
