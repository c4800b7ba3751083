"""From pihole.toml to the dnsmasq.conf that FTL would write, so that a real dnsmasq can be asked.

FTL is a dnsmasq with Pi-hole's parts built in: it writes /etc/pihole/dnsmasq.conf from pihole.toml and then runs on
it. The rules here are those of its src/config/dnsmasq_config.c (pi-hole/FTL, v6.4.1 and later), for all keys that
bear on answers; like FTL, this passes over keys that are unknown or of the wrong type. FTL's own parts are played by
dnsmasq's options:

- every name is looked up in gravity.db: a hosts file with 0.0.0.0 and :: for every blocked name, which is what FTL
  answers in its default mode
- FTL's own names (is_pihole_domain() of src/dnsmasq_interface.c: pi.hole and the host name, both with and without the
  domain) have the address of the interface at which the question came in, whatever dns.hosts says, or the one of
  dns.reply.host; the node's addresses are called what dns.piholePTR says. Measured with FTL v6.4.1 (8d1add8d): at
  127.0.0.1 A is 127.0.0.1 and AAAA ::1, at eth0's address A is that address.

Not shown: FTL's other modes of blocking, regular expressions, groups, rate limits, the web interface, DHCP leases, and
that AAAA of FTL's own names is eth0's at eth0 (here it is ::1 everywhere).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import accepted

ROOT_ANCHORS = (
    ".,20326,8,2,E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ".,38696,8,2,683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)
# FTL's defaults, where they are not "off", 0 or empty.
DEFAULTS: dict[str, Any] = {
    "dns.port": 53, "dns.bogusPriv": True, "dns.queryLogging": True, "dns.localise": True,
    "dns.listeningMode": "LOCAL", "dns.cache.size": 10000, "dns.cache.optimizer": 3600,
    "dns.domain.name": "lan", "dns.domain.local": True, "dns.piholePTR": "PI.HOLE", "ntp.ipv4.active": True,
    "webserver.port": "80o,443os,[::]:80o,[::]:443os",
}


@dataclasses.dataclass(frozen=True)
class Host:
    """The computer that FTL runs on: its name, and the IPv4 addresses of its interfaces."""

    name: str
    interfaces: dict[str, tuple[str, ...]]


class Settings:
    """What FTL understands of a pihole.toml."""

    def __init__(self, toml: dict[str, Any]) -> None:
        self.values = {key: value for key, value in accepted.flat(toml) if accepted.pihole_complaint(key, value) is None}

    def __call__(self, key: str) -> Any:
        return self.values.get(key, DEFAULTS.get(key))

    def items(self, key: str) -> list[str]:
        """A list without its empty strings, which FTL leaves out."""
        return [item for item in self(key) or [] if item]


def dnsmasq_conf(toml: dict[str, Any], host: Host, folder: str = "/etc/pihole", log: str = "/var/log/pihole/pihole.log") -> list[str]:
    """The lines of dnsmasq.conf, and those that play FTL's own parts."""
    get = Settings(toml)
    return [*general(get, folder, log), *listening(get), *local_domains(get), *own_names(get, host), *dhcp(get, folder),
            *special_names(get), *get.items("misc.dnsmasq_lines")]


def own_names(get: Settings, host: Host) -> Iterator[str]:
    """The names that FTL answers by itself."""
    domain = get("dns.domain.name")
    full = f"{host.name}.{domain}" if domain else host.name
    # NONE leaves it to dns.hosts, where imgbuild has the full name.
    back = {"PI.HOLE": "pi.hole", "HOSTNAME": host.name, "HOSTNAMEFQDN": full, "NONE": full}[get("dns.piholePTR")]
    names = dict.fromkeys([back, "pi.hole", host.name, full, f"pi.hole.{domain}" if domain else "pi.hole"])
    forced4, forced6 = get("dns.reply.host.force4"), get("dns.reply.host.force6")
    ipv6 = (get("dns.reply.host.IPv6") or "::") if forced6 else "::1"
    for name in names:
        if forced4:
            yield f"host-record={name},{get('dns.reply.host.IPv4') or '0.0.0.0'},{ipv6}"
            continue
        yield from (f"interface-name={name},{interface}/4" for interface in host.interfaces)
        yield f"host-record={name},{ipv6}" if forced6 else f"interface-name={name},lo/6"
    for address in (a for addresses in host.interfaces.values() for a in addresses if not a.startswith("127.")):
        yield f"ptr-record={ipaddress.ip_address(address).reverse_pointer},{back}"


def general(get: Settings, folder: str, log: str) -> Iterator[str]:
    yield f"hostsdir={folder}/hosts"
    yield "no-resolv"
    yield f"port={get('dns.port')}"
    for server in get.items("dns.upstreams"):
        yield f"server={server}"
    yield f"cache-size={get('dns.cache.size')}"
    if get("dns.localise"):
        yield "localise-queries"
    if get("dns.queryLogging"):
        yield "log-queries"
        yield "log-async"
    yield f"log-facility={log}"
    for key, option in (("bogusPriv", "bogus-priv"), ("domainNeeded", "domain-needed"), ("expandHosts", "expand-hosts")):
        if get(f"dns.{key}"):
            yield option
    if get("dns.dnssec"):
        yield "dnssec"
        for anchor in ROOT_ANCHORS:
            yield f"trust-anchor={anchor}"
    if get("dns.hostRecord"):
        yield f"host-record={get('dns.hostRecord')}"
    if get("dns.cache.optimizer") > -1:
        yield f"use-stale-cache={get('dns.cache.optimizer')}"


