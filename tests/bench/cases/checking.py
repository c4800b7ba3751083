"""Profiles read and checked: many nodes, and a long list"""

from __future__ import annotations

import pathlib

from context import PUBLIC_KEY, Bench
from measuring import Contestant, wipe

NOTE = """`imgbuild check` with secrets: every profile is read, every node is planned, nothing is built. The figure that matters is CPU seconds:
1 000 nodes are to take less than 2, and a list of 20 000 entries less than 1."""

# Room for 2048 nodes, whose pods take a /24 each.
CLUSTER = f"""[network]
cidr    = "10.64.0.0/16"
gateway = "10.64.0.1"
dns     = ["1.1.1.1"]
[cluster]
pod_cidr = "10.128.0.0/13"
[user]
ssh_keys = ["{PUBLIC_KEY.strip()}"]
[secrets]
k3s_token      = "env:K3S_TOKEN"
samba_password = "env:SAMBA_PASSWORD"
"""


def node(number: int, roles: str) -> str:
    """A profile; addresses begin with 10.64.1.1, 249 in a row."""
    address = f"10.64.{1 + number // 249}.{1 + number % 249}"
    return f'extends  = "cluster"\nhostname = "h{number}"\naddress  = "{address}"\nroles    = {roles}\n'


def write_nodes(project: pathlib.Path, count: int, more: str = "") -> None:
    """A k3s server and `count` - 1 agents, which extend one profile; `more` is added to the server's."""
    folder = project / "profiles"
    folder.mkdir(parents=True)
    (folder / "cluster.toml").write_text(CLUSTER)
    (folder / "n0.toml").write_text(node(0, '["k3s-server", "samba"]') + more)
    for number in range(1, count):
        (folder / f"n{number}.toml").write_text(node(number, '["k3s-agent"]'))


def long_list(entries: int) -> str:
    lines = "".join(f'  "h{number}.example.org",\n' for number in range(entries))
    return f"[k3s-server]\ntls_san = [\n{lines}]\n"


def run(bench: Bench) -> None:
    cache = bench.work / "cache"

    def check(id: str, name: str, count: int, more: str = "") -> Contestant:
        project = bench.work / id
        write_nodes(project, count, more)
        return bench.ours(id, name, bench.imgbuild.check(project), cache, None)

    entries = bench.settings.list_entries
    contestants = [check(f"nodes@{count}", f"check of {count} nodes", count) for count in bench.settings.checked_nodes]
    contestants.append(check(f"list@{entries}", f"list of {entries} entries, a line each", 2, long_list(entries)))
    bench.compare("check", "what `check` takes", "profiles alone", NOTE, contestants)
    wipe(*(bench.work / contestant.id for contestant in contestants))
