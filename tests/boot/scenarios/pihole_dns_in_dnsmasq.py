"""Pi-hole's DNS configuration, as baked into an image, in a real dnsmasq

Needs no machine: the gateway's image is built, its pihole.toml is translated as FTL does it (programs/ftl_dnsmasq.py),
and this computer's dnsmasq runs on it and is asked.
"""

from __future__ import annotations

import functools
import tomllib

import real_dnsmasq
from dns_client import Answer, Upstream, ask
from expected import DOMAIN, NODES
from house_names import has_no_wildcard, knows_the_house, knows_the_wildcard
from recorders import accepted, ftl_dnsmasq

LAB = None
GATEWAY = NODES["gateway"]
BLOCK_LIST = "# a list\n0.0.0.0 ads.blocked.example\n"
OUTSIDE = "203.0.113.80"


def run(lab):
    image = lab.image("gateway")
    toml = tomllib.loads(real_dnsmasq.file_of(image, "/etc/pihole/pihole.toml"))
    hosts = real_dnsmasq.file_of(image, "/etc/hosts")
    with lab.check("FTL knows every key of pihole.toml, and every value is of its type"):
        complaints = accepted.pihole_complaints(toml) + ftl_dnsmasq.dhcp_complaints(toml)
        assert not complaints, complaints
    with lab.check("its web interface is at 80 and 443"):
        assert ftl_dnsmasq.web_ports(toml) == {80: "http", 443: "https"}, ftl_dnsmasq.web_ports(toml)
    upstreams = toml["dns"]["upstreams"]
    host = ftl_dnsmasq.Host(GATEWAY.hostname, {"lo": (real_dnsmasq.LOOPBACK,), "eth0": (GATEWAY.address,)})
    with lab.check(f"it asks {', '.join(upstreams)} and nobody else for the outside"):
        lines = ftl_dnsmasq.dnsmasq_conf(toml, host)
        assert upstreams and [x for x in lines if x.startswith("server=") and "/" not in x] == [f"server={u}" for u in upstreams]
    upstream, port = Upstream(OUTSIDE), real_dnsmasq.free_port()
    with started(lab, toml, host, port, upstream, hosts):
        asked = functools.partial(ask, real_dnsmasq.LOOPBACK, port=port)
        questions(lab, asked, upstream)
        has_no_wildcard(lab, asked)
    toml = tomllib.loads(real_dnsmasq.file_of(lab.image("gateway", pihole__ingress_answers=True), "/etc/pihole/pihole.toml"))
    with started(lab, toml, host, port, upstream, hosts):
        knows_the_wildcard(lab, asked)


def started(lab, toml, host, port, upstream, hosts):
    return real_dnsmasq.pihole(lab.workdir / "dnsmasq", toml, host, port=port, upstream=f"{real_dnsmasq.LOOPBACK}#{upstream.port}",
                               hosts=hosts, block_list=BLOCK_LIST)


def questions(lab, asked, upstream):
    knows_the_house(lab, asked)
    with lab.check("a blocked name is 0.0.0.0, a name below it is not blocked"):
        assert asked("ads.blocked.example") == Answer("NOERROR", ("0.0.0.0",))
        assert asked("more.ads.blocked.example") == Answer("NOERROR", (OUTSIDE,))
    with lab.check("names of the outside are asked of the upstream"):
        assert asked("outside.example") == Answer("NOERROR", (OUTSIDE,))
        assert "outside.example" in upstream.asked
    with lab.check("unknown names of the house, plain names and private addresses never are"):
        for name, kind in ((f"nobody.{DOMAIN}", "A"), ("nobody", "A"), ("10.100.0.77", "PTR"), ("printer.internal", "A")):
            assert asked(name, kind) == Answer("NXDOMAIN"), (name, asked(name, kind))
        assert set(upstream.asked) == {"outside.example", "more.ads.blocked.example"}, upstream.asked
    with lab.check("no node's name is the loopback's address, not even Pi-hole's own names asked there"):
        for name in (*(f"{node.hostname}.{DOMAIN}" for node in NODES.values()), GATEWAY.hostname, "pi.hole", f"pi.hole.{DOMAIN}"):
            values = asked(name).values
            assert values and not any(v.startswith("127.") for v in values), (name, values)
    with lab.check("the gateway's address has the gateway's name and no other"):
        assert asked(GATEWAY.address, "PTR") == Answer("NOERROR", (f"{GATEWAY.hostname}.{DOMAIN}",)), asked(GATEWAY.address, "PTR")
