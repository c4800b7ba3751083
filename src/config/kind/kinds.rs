//! The kinds by name, and which check is whose.

use serde::Deserialize;

use super::reason::Reason;
use super::{address, boot, kubernetes, name, place, text};
use crate::config::value::Value;

/// What one value must look like. In `role.toml` a kind is named by its variant in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Free text of one line.
    String,
    Bool,
    Integer,
    /// A list; the option says of what.
    List,
    Percent,
    /// A TCP or UDP port, 1 to 65535.
    Port,
    /// An IPv4 address.
    Address,
    /// An IPv4 or IPv6 address.
    AnyAddress,
    /// An address, or the name of a host.
    AddressOrName,
    /// An address with an optional `#port`, as dnsmasq has it.
    Resolver,
    /// An IPv4 network.
    Cidr,
    /// An IPv4 or IPv6 network, or a single address.
    AnyNetwork,
    /// IPv4 addresses from one to another.
    Range,
    Mac,
    /// One label: the name of a node.
    Hostname,
    /// A domain that the LAN's names can be in.
    Domain,
    /// Any DNS name.
    DnsName,
    /// A domain that short names are looked up in.
    SearchDomain,
    UserName,
    GroupName,
    /// `http://` or `https://`.
    Url,
    Version,
    Sha256,
    /// A git commit in full.
    Commit,
    /// Bytes, written `512MiB`, `16GiB` or a plain number.
    Size,
    /// How long: `45m`, `24h`, `7d` or `infinite`.
    Duration,
    /// A day, `2026-12-31`.
    Date,
    /// A Kubernetes label that a kubelet may set on its own node.
    Label,
    /// A Kubernetes taint, `key=value:Effect`.
    Taint,
    /// `key=value` for a program's command line, without the dashes.
    Argument,
    /// A Tailscale tag, `tag:name`.
    Tag,
    /// `address name [name…]`, as in a hosts file.
    HostRecord,
    /// `alias,target`.
    Cname,
    /// `MAC,address[,name]`.
    FixedLease,
    /// A file on the machine that builds; it must exist.
    File,
    /// An absolute path on the node.
    NodePath,
    /// A program on the node that people can log in with.
    Shell,
    /// An alias of Raspberry Pi OS, a URL or a path.
    BaseImage,
    TimeZone,
    Locale,
    Keyboard,
    Country,
    /// A network interface.
    Interface,
    /// Name of a Wi-Fi network.
    Ssid,
    /// Label of an ext4 file system.
    DiskLabel,
    /// Thousandths of a degree Celsius.
    Millidegrees,
    UsbQuirk,
    /// A word of cmdline.txt.
    KernelWord,
    /// A line of config.txt.
    ConfigLine,
    /// A public SSH key, or `file:PATH`. Never shown.
    SshKey,
}

