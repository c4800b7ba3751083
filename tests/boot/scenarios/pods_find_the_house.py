"""Pods find the nodes' names, whichever resolver CoreDNS picks

Needs no machine. CoreDNS of k3s forwards to a random server of the resolver file that the kubelet gives it (its plugin
`forward`, policy random) and takes "no such name" for an answer. Here one server is a real dnsmasq with Pi-hole's
configuration, the other one a real dnsmasq that, like a public resolver, has never heard of the house.
"""

from __future__ import annotations

import contextlib
import random
import re
import tomllib

import real_dnsmasq
from dns_client import Answer, ask
from expected import DOMAIN, NODES, RESOLVERS
from harness.network import BRIDGE, ip
from recorders import accepted, ftl_dnsmasq, k3s_config

LAB = None
GATEWAY = NODES["gateway"]
PUBLIC = RESOLVERS[1]
OUTSIDE = ("registry.example", "203.0.113.7")
QUESTIONS = 60


def run(lab):
    toml = tomllib.loads(real_dnsmasq.file_of(lab.image("gateway"), "/etc/pihole/pihole.toml"))
    ip("addr", "add", f"{GATEWAY.address}/32", "dev", BRIDGE)
    with contextlib.ExitStack() as servers:
        servers.enter_context(real_dnsmasq.running(lab.workdir / "public", ["no-resolv", "no-hosts", f"local=/{DOMAIN}/",
                                                   f"address=/{OUTSIDE[0]}/{OUTSIDE[1]}"], 53, (PUBLIC,)))
        host = ftl_dnsmasq.Host(GATEWAY.hostname, {"lo": (real_dnsmasq.LOOPBACK,), BRIDGE: (GATEWAY.address,)})
        with real_dnsmasq.pihole(lab.workdir / "pihole", toml, host, port=53, upstream=PUBLIC, listen=(GATEWAY.address,)):
            for profile in ("master", "worker-1"):
                pods(lab, profile)
        without_pihole(lab)


def pods(lab, profile):
    image = lab.image(profile)
    config = k3s_config.parse(real_dnsmasq.file_of(image, k3s_config.CONFIG))
    kind = "server" if profile == "master" else "agent"
    with lab.check(f"{profile}: k3s {kind} accepts the configuration"):
        assert not accepted.k3s_complaints(kind, config), accepted.k3s_complaints(kind, config)
    node_asks = own_resolvers(image)
    with lab.check(f"{profile}: the node itself asks {' before '.join(RESOLVERS)}; were pods given both, half of their questions would fail"):
        assert node_asks == RESOLVERS, node_asks
        lost = failures(node_asks)
        assert QUESTIONS / 4 < lost < QUESTIONS * 3 / 4, lost
        lab.note(f"with the node's own list {lost} of {QUESTIONS} questions fail")
    pods_ask = nameservers(real_dnsmasq.file_of(image, config["resolv-conf"]))
    with lab.check(f"{profile}: pods ask only {GATEWAY.address}, and always find the nodes"):
        assert pods_ask == [GATEWAY.address], pods_ask
        assert failures(pods_ask) == 0, failures(pods_ask)
    with lab.check(f"{profile}: they find names of the outside as well"):
        assert forward(pods_ask, OUTSIDE[0], random.Random(1)) == Answer("NOERROR", OUTSIDE[1:])


def without_pihole(lab):
    """Pi-hole is switched off. glibc asks the servers in their order."""
    with lab.check("without Pi-hole a node still finds its registry, by its own list"):
        answers = [ask(server, OUTSIDE[0], timeout=1) for server in RESOLVERS]
        assert answers == [None, Answer("NOERROR", OUTSIDE[1:])], answers


def own_resolvers(image):
    text = real_dnsmasq.file_of(image, "/etc/NetworkManager/system-connections/imgbuild-lan.nmconnection")
    return re.search(r"^dns=(.*)$", text, re.M)[1].strip(";").split(";")


def nameservers(text):
    return [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"]]


def failures(servers):
    """How many questions for a node's name fail."""
    dice = random.Random(1)
    node = NODES["worker-2"]
    wanted = Answer("NOERROR", (node.address,))
    return sum(forward(servers, f"{node.hostname}.{DOMAIN}", dice) != wanted for _ in range(QUESTIONS))


def forward(servers, name, dice):
    """What CoreDNS's forward makes of a question: a random server's answer; another one's only if there is none."""
    order = dice.sample(servers, len(servers))
    return next((answer for server in order if (answer := ask(server, name, timeout=2))), None)
