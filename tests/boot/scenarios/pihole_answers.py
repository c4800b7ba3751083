"""Pi-hole: baked into the image, it answers the home network and nobody else

Pi-hole's scripts and FTL are stand-ins, and FTL's notes how it is called (programs/pihole-core, programs/pihole-FTL.py). What
answers is a real dnsmasq with the configuration that FTL would write from imgbuild's pihole.toml, and with FTL's own
answers for its own names.
"""

from __future__ import annotations

import functools
import shlex

from dns_client import Answer, ask
from expected import DOMAIN, INGRESS, NODES
from harness.network import BRIDGE
from house_names import knows_the_house, knows_the_wildcard
from recorders import PIHOLE_CALLS, fingerprint, notes

LAB = "cluster"
PIHOLE = "gateway"
ADDRESS = NODES[PIHOLE].address
BLOCKED = "ads.blocked.example"
OUTSIDE = ("outside.example", "203.0.113.80")   # harness/network.py
STRANGER = "192.0.2.10"


def run(lab):
    machine = lab.node(PIHOLE)
    lab.wait("gateway: Pi-hole answers, says the first boot's script", lambda: machine.exists("/var/lib/imgbuild/pihole.done"), 900)
    is_there(lab, machine)
    accepts_the_configuration(lab, machine)
    keeps_its_secrets(lab, machine)
    answers_the_router(lab)
    answers_another_node(lab)
    stays_in_the_house(lab, machine)
    another_try_changes_nothing(lab, machine)


def is_there(lab, machine):
    with lab.check("FTL runs as its own user, with the one in the image, and did not wait for the first boot's check"):
        unit = machine.unit("pihole-FTL.service", "ActiveState", "User", "NRestarts")
        assert unit == {"ActiveState": "active", "User": "pihole", "NRestarts": "0"}, unit
        assert "but FTL is" not in machine.status(), machine.status()
    with lab.check("FTL does not wait for a network that is online"):
        after = machine.run("systemctl show --value -p After pihole-FTL.service").split()
        assert "network-online.target" not in after and "imgbuild-pihole-prepare.service" in after, after
    with lab.check("its account is that of a service, and the one in the image"):
        assert machine.run("getent passwd pihole").strip() == "pihole:x:969:969::/home/pihole:/usr/sbin/nologin"
        assert machine.sudo("getent shadow pihole").split(":")[1] == "!"
    with lab.check("the web interface has the password that is kept on the node, for root only"):
        kept = machine.read("/etc/imgbuild/pihole.generated").strip()
        assert machine.sudo("stat -c %a:%u /etc/imgbuild/pihole.generated").strip() == "600:0"
        given = [call["argv"] for call in notes(machine, PIHOLE_CALLS) if "webserver.api.password" in call["argv"]]
        assert given and all(words[-1] == fingerprint(kept) for words in given), given
    with lab.check("it was set before FTL first started"):
        calls = [call["argv"][1:] for call in notes(machine, PIHOLE_CALLS)]
        password = next(i for i, words in enumerate(calls) if words[:2] == ["--config", "webserver.api.password"])
        assert password < calls.index(["-f"]), calls
    with lab.check("the scripts and the web interface are in their places"):
        for path in ("/opt/pihole/gravity.sh", "/opt/pihole/utils.sh", "/usr/local/bin/pihole", "/etc/.pihole/gravity.sh"):
            assert machine.exists(path), path
        assert machine.exists("/var/www/html/admin/index.html")
    with lab.check("the daily look for updates leaves the versions alone while there is no clone"):
        before = machine.read("/etc/pihole/versions")
        line = next(line for line in machine.read("/etc/cron.d/pihole").splitlines() if line.startswith("@reboot") and "updatechecker" in line)
        machine.sudo(f"sh -c {shlex.quote(line.split('root', 1)[1].strip())}")
        assert before.startswith("CORE_VERSION=v") and machine.read("/etc/pihole/versions") == before, before


def accepts_the_configuration(lab, machine):
    with lab.check("FTL knows every key of pihole.toml, and every value is of its type"):
        starts = [call for call in notes(machine, PIHOLE_CALLS) if "complaints" in call]
        assert starts and not any(call["complaints"] for call in starts), starts
        assert starts[-1]["web"] == {"80": "http", "443": "https"}, starts[-1]
    with lab.check("the default block list is what it blocks with, from its first start on"):
        assert [call["blocked"] for call in starts] == [2] * len(starts), starts
        query = "SELECT address, number, status FROM adlist"
        said = machine.sudo(f"pihole-FTL sqlite3 -ni /etc/pihole/gravity.db '{query}'").strip()
        assert said == "https://raw.githubusercontent.com/StevenBlack/hosts/master/hosts|2|1", said
    with lab.check("gravity.db is FTL's own, and nothing half made lies beside it"):
        assert machine.sudo("stat -c %U /etc/pihole/gravity.db").strip() == "pihole"
        assert "imgbuild" not in machine.sudo("ls /etc/pihole"), machine.sudo("ls /etc/pihole")


