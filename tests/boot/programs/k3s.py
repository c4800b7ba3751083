"""k3s, a recorder: it is called like k3s, reads what k3s reads, and answers like k3s, but runs no containers.

Boot tests put it where a node's k3s would be, as the real one cannot be had where they run. Every call is a line in
/var/lib/k3s-recorder/calls.jsonl: arguments, environment, configuration, what the kernel offers. Secrets are recorded
as their SHA-256.

  k3s server   listens on port 6443, tells systemd READY=1, writes the files that others look for, and lets agents in
               or turns them away; every answer is a line in joins.jsonl
  k3s agent    asks the `server:` of its configuration again and again until it is let in; every try is a line in
               tries.jsonl. It never ends by itself, exactly like the real one (k3s-io/k3s, pkg/agent/run.go and
               pkg/agent/config/config.go): "Failed to validate connection to cluster" every 2 s while there is no
               server or the token is wrong, "Waiting to retrieve agent configuration" every 5 to 10 s while the
               node's password is rejected
  k3s kubectl  knows one question: whether a node is Ready, which here means that it was let in at least once

The rules are those of the real k3s:
  - An agent shows the agents' token (the servers' when there is no other one), bare or as K10<hash>::<user>:<token>.
    With the full form it first asks for the server's server-ca.crt, and shows its token only where the file has that
    SHA-256 (pkg/clientaccess/token.go).
  - A node shows the password of /etc/rancher/node/password, and makes 16 random bytes, as 32 hex digits in a file
    of mode 0600, when there is none. The server keeps the first password that it sees for a node's name and turns
    away every other one.
  - A key that k3s does not have is left out with a warning by a server, and the end of an agent.

What this does not prove: anything about TLS (agent and server talk JSON lines over plain TCP), containerd, flannel, the kubelet, or that the pinned release of k3s takes the configuration; for that
there are only the lists of accepted.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import secrets
import socket
import socketserver
import stat
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import accepted
import k3s_config
from recorder import append, at, environment, fingerprint, read_text, replace

NOTES = "/var/lib/k3s-recorder"
DATA = "/var/lib/rancher/k3s"
NODE_PASSWORD = "/etc/rancher/node/password"
KUBELET_CONFIG = f"{DATA}/agent/kubelet.kubeconfig"
NODE_PASSWORDS = f"{NOTES}/node-passwords.json"
PORT = int(os.environ.get("RECORDER_PORT", "6443"))
MODULES = ("br_netfilter", "overlay", "vxlan", "nf_conntrack")
SYSCTLS = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.bridge.bridge-nf-call-iptables",
           "net.bridge.bridge-nf-call-ip6tables", "fs.inotify.max_user_instances", "fs.inotify.max_user_watches")
SECRET_KEYS = {"token", "agent-token", "datastore-endpoint", "etcd-s3-secret-key", "vpn-auth"}
REJECTED = (f"Node password rejected, duplicate hostname or contents of '{NODE_PASSWORD}' may not match server node-passwd "
            "entry, try enabling a unique node name with the --with-node-id flag")


def say(level: str, message: str) -> None:
    print(f'level={level} msg="{message}"', file=sys.stderr, flush=True)


# ------------------------------------------------------------------ what is recorded of every call


def open_to_read(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without its secrets."""
    return {key: fingerprint(str(value)) if key in SECRET_KEYS else value for key, value in config.items()}


def mode_of(path: str) -> str | None:
    try:
        return oct(stat.S_IMODE(at(path).stat().st_mode))
    except OSError:
        return None


def kernel() -> dict[str, Any]:
    """What k3s and its kubelet need of the kernel."""
    controllers = (read_text("/sys/fs/cgroup/cgroup.controllers") or "").split()
    return {
        "cgroup_memory": "memory" in controllers,
        "modules": {name: at(f"/sys/module/{name}").exists() for name in MODULES},
        "sysctls": {name: (read_text("/proc/sys/" + name.replace(".", "/")) or "").strip() for name in SYSCTLS},
    }


def record(config: dict[str, Any] | None = None, **more: Any) -> None:
    password = read_text(NODE_PASSWORD)
    entry: dict[str, Any] = {"argv": [os.environ.get("RECORDER_NAME", "k3s"), *sys.argv[1:]], "environment": environment(),
                             "uid": os.getuid(), "notify": "NOTIFY_SOCKET" in os.environ}
    if config is not None:
        entry |= {
            "config": open_to_read(config),
            "files": {name: mode_of(name) for name in [*k3s_config.files(), NODE_PASSWORD]},
            "node_password": fingerprint(password.strip()) if password else None,
            "images": sorted(path.name for path in at(f"{DATA}/agent/images").glob("*")),
            "kernel": kernel(),
        }
    append(f"{NOTES}/calls.jsonl", entry | more)


