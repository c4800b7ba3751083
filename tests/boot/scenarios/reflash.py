"""Re-flash: the same profile, built and booted again on a new card, is the same node"""

from __future__ import annotations

from expected import NODES
from recorders import K3S_JOINS, notes

LAB = "cluster"
IDENTITY = {
    "k3s node password": "/etc/rancher/node/password",
    "SSH host key": "/etc/ssh/imgbuild_host_ed25519_key.pub",
    "network connection": "/etc/NetworkManager/system-connections/imgbuild-lan.nmconnection",
    "names": "/etc/hosts",
}


def remember(lab):
    """While the first card is still in use."""
    worker = lab.node("worker-1")
    lab.memory["first card"] = {what: worker.read(path) for what, path in IDENTITY.items()} | {"machine-id": worker.read("/etc/machine-id")}
    lab.memory["joins"] = len(joins(lab))


def run(lab):
    worker = lab.node("worker-1")
    before = lab.memory["first card"]
    for what, path in IDENTITY.items():
        with lab.check(f"same {what}"):
            assert worker.read(path) == before[what]
    with lab.check("but a machine-id of its own"):
        assert worker.read("/etc/machine-id") != before["machine-id"]
    with lab.check("a laptop that knew the first card knows the second"):
        key = before["SSH host key"].split()[:2]
        known = lab.workdir / "known_hosts"
        known.write_text(f"{worker.address} {' '.join(key)}\n")
        answer = lab.host(["ssh", "-i", str(lab.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=90",
                           "-o", f"UserKnownHostsFile={known}", f"{worker.user}@{worker.address}", "hostname"])
        assert answer.strip() == NODES["worker-1"].hostname, answer
    lab.wait("the k3s server takes it back under its old name", lambda: joined_again(lab), 600)


def joins(lab):
    """The k3s server's answers to the node, as its recorder has noted them."""
    return [n["answer"] for n in notes(lab.node("master"), K3S_JOINS) if n["node"] == NODES["worker-1"].hostname]


def joined_again(lab):
    since = joins(lab)[lab.memory["joins"]:]
    assert set(since) <= {"joined"}, since
    return since
