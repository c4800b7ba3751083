"""The nodes reach each other under their names"""

from __future__ import annotations

from expected import DOMAIN, NODES

LAB = "cluster"


def run(lab):
    for name, machine in lab.nodes.items():
        with lab.check(f"{name}: finds every other node by its short and its full name, and reaches its SSH port"):
            for other in NODES.values():
                if other.profile == name:
                    continue
                for word in (other.hostname, f"{other.hostname}.{DOMAIN}"):
                    assert machine.run(f"getent ahostsv4 {word}").split()[0] == other.address, word
                banner = machine.run(f"timeout 60 bash -c 'exec 3<>/dev/tcp/{other.hostname}/22; head -c 4 <&3'")
                assert banner == "SSH-", f"{other.hostname}: {banner!r}"
        with lab.check(f"{name}: its own name is its address on the LAN, not only on the loopback"):
            assert NODES[name].address in machine.run(f"getent ahostsv4 {NODES[name].hostname}.{DOMAIN}; grep {NODES[name].hostname} /etc/hosts")
