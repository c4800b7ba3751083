"""k3s: agents wait for their server and join it

The program is a recorder (programs/k3s.py), which reads the real one's configuration and keeps to its rules.
"""

from __future__ import annotations

from expected import NODES
from recorders import K3S_CALLS, K3S_JOINS, K3S_TRIES, accepted, fingerprint, k3s_config, notes

LAB = "cluster"
SERVER = "master"
AGENTS = ("worker-1", "worker-2")
MODULES = ("br_netfilter", "overlay", "vxlan", "nf_conntrack")
SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1", "net.bridge.bridge-nf-call-iptables": "1",
           "net.bridge.bridge-nf-call-ip6tables": "1", "fs.inotify.max_user_instances": "8192",
           "fs.inotify.max_user_watches": "524288"}

TLS = "/var/lib/rancher/k3s/server/tls"
AUTHORITIES = ("server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca")
KEYS = ["700 0:0 .", "700 0:0 etcd", "600 0:0 service.key",
        *[f"600 0:0 {name}.key" for name in AUTHORITIES], *[f"644 0:0 {name}.crt" for name in AUTHORITIES]]


def run(lab):
    for profile in (SERVER, *AGENTS):
        accepts_the_configuration(lab, profile)
    without_the_server(lab)
    with_the_server(lab)
    for profile in (SERVER, *AGENTS):
        was_started_right(lab, profile)
    a_stranger_is_turned_away(lab)


def url(node=NODES[SERVER]):
    return f"https://{node.address}:6443"


def starts(machine, kind):
    """The recorder's notes of the unit's starts."""
    return [call for call in notes(machine, K3S_CALLS) if call["argv"][1:] == [kind]]


def accepts_the_configuration(lab, profile):
    machine, kind = lab.node(profile), "server" if profile == SERVER else "agent"
    with lab.check(f"{profile}: k3s {kind} accepts every key of its config.yaml"):
        config = k3s_config.parse(machine.read(k3s_config.CONFIG))
        assert config, "empty"
        complaints = accepted.k3s_complaints(kind, config)
        assert not complaints, complaints


def without_the_server(lab):
    """The server goes away, and the agents start anew: as if they had been switched on first."""
    server = lab.node(SERVER)
    server.sudo("systemctl stop k3s.service")
    tried = {}
    for profile in AGENTS:
        machine = lab.node(profile)
        machine.sudo("systemctl restart k3s-agent.service")
        tried[profile] = len(notes(machine, K3S_TRIES))
    for profile in AGENTS:
        machine = lab.node(profile)
        lab.wait(f"{profile}: without a server it tries again and again",
                 lambda m=machine, n=tried[profile]: failed_tries(m, n) >= 3, 180)
        with lab.check(f"{profile}: meanwhile k3s-agent.service runs, was not restarted, and has not failed"):
            unit = machine.unit("k3s-agent.service", "ActiveState", "NRestarts")
            assert unit == {"ActiveState": "active", "NRestarts": "0"}, unit
        with lab.check(f"{profile}: it asks the right server for the right node"):
            last = notes(machine, K3S_TRIES)[-1]
            assert last["server"] == f"{NODES[SERVER].address}:6443", last
            assert last["node"] == NODES[profile].hostname, last


def failed_tries(machine, since):
    return sum(note["answer"].startswith("no server") for note in notes(machine, K3S_TRIES)[since:])


