"""The gateway joins the tailnet, forgets its key, and brings a member elsewhere into the LAN once its route is approved"""

from __future__ import annotations

import json
import pathlib
import sys

from expected import DOMAIN, NODES
from tailnets import KEY_FILE, STAMP, backend_state, key_is_gone, member, report, tailnet

LAB = "cluster"
LAN = "10.100.0.0/24"
GATEWAY, MASTER = NODES["gateway"], NODES["master"]
ASK = "import sys; sys.path.insert(0, sys.argv[1]); from dns_client import ask; print(*ask(sys.argv[2], sys.argv[3]).values)"


def run(lab):
    if not (net := tailnet(lab)):
        return
    gateway = lab.node("gateway")
    lab.wait("the gateway is in the tailnet under its host name", lambda: net.node(GATEWAY.hostname), 600)
    lab.wait("its first boot script is done", lambda: gateway.exists(STAMP), 300)
    joined(lab, gateway)
    offers_the_lan(lab, net, gateway)
    brings_a_member_in(lab, net, member(lab))


def joined(lab, gateway):
    with lab.check("the status file says under which name and address, and that the route may need approval"):
        line = report(gateway)
        assert line.split()[1] == "done" and GATEWAY.hostname in line and " 100.64." in line and LAN in line, line
    with lab.check("the key file is gone, and no file on the node holds the key"):
        assert not gateway.exists(KEY_FILE)
        assert key_is_gone(gateway, lab.secrets["TS_AUTHKEY"]) == ""
    with lab.check("tailscaled runs, and a router does not use the routes and the DNS of others"):
        assert backend_state(gateway) == "Running"
        prefs = json.loads(gateway.sudo("tailscale debug prefs"))
        assert (prefs["RouteAll"], prefs["CorpDNS"], prefs["RunSSH"]) == (False, False, False), prefs
    with lab.check("the kernel forwards"):
        assert gateway.sudo("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding").split() == ["1", "1"]


def offers_the_lan(lab, net, gateway):
    with lab.check(f"{LAN} is offered, and nothing else"):
        assert json.loads(gateway.sudo("tailscale debug prefs"))["AdvertiseRoutes"] == [LAN]
        assert net.node(GATEWAY.hostname)["available_routes"] == [LAN]


def brings_a_member_in(lab, net, laptop):
    """The router between elsewhere and the LAN lets WireGuard through and nothing else."""
    with lab.check("not approved: a member elsewhere reaches no node of the LAN"):
        assert not net.node(GATEWAY.hostname).get("approved_routes")
        assert not laptop.place.connects(MASTER.address, 22)
    net.approve_routes(GATEWAY.hostname, [LAN])
    lab.wait("approved: it reaches SSH on master, through the gateway",
             lambda: laptop.place.greeting(MASTER.address, 22, 20).startswith("SSH-2.0-"), 120)
    lab.wait("the two talk to each other directly, not through a relay",
             lambda: laptop.path_to(GATEWAY.hostname) == f"{GATEWAY.address}:41641", 120)
    address = net.node(GATEWAY.hostname)["ip_addresses"][0]
    with lab.check("Pi-hole's firewall lets the tailnet in: it answers at the gateway's tailnet address and at its LAN address"):
        for server in (address, GATEWAY.address):
            answer = laptop.place.run(sys.executable, "-c", ASK, pathlib.Path(__file__).parent.parent, server,
                                      f"{MASTER.hostname}.{DOMAIN}").stdout
            assert answer.split() == [MASTER.address], f"{server}: {answer!r}"
    net.approve_routes(GATEWAY.hostname, [])
    lab.wait("approval taken back: it reaches it no more", lambda: not laptop.place.connects(MASTER.address, 22, 5), 120)
    net.approve_routes(GATEWAY.hostname, [LAN])