# ------------------------------------------------------------------ what server and agent have in common


def configuration(kind: str) -> dict[str, Any]:
    """The node's configuration, or the end of the program where the real one would end."""
    try:
        config = k3s_config.load()
    except ValueError as error:
        sys.exit(f"k3s: {k3s_config.CONFIG}: {error}")
    unknown = accepted.unknown_k3s_keys(kind, config)
    record(config, complaints=accepted.k3s_complaints(kind, config))
    for key in unknown:
        if kind == "agent":
            sys.exit(f"Incorrect Usage: flag provided but not defined: -{key}")
        say("warning", f"Unknown flag --{key} found in config.yaml, skipping")
    return {key: value for key, value in config.items() if key not in unknown}


def node_name(config: dict[str, Any]) -> str:
    return str(config.get("node-name") or socket.gethostname()).lower()


def node_password() -> str:
    """The node's password, made when there is none."""
    if (text := read_text(NODE_PASSWORD)) is not None:
        return text.strip()
    password = secrets.token_hex(16)
    replace(NODE_PASSWORD, password + "\n", 0o600)
    return password


def bare_token(token: str) -> tuple[str | None, str]:
    """(user, password) of a token in either form; no user in the short form."""
    if not token.startswith("K10") or "::" not in token:
        return None, token
    user, _, password = token.split("::", 1)[1].partition(":")
    return user, password


def authority_of(token: str) -> str:
    """The hash in a full token; nothing in a short one, and in the one that a server shows to itself."""
    return token.split("::", 1)[0][3:] if token.startswith("K10") and "::" in token else ""


def ca_file() -> str:
    """What a server shows to everybody at /cacerts: its file, byte for byte."""
    return read_text(f"{DATA}/server/tls/server-ca.crt") or ""


def ca_hash(text: str) -> str:
    """Right for a file of one certificate; of a chain it is the root's, which nobody makes here."""
    return hashlib.sha256(text.encode()).hexdigest()


def ask(address: tuple[str, int], question: dict[str, Any]) -> dict[str, Any]:
    """One question to a server and its answer, a line of JSON each."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(json.dumps(question).encode() + b"\n")
        return json.loads(connection.makefile().readline())


def write_kubeconfig(path: str, host: str, port: int, mode: int) -> None:
    """JSON is YAML. No certificates: there are none."""
    text = json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [
        {"name": "local", "cluster": {"server": f"https://{host}:{port}"}}]})
    replace(path, text + "\n", mode)


# ------------------------------------------------------------------ k3s server


class Cluster:
    """What a server knows: its tokens, and the password of every node that has joined."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.server_token = bare_token(str(config.get("token") or secrets.token_hex(16)))[1]
        self.agent_token = bare_token(str(config["agent-token"]))[1] if "agent-token" in config else self.server_token
        self.passwords: dict[str, str] = json.loads(read_text(NODE_PASSWORDS) or "{}")
        self.lock = threading.Lock()

    def token_is_right(self, token: str) -> bool:
        user, password = bare_token(token)
        return password == (self.server_token if user == "server" else self.agent_token)

    def answer(self, question: dict[str, Any], client: str) -> dict[str, Any]:
        with self.lock:
            if question.get("question") == "ready":
                return {"ready": question["node"] in self.passwords}
            if question.get("question") == "cacerts":
                return {"cacerts": ca_file()}
            return self.join(question, client)

    def join(self, question: dict[str, Any], client: str) -> dict[str, Any]:
        node, password = question["node"], fingerprint(question["password"])
        if not self.token_is_right(question["token"]):
            verdict = "wrong token"
        elif self.passwords.setdefault(node, password) != password:
            verdict = "node password rejected"
        else:
            verdict = "joined"
            replace(NODE_PASSWORDS, json.dumps(self.passwords), 0o600)
        append(f"{NOTES}/joins.jsonl", {"node": node, "from": client, "token": fingerprint(question["token"]),
                                        "password": password, "node_ip": question["node_ip"], "answer": verdict})
        return {"answer": verdict}


def tell_systemd(message: str) -> None:
    """sd_notify(3)."""
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + name[1:] if name.startswith("@") else name)
            sock.sendall(message.encode())