def with_the_server(lab):
    server = lab.node(SERVER)
    joined_before = len(notes(server, K3S_JOINS))
    with lab.check("master: k3s.service tells systemd that it is up"):
        server.sudo("systemctl start k3s.service")
        assert server.unit("k3s.service", "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    for profile in AGENTS:
        machine = lab.node(profile)
        lab.wait(f"{profile}: with the server it joins",
                 lambda m=machine: notes(m, K3S_TRIES)[-1]["answer"] == "joined", 120)
        with lab.check(f"{profile}: still the same process"):
            assert machine.unit("k3s-agent.service", "NRestarts")["NRestarts"] == "0"
        with lab.check(f"{profile}: the server knows it by its name, address, token and password"):
            node = NODES[profile]
            seen = [n for n in notes(server, K3S_JOINS)[joined_before:] if n["node"] == node.hostname]
            assert [n["answer"] for n in seen] == ["joined"], sorted({n["answer"] for n in seen})
            assert seen[0]["from"] == seen[0]["node_ip"] == node.address, seen[0]
            assert seen[0]["token"] == fingerprint(lab.full_token()), "another token"
            assert seen[0]["password"] == fingerprint(machine.read("/etc/rancher/node/password").strip())
    with lab.check("every node has a password of its own"):
        passwords = [lab.node(p).read("/etc/rancher/node/password") for p in (SERVER, *AGENTS)]
        assert len(set(passwords)) == len(passwords)


def was_started_right(lab, profile):
    machine, kind = lab.node(profile), "server" if profile == SERVER else "agent"
    with lab.check(f"{profile}: k3s {kind} is started without arguments, and nothing in its environment"):
        start = starts(machine, kind)[-1]
        assert start["argv"] == ["/usr/local/bin/k3s", kind] and start["uid"] == 0, start
        assert start["environment"] == {}, start["environment"]
        assert start["notify"] == (kind == "server"), start
    with lab.check(f"{profile}: node {NODES[profile].hostname} with address {NODES[profile].address} on eth0"):
        config = start["config"]
        assert config["node-name"] == NODES[profile].hostname and config["node-ip"] == NODES[profile].address, config
        assert config["flannel-iface"] == "eth0" and config["token"] == fingerprint(lab.full_token()), config
        assert config.get("server") == (None if kind == "server" else url()), config
    with lab.check(f"{profile}: only root can read its token and password"):
        assert set(start["files"].values()) == {"0o600"}, start["files"]
    with lab.check(f"{profile}: servers have the keys of the cluster, for root alone, and agents have none"):
        found = machine.sudo(f"cd {TLS} 2>/dev/null && stat -c '%a %u:%g %n' . *.key *.crt etcd etcd/*.key etcd/*.crt || true")
        assert sorted(found.splitlines()) == (sorted(KEYS) if kind == "server" else []), found
        assert kind == "agent" or machine.read(f"{TLS}/server-ca.crt").strip() == lab.keys()["server-ca"]["certificate"]
    with lab.check(f"{profile}: memory can be limited, the modules are loaded, the kernel settings are k3s'"):
        kernel = start["kernel"]
        assert kernel["cgroup_memory"] and all(kernel["modules"][m] for m in MODULES), kernel
        assert kernel["sysctls"] == SYSCTLS, kernel["sysctls"]
    lab.wait(f"{profile}: imgbuild-k3s.service reports the node as Ready", lambda: "Ready" in machine.status(), 600)


def a_stranger_is_turned_away(lab):
    """A node with another password under a known name: the server's rule, so the agent's only sign is its log."""
    profile = AGENTS[-1]
    machine = lab.node(profile)
    machine.sudo("cp -p /etc/rancher/node/password /root/password && echo 0123 >/etc/rancher/node/password"
                 " && systemctl restart k3s-agent.service")
    lab.wait(f"{profile}: with another password under the same name it is turned away, and keeps asking",
             lambda: notes(machine, K3S_TRIES)[-1]["answer"] == "node password rejected", 120)
    machine.sudo("mv /root/password /etc/rancher/node/password")
    lab.wait(f"{profile}: with its own password again it joins", lambda: notes(machine, K3S_TRIES)[-1]["answer"] == "joined", 120)
    with lab.check(f"{profile}: without a restart"):
        assert machine.unit("k3s-agent.service", "NRestarts", "ActiveState") == {"NRestarts": "0", "ActiveState": "active"}