impl Kind {
    /// The kind as people read it, in a reference and behind "must be".
    pub fn describe(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bool => "true or false",
            Self::Integer => "whole number",
            Self::List => "list",
            Self::Percent => "percentage",
            Self::Port => "port",
            Self::Address => "IPv4 address",
            Self::AnyAddress => "IP address",
            Self::AddressOrName => "address or host name",
            Self::Resolver => "address or address#port",
            Self::Cidr => "IPv4 network",
            Self::AnyNetwork => "IP network or address",
            Self::Range => "range of addresses",
            Self::Mac => "MAC address",
            Self::Hostname => "host name",
            Self::Domain => "domain",
            Self::DnsName => "DNS name",
            Self::SearchDomain => "domain to search",
            Self::UserName => "user name",
            Self::GroupName => "group name",
            Self::Url => "URL",
            Self::Version => "version",
            Self::Sha256 => "SHA-256",
            Self::Commit => "commit",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Date => "date",
            Self::Label => "label",
            Self::Taint => "taint",
            Self::Argument => "argument",
            Self::Tag => "tag",
            Self::HostRecord => "address and names",
            Self::Cname => "alias,target",
            Self::FixedLease => "MAC,address,name",
            Self::File => "local file",
            Self::NodePath => "path on the node",
            Self::Shell => "login shell",
            Self::BaseImage => "image",
            Self::TimeZone => "time zone",
            Self::Locale => "locale",
            Self::Keyboard => "keyboard layout",
            Self::Country => "country code",
            Self::Interface => "network interface",
            Self::Ssid => "name of a Wi-Fi network",
            Self::DiskLabel => "file system label",
            Self::Millidegrees => "temperature in millidegrees",
            Self::UsbQuirk => "quirk",
            Self::KernelWord => "kernel argument",
            Self::ConfigLine => "line of config.txt",
            Self::SshKey => "public key",
        }
    }

    /// Why `value` cannot be one of this kind.
    pub fn check(self, value: &Value) -> Result<(), Reason> {
        match (self, value) {
            (Self::Bool, Value::Bool(_)) => Ok(()),
            (Self::Integer | Self::Port | Self::Percent | Self::Size, Value::Integer(n)) => {
                self.check_number(*n)
            }
            (Self::Bool | Self::Integer | Self::Port | Self::Percent, _) => Err(self.wrong(value)),
            (_, Value::Text(text)) => self.check_text(text),
            _ => Err(self.wrong(value)),
        }
    }

    fn wrong(self, value: &Value) -> Reason {
        let wanted = self.describe();
        let article = match self {
            Self::Bool => "",
            _ if wanted.starts_with(['a', 'I']) => "an ",
            _ => "a ",
        };
        format!("must be {article}{wanted}, not {}", value.type_name())
    }

    fn check_number(self, n: i64) -> Result<(), Reason> {
        match self {
            Self::Port if !(1..=65_535).contains(&n) => {
                Err(format!("{n} is not a port; ports are 1 to 65535"))
            }
            Self::Percent if !(0..=100).contains(&n) => Err(format!("{n} is not a percentage")),
            _ if n < 0 => Err(format!("{n} is negative")),
            _ => Ok(()),
        }
    }

    fn check_text(self, text: &str) -> Result<(), Reason> {
        // A key is judged where it is read, and may be pasted with its line end.
        if self != Self::SshKey {
            text::one_line(text)?;
        }
        match self {
            Self::Address => address::ipv4(text).map(drop),
            Self::AnyAddress => address::ip(text).map(drop),
            Self::AddressOrName => name::address_or_name(text),
            Self::Resolver => address::resolver(text),
            Self::Cidr => address::cidr(text).map(drop),
            Self::AnyNetwork => address::any_network(text),
            Self::Range => address::range(text).map(drop),
            Self::Mac => address::mac(text),
            Self::Size => address::parse_size(text).map(drop),
            Self::Hostname => name::hostname(text),
            Self::Domain => name::domain(text),
            Self::DnsName => name::dns_name(text),
            Self::SearchDomain => name::search_domain(text),
            Self::UserName => name::user(text),
            Self::GroupName => name::group(text),
            Self::HostRecord => name::host_record(text),
            Self::Cname => name::cname(text),
            Self::FixedLease => name::fixed_lease(text),
            Self::Url => text::url(text),
            Self::Version => text::version(text),
            Self::Sha256 => text::hex(text, 64, "a SHA-256"),
            Self::Commit => text::hex(text, 40, "a full commit"),
            Self::Duration => text::duration(text),
            Self::Date => text::date(text),
            Self::File => text::file(text),
            Self::NodePath => text::node_path(text),
            Self::Shell => text::shell(text),
            Self::BaseImage => text::base_image(text),
            Self::DiskLabel => text::disk_label(text),
            Self::SshKey => Ok(()),
            Self::Label => kubernetes::label(text),
            Self::Taint => kubernetes::taint(text),
            Self::Argument => kubernetes::argument(text),
            Self::Tag => text::tag(text),
            Self::TimeZone => place::time_zone(text),
            Self::Locale => place::locale(text),
            Self::Keyboard => place::keyboard(text),
            Self::Country => place::country(text),
            Self::Interface => boot::interface(text),
            Self::Ssid => boot::ssid(text),
            Self::Millidegrees => boot::millidegrees(text),
            Self::UsbQuirk => boot::usb_quirk(text),
            Self::KernelWord => boot::kernel_word(text),
            Self::ConfigLine => boot::config_line(text),
            Self::String | Self::Bool | Self::Integer | Self::List | Self::Percent | Self::Port => {
                Ok(())
            }
        }
    }
}