def write_server_files(cluster: Cluster, config: dict[str, Any]) -> None:
    """The files of a server that other programs, and people, look for."""
    shown = ca_hash(ca_file())
    replace(f"{DATA}/server/token", f"K10{shown}::server:{cluster.server_token}\n", 0o600)
    replace(f"{DATA}/server/node-token", f"K10{shown}::server:{cluster.server_token}\n", 0o600)
    replace(f"{DATA}/server/agent-token", f"K10{shown}::node:{cluster.agent_token}\n", 0o600)
    write_kubeconfig("/etc/rancher/k3s/k3s.yaml", "127.0.0.1", PORT, int(str(config.get("write-kubeconfig-mode", "600")), 8))


def server() -> None:
    config = configuration("server")
    cluster = Cluster(config)
    write_server_files(cluster, config)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                answer = cluster.answer(json.loads(self.rfile.readline(65536)), self.client_address[0])
            except (ValueError, KeyError, TypeError):
                return   # a port scan, or a browser
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((str(config.get("bind-address", "")), int(config.get("https-listen-port", PORT))), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        # A server is a node, too.
        become_node(("127.0.0.1", listener.server_address[1]), config, cluster.server_token, user="server")
        say("info", "k3s is up and running")
        tell_systemd("READY=1")
        threading.Event().wait()


# ------------------------------------------------------------------ k3s agent


def server_address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        sys.exit(f"k3s: server: {url!r} is not an https URL")
    return parts.hostname, parts.port or 443


def become_node(address: tuple[str, int], config: dict[str, Any], token: str, user: str | None = None) -> None:
    """Tries until the server lets this node in."""
    question = {"question": "join", "node": node_name(config), "node_ip": config.get("node-ip"),
                "token": f"K10::{user}:{token}" if user else token}
    while True:
        try:
            question["password"] = node_password()
            expected = authority_of(token)
            if expected and ca_hash(ask(address, {"question": "cacerts"})["cacerts"]) != expected:
                answer = "token CA hash does not match the Cluster CA certificate hash"
            else:
                answer = ask(address, question)["answer"]
        except (OSError, ValueError) as error:
            answer = f"no server: {error}"
        append(f"{NOTES}/tries.jsonl", {"server": f"{address[0]}:{address[1]}", "node": question["node"], "answer": answer})
        if answer == "joined":
            break
        if answer == "node password rejected":
            say("info", f"Waiting to retrieve agent configuration; server is not ready: {REJECTED}")
            time.sleep(5 + random.uniform(0, 5))
        else:
            say("error", f"Failed to validate connection to cluster at {config.get('server')}: {answer}")
            time.sleep(2)
    write_kubeconfig(KUBELET_CONFIG, *address, 0o600)


def agent() -> None:
    config = configuration("agent")
    for needed in ("server", "token"):
        if not config.get(needed):
            sys.exit(f"k3s: --{needed} is required")
    become_node(server_address(str(config["server"])), config, str(config["token"]))
    say("info", "Running kubelet")
    threading.Event().wait()


# ------------------------------------------------------------------ k3s kubectl


def kubectl(words: list[str]) -> int:
    """`get node NAME`, and what -o jsonpath would print of its condition Ready."""
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml"))
    parser.add_argument("--request-timeout")
    parser.add_argument("-o", "--output")
    parser.add_argument("words", nargs="+")
    options = parser.parse_args(words)
    record()
    if options.words[:2] not in (["get", "node"], ["get", "nodes"]) or len(options.words) != 3:
        sys.exit(f"kubectl: this recorder does not know {options.words}")
    text = read_text(options.kubeconfig)
    if text is None:
        sys.exit(f"error: stat {options.kubeconfig}: no such file or directory")
    url = json.loads(text)["clusters"][0]["cluster"]["server"]
    try:
        ready = ask(server_address(url), {"question": "ready", "node": options.words[2]})["ready"]
    except (OSError, ValueError) as error:
        sys.exit(f"The connection to the server {url} was refused: {error}")
    print("True" if ready else "Unknown", end="")
    return 0


def main() -> None:
    called_as = os.path.basename(os.environ.get("RECORDER_NAME", "k3s"))
    words = sys.argv[1:]
    if called_as == "kubectl":
        sys.exit(kubectl(words))
    match words[:1]:
        case ["server"]:
            server()
        case ["agent"]:
            agent()
        case ["kubectl"]:
            sys.exit(kubectl(words[1:]))
        case ["--version"] | ["-v"]:
            print("k3s version recorder")
        case _:
            record()
            sys.exit(f"k3s: this recorder does not know {words}")


main()