def keeps_its_secrets(lab, machine):
    with lab.check("only root and FTL can read pihole.toml, which FTL has written anew"):
        assert machine.read("/etc/pihole/pihole.toml").startswith("# Pi-hole configuration file, written by FTL")
        assert machine.sudo("stat -c %a:%U /etc/pihole/pihole.toml").strip() == "640:pihole"


def own_name(machine):
    """What the node's own questions for its own name get, on the loopback and on the LAN's address."""
    return [machine.run(f"dig +short +time=10 @{server} {NODES[PIHOLE].hostname}.{DOMAIN}").strip() for server in ("127.0.0.1", ADDRESS)]


def another_try_changes_nothing(lab, machine):
    """As after a power cut just before the end: the script runs once more, and the owner has another password by now."""
    machine.sudo("pihole setpassword another-one")
    before = notes(machine, PIHOLE_CALLS)
    machine.sudo("rm /var/lib/imgbuild/pihole.done && systemctl start --no-block imgbuild-pihole.service")
    lab.wait("another try of the first boot's script ends well", lambda: machine.exists("/var/lib/imgbuild/pihole.done"), 300)
    with lab.check("it neither makes the lists again nor touches the owner's new password"):
        since = [call["argv"] for call in notes(machine, PIHOLE_CALLS)[len(before):]]
        assert since == [["pihole-FTL", "tag"]], since
        assert fingerprint("another-one") in machine.read("/etc/pihole/pihole.toml")


def answers_the_router(lab):
    knows_the_house(lab, functools.partial(ask, ADDRESS))
    knows_the_wildcard(lab, functools.partial(ask, ADDRESS))
    with lab.check("the gateway's address has the gateway's name and no other"):
        assert ask(ADDRESS, ADDRESS, "PTR") == Answer("NOERROR", (f"{NODES[PIHOLE].hostname}.{DOMAIN}",))
    with lab.check("its own name has the LAN's address, even for itself on the loopback"):
        answers = own_name(lab.node(PIHOLE))
        assert answers == [ADDRESS, ADDRESS], answers
    with lab.check("a blocked name is 0.0.0.0"):
        assert ask(ADDRESS, BLOCKED) == Answer("NOERROR", ("0.0.0.0",)), ask(ADDRESS, BLOCKED)
    with lab.check("a name of the outside comes from the upstream resolver"):
        assert ask(ADDRESS, OUTSIDE[0]) == Answer("NOERROR", OUTSIDE[1:]), ask(ADDRESS, OUTSIDE[0])
    with lab.check(f"an unknown name below {DOMAIN} does not exist, and the outside is not asked for it"):
        assert ask(ADDRESS, f"nobody.{DOMAIN}") == Answer("NXDOMAIN"), ask(ADDRESS, f"nobody.{DOMAIN}")
        assert f"nobody.{DOMAIN}" not in (lab.workdir / "dns.log").read_text()


def answers_another_node(lab):
    machine = next(m for profile, m in lab.nodes.items() if profile != PIHOLE)
    with lab.check(f"{machine.name}, whose first resolver it is, finds a node, the ingress and a blocked name through it"):
        for name, address in ((f"{NODES['master'].hostname}.{DOMAIN}", NODES["master"].address), (f"x.apps.{DOMAIN}", INGRESS),
                              (BLOCKED, "0.0.0.0")):
            assert machine.run(f"dig +short +time=10 {name}").split() == [address], name


def stays_in_the_house(lab, machine):
    """Another address behind the router, as if the router let the world in. First without the firewall, to know
    that the answer would find its way."""
    lab.host(["ip", "addr", "add", f"{STRANGER}/32", "dev", BRIDGE])
    name = f"{NODES['master'].hostname}.{DOMAIN}"
    with lab.check("without its firewall Pi-hole would answer somebody who is not at home"):
        machine.sudo("nft delete table inet imgbuild_pihole")
        assert ask(ADDRESS, name, source=STRANGER) == Answer("NOERROR", (NODES["master"].address,))
    machine.sudo("systemctl reload imgbuild-pihole-firewall.service")
    with lab.check("with its firewall it does not"):
        assert ask(ADDRESS, name, source=STRANGER) is None
        assert ask(ADDRESS, name) == Answer("NOERROR", (NODES["master"].address,)), "the router is not heard either"
    lab.host(["ip", "addr", "del", f"{STRANGER}/32", "dev", BRIDGE])
