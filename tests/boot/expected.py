"""What the seed cluster's profiles promise, written down a second time: profiles/*.toml is the first."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Node:
    profile: str
    hostname: str
    address: str
    roles: tuple[str, ...]   # those that report in the status file


NODES = {node.profile: node for node in (
    Node("master", "bondsmith", "10.100.0.102", ("base", "k3s", "packages", "samba", "samba-format")),
    Node("worker-1", "windrunner", "10.100.0.100", ("base", "k3s")),
    Node("worker-2", "lightweaver", "10.100.0.101", ("base", "k3s")),
    Node("gateway", "stoneward", "10.100.0.106", ("base", "packages", "pihole", "tailscale-router")),
)}
DOMAIN = "home.lab"
GATEWAY = "10.100.0.1"
RESOLVERS = ["10.100.0.106", "1.1.1.1"]
USER = "pi"
LANG = "en_GB.UTF-8"
KEYBOARD = "gb"
INGRESS = "10.100.0.50"
SHARE = "nas"
SHARE_USER = "smb"
SHARE_UID = "970"
