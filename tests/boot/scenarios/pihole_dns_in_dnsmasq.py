"""Pi-hole's DNS configuration, as baked into an image, in a real dnsmasq

Needs no machine: the gateway's image is built, its pihole.toml is translated as FTL does it (programs/ftl_dnsmasq.py),
and this computer's dnsmasq runs on it and is asked.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import subprocess
import time
import tomllib

from dns_client import Answer, Upstream, ask
from expected import DOMAIN, NODES
from house_names import knows_the_house
from recorders import accepted, ftl_dnsmasq

LAB = None
SERVER = "127.0.0.1"
BLOCK_LIST = "# a list\n0.0.0.0 ads.blocked.example\n"
OUTSIDE = "203.0.113.80"


def run(lab):
    image = lab.image("gateway")
    text = file_of(image, "/etc/pihole/pihole.toml")
    hosts = file_of(image, "/etc/hosts")
    with lab.check("FTL knows every key of pihole.toml, and every value is of its type"):
        toml = tomllib.loads(text)
        complaints = accepted.pihole_complaints(toml) + ftl_dnsmasq.dhcp_complaints(toml)
        assert not complaints, complaints
    upstreams = toml["dns"]["upstreams"]
    with lab.check(f"it asks {', '.join(upstreams)} and nobody else for the outside"):
        lines = ftl_dnsmasq.dnsmasq_conf(toml)
        assert upstreams and [x for x in lines if x.startswith("server=") and "/" not in x] == [f"server={u}" for u in upstreams]
    upstream = Upstream(OUTSIDE)
    with dnsmasq(lab.workdir / "dnsmasq", toml, hosts, upstream) as port:
        questions(lab, port, upstream)


def questions(lab, port, upstream):
    knows_the_house(lab, functools.partial(asked, port))
    with lab.check("a blocked name is 0.0.0.0, a name below it is not blocked"):
        assert asked(port, "ads.blocked.example") == Answer("NOERROR", ("0.0.0.0",))
        assert asked(port, "more.ads.blocked.example") == Answer("NOERROR", (OUTSIDE,))
    with lab.check("names of the outside are asked of the upstream"):
        assert asked(port, "outside.example") == Answer("NOERROR", (OUTSIDE,))
        assert "outside.example" in upstream.asked
    with lab.check("unknown names of the house, plain names and private addresses never are"):
        for name, kind in ((f"nobody.{DOMAIN}", "A"), ("nobody", "A"), ("10.100.0.77", "PTR"), ("printer.internal", "A")):
            assert asked(port, name, kind) == Answer("NXDOMAIN"), (name, asked(port, name, kind))
        assert set(upstream.asked) == {"outside.example", "more.ads.blocked.example"}, upstream.asked
    with lab.check("no node's name is the loopback's address"):
        for node in NODES.values():
            values = asked(port, f"{node.hostname}.{DOMAIN}").values
            assert not any(v.startswith("127.") for v in values), values


def asked(port, name, kind="A"):
    return ask(SERVER, name, kind, port)


def file_of(image, path):
    """A file of an image's root partition."""
    layout = subprocess.run(["sfdisk", "--json", str(image)], check=True, capture_output=True).stdout
    start = json.loads(layout)["partitiontable"]["partitions"][1]["start"] * 512
    done = subprocess.run(["debugfs", "-R", f"cat {path}", f"{image}?offset={start}"], check=True, capture_output=True, text=True)
    assert done.stdout, f"{path}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def dnsmasq(folder, toml, hosts, upstream):
    """A dnsmasq with FTL's configuration: on the loopback, with another upstream, and the node's /etc/hosts in place of
    this computer's. Gives its port."""
    port = free_port()
    (folder / "hosts").mkdir(parents=True, exist_ok=True)
    (folder / "hosts" / "custom.list").write_text(ftl_dnsmasq.custom_list(toml))
    (folder / "etc-hosts").write_text(hosts)
    (folder / "blocked").write_text(ftl_dnsmasq.block_hosts(ftl_dnsmasq.blocked_names(BLOCK_LIST)))
    here = toml | {"dns": toml["dns"] | {"port": port, "upstreams": [f"{SERVER}#{upstream.port}"]}}
    conf = ftl_dnsmasq.dnsmasq_conf(here, str(folder), str(folder / "dnsmasq.log"))
    conf += ["no-hosts", f"addn-hosts={folder}/etc-hosts", f"addn-hosts={folder}/blocked", "user=root", "pid-file=",
             f"listen-address={SERVER}", "bind-interfaces"]
    (folder / "dnsmasq.conf").write_text("\n".join(conf) + "\n")
    command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={folder}/dnsmasq.conf"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((SERVER, 0))
        return sock.getsockname()[1]


def wait_for(port, process):
    for _ in range(100):
        assert process.poll() is None, f"dnsmasq ended: {process.stdout.read()}"
        if ask(SERVER, "localhost", port=port, timeout=0.2):
            return
        time.sleep(0.1)
    raise RuntimeError("dnsmasq does not answer")