def listening(get: Settings) -> list[str]:
    interface = get("dns.interface") or "eth0"   # FTL takes the one with the default route
    return {
        "LOCAL": ["local-service"],
        "ALL": ["except-interface=nonexisting"],
        "SINGLE": [f"interface={interface}"],
        "BIND": [f"interface={interface}", "bind-interfaces"],
        "NONE": [],
    }[get("dns.listeningMode")]


def local_domains(get: Settings) -> Iterator[str]:
    """Whose names go where, and which are never asked of the world."""
    forwarded = set()
    for entry in get.items("dns.revServers"):
        active, network, target, domain = ([*entry.split(","), "", "", ""])[:4]
        if active not in ("true", "1") or not network or not target:
            continue
        yield f"rev-server={network},{target}"
        if domain:
            yield f"server=/{domain}/{target}"
            forwarded.add(domain.lower())
        if not get("dns.domainNeeded"):
            yield f"server=//{target}"
    if get("dns.domainNeeded"):
        yield "local=//"
    for domain in ("home.arpa", "internal"):
        if domain not in forwarded:
            yield f"local=/{domain}/"
    if name := get("dns.domain.name"):
        yield f"domain={name}"
        if get("dns.domain.local") and name.lower() not in forwarded:
            yield f"local=/{name}/"
    # FTL's file has host-record=pi.hole,0.0.0.0,:: too, which its own answer is never reached by: see own_names.
    yield "local=/pi.hole/"


def dhcp(get: Settings, folder: str) -> Iterator[str]:
    if not get("dhcp.active"):
        return
    yield "dhcp-authoritative"
    yield f"dhcp-leasefile={folder}/dhcp.leases"
    netmask = get("dhcp.netmask")
    parts = [get("dhcp.start"), get("dhcp.end"), "" if netmask == "0.0.0.0" else netmask, get("dhcp.leaseTime")]
    yield "dhcp-range=" + ",".join(part for part in parts if part)
    yield f"dhcp-option=option:router,{get('dhcp.router')}"
    if get("dhcp.rapidCommit"):
        yield "dhcp-rapid-commit"
    if get("dhcp.multiDNS"):
        yield "dhcp-option=option:dns-server,0.0.0.0,0.0.0.0,0.0.0.0"
    if get("ntp.ipv4.active"):
        yield "dhcp-option=option:ntp-server,0.0.0.0"
    if get("dhcp.ignoreUnknownClients"):
        yield "dhcp-ignore=tag:!known"
    for host in get.items("dhcp.hosts"):
        yield f"dhcp-host={host}"


def dhcp_complaints(toml: dict[str, Any]) -> list[str]:
    """Why FTL would refuse to write dnsmasq.conf."""
    get = Settings(toml)
    if not get("dhcp.active"):
        return []
    addresses = {key: ipaddress.IPv4Address(get(f"dhcp.{key}") or "0.0.0.0") for key in ("start", "end", "router")}
    complaints = [f"dhcp.{key}: {address} cannot be" for key, address in addresses.items() if int(address) & 255 in (0, 255)]
    if addresses["start"] > addresses["end"]:
        complaints.append("dhcp.start is after dhcp.end")
    if addresses["start"] <= addresses["router"] <= addresses["end"]:
        complaints.append("dhcp.router is among the addresses to hand out")
    return complaints


def web_ports(toml: dict[str, Any]) -> dict[int, str]:
    """The IPv4 ports of the web interface, with what is spoken there. Each is optional ("o"): one that is taken, by DNS or
    by an earlier one, is left out without a word, and one that cannot be is the end of all."""
    get, taken = Settings(toml), {}
    for word in get("webserver.port").split(","):
        match = re.fullmatch(r"(\[::\]:)?(\d+)([osr]*)", word)
        if not match or int(match[2]) > 65535 or int(match[2]) == get("dns.port"):
            return {}
        if not match[1]:
            taken.setdefault(int(match[2]), "https" if "s" in match[3] else "http")
    return taken


def special_names(get: Settings) -> Iterator[str]:
    for record in get.items("dns.cnameRecords"):
        yield f"cname={record}"
    for domain in ("test", "invalid"):
        yield f"server=/{domain}/"
    yield "address=/localhost/127.0.0.1"
    yield "address=/localhost/::1"
    for domain in ("bind", "onion"):
        yield f"server=/{domain}/"
    yield "cache-rr=ANY"
    yield "filter-rr=ANY"


def custom_list(toml: dict[str, Any]) -> str:
    """hosts/custom.list: the names of pihole.toml."""
    return "".join(f"{line}\n" for line in Settings(toml).items("dns.hosts"))


NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+")
NOT_BLOCKED = {"localhost", "localhost.localdomain", "local", "broadcasthost"}


def blocked_names(block_list: str) -> list[str]:
    """The names of a block list: one a line, or with an address before it as in /etc/hosts."""
    names = []
    for line in block_list.splitlines():
        words = line.split("#")[0].lower().split()
        names += [word for word in words[-1:] if NAME.fullmatch(word) and word not in NOT_BLOCKED and not _is_address(word)]
    return names


def _is_address(word: str) -> bool:
    return re.fullmatch(r"[0-9.]+", word) is not None


def block_hosts(names: list[str]) -> str:
    """What FTL answers for blocked names, as a hosts file."""
    return "".join(f"0.0.0.0 {name}\n:: {name}\n" for name in names)
