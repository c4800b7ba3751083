"""A tailnet without the internet: headscale as its control server, a DERP relay, and a second member elsewhere.

    lab (router)     10.100.0.1 on br0, 172.31.203.1 (control server, relay) on lo, 198.51.100.1 towards elsewhere
    gateway          10.100.0.106, the node under test
    elsewhere        198.51.100.2, a namespace of its own: a laptop in a café

Between elsewhere and the LAN the router carries nothing but WireGuard's UDP to and from the gateway, so that what
else arrives went through the tunnel. The programs are those of `build-tailscale`. Everything runs in the network
namespace of the caller, who is root there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

# A private address: with a public one and plain HTTP, tailscaled takes a second connection within two minutes for a
# sign of a meddling proxy, insists on HTTPS at port 443, and every try that fails so starts the two minutes anew.
SERVER = "172.31.203.1"
HTTP_PORT = 8080
URL = f"http://{SERVER}:{HTTP_PORT}"
DERP_PORT = 8443
STUN_PORT = 3478
WIREGUARD_PORT = 41641

LAN = "10.100.0.0/24"
GATEWAY = "10.100.0.106"
ROUTER_AWAY = "198.51.100.1"
AWAY = "198.51.100.2"

# Says that a TCP server took the call, and the first line that it greets with. A program of its own because it
# runs in another namespace.
DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as s:
    print("connected", flush=True)
    s.settimeout(float(sys.argv[3]))
    print(s.makefile("rb").readline().decode(errors="replace").strip())
"""


def run(*command: str | pathlib.Path, check: bool = True, timeout: float = 60, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and keeps what it says."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, input=text, stdin=None if text else subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")
    return done


def until(happened: Callable[[], Any], what: str, timeout: float = 30) -> None:
    """Waits for something that takes a moment."""
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.2)


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ends a process that was started here."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ---------------------------------------------------------------------- the control server


@dataclasses.dataclass(frozen=True)
class Key:
    """A preauth key: what headscale calls it, and the secret itself."""

    id: int
    secret: str


class Tailnet:
    """headscale and a relay. `start` and `stop` are the control server coming and going; its state stays."""

    def __init__(self, workdir: pathlib.Path, programs: str | pathlib.Path, policy: dict[str, Any] | None = None) -> None:
        self.workdir, self.programs = workdir, pathlib.Path(programs)
        self.policy = policy
        self.headscale: subprocess.Popen[bytes] | None = None
        self.derper: subprocess.Popen[bytes] | None = None
        self.url = URL
        workdir.mkdir(parents=True, exist_ok=True)
        self.config = workdir / "headscale.json"

    # -- coming and going

    def start(self) -> None:
        """Starts the control server, and the relay if it does not run yet. Returns when both answer."""
        run("ip", "addr", "replace", f"{SERVER}/32", "dev", "lo")
        self._start_relay()
        self.config.write_text(json.dumps(self._settings(), indent=1))
        self.headscale = self._spawn("headscale", "serve", "--config", str(self.config))
        until(self._healthy, "headscale answers", 60)

    def stop(self) -> None:
        """The control server goes away; whoever is in the tailnet stays connected to the others."""
        end(self.headscale)
        self.headscale = None

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        end(self.derper)
        self.derper = None

    def _spawn(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        log = (self.workdir / f"{program}.log").open("ab")
        return subprocess.Popen([self.programs / program, *words], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                stdout=log, stderr=subprocess.STDOUT)

    def _healthy(self) -> bool:
        if self.headscale is None or self.headscale.poll() is not None:
            raise RuntimeError(f"headscale ended, see {self.workdir}/headscale.log")
        try:
            with urllib.request.urlopen(f"{URL}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _start_relay(self) -> None:
        """Clients insist on a relay that they reach by TLS. This one makes its own certificate, and the DERP map
        names that certificate by its hash, so that nobody has to be told to trust it."""
        if self.derper is not None:
            return
        self.derper = self._spawn("derper", "-a", f"{SERVER}:{DERP_PORT}", "-http-port=-1", "-stun-port", str(STUN_PORT),
                                  "-certmode=manual", f"-certdir={self.workdir}", f"-hostname={SERVER}", "-c", f"{self.workdir}/derper.json")
        certificate = self.workdir / f"{SERVER}.crt"
        until(lambda: certificate.exists() and certificate.read_text().strip().endswith("-----END CERTIFICATE-----"), "derper's certificate")
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        node = {"name": "900a", "regionid": 900, "hostname": SERVER, "ipv4": SERVER, "ipv6": "none", "derpport": DERP_PORT,
                "stunport": STUN_PORT, "certname": f"sha256-raw:{hashlib.sha256(der).hexdigest()}"}
        region = {"regionid": 900, "regioncode": "lab", "regionname": "lab", "nodes": [node]}
        # JSON is YAML, but for the key, which has to be a number. Go's YAML package wants its field names in lower case.
        (self.workdir / "derp.yaml").write_text(f"regions: {{900: {json.dumps(region)}}}\n")

    def _settings(self) -> dict[str, Any]:
        """headscale's configuration: nothing in it has a name or an address outside of the lab."""
        policy = self.workdir / "policy.json"
        if self.policy is not None:
            policy.write_text(json.dumps(self.policy))
        return {
            "server_url": URL, "listen_addr": f"{SERVER}:{HTTP_PORT}", "metrics_listen_addr": "", "grpc_listen_addr": "127.0.0.1:50443",
            "noise": {"private_key_path": f"{self.workdir}/noise.key"},
            "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
            "derp": {"server": {"enabled": False}, "urls": [], "paths": [f"{self.workdir}/derp.yaml"], "auto_update_enabled": False},
            "disable_check_updates": True,
            "database": {"type": "sqlite", "sqlite": {"path": f"{self.workdir}/headscale.db", "write_ahead_log": True}},
            "log": {"level": "info", "format": "text"},
            "policy": {"mode": "file", "path": str(policy) if self.policy is not None else ""},
            "dns": {"magic_dns": False, "base_domain": "tailnet.test", "override_local_dns": False, "nameservers": {"global": []}},
            "unix_socket": f"{self.workdir}/headscale.sock", "unix_socket_permission": "0700",
            "logtail": {"enabled": False},
        }

    # -- what its owner does

    def ask(self, *words: str) -> Any:
        """A headscale command, its answer parsed."""
        done = run(self.programs / "headscale", "--config", self.config, "--output", "json", *words)
        return json.loads(done.stdout or "null")

    def create_user(self, name: str) -> int:
        """The number of the user of that name, who is made if there is none."""
        there = {user["name"]: user["id"] for user in self.ask("users", "list") or []}
        return int(there.get(name) or self.ask("users", "create", name)["id"])

    def preauth_key(self, user: int, reusable: bool = False, expiration: str = "24h", tags: list[str] | None = None) -> Key:
        more = (["--reusable"] if reusable else []) + (["--tags", ",".join(tags)] if tags else [])
        made = self.ask("preauthkeys", "create", "--user", str(user), "--expiration", expiration, *more)
        return Key(int(made["id"]), made["key"])

    def expire_key(self, key: Key) -> None:
        self.ask("preauthkeys", "expire", "--id", str(key.id))

    def nodes(self) -> list[dict[str, Any]]:
        return self.ask("nodes", "list") or []

    def node(self, hostname: str) -> dict[str, Any] | None:
        """The member of that name, if it has joined."""
        return next((n for n in self.nodes() if n["name"] == hostname), None)

    def approve_routes(self, hostname: str, routes: list[str]) -> None:
        """The routes that a member may serve from now on; none takes all away."""
        node = self.node(hostname)
        if node is None:
            raise RuntimeError(f"{hostname} is not in the tailnet")
        self.ask("nodes", "approve-routes", "--identifier", str(node["id"]), "--routes", ",".join(routes))

    def forget(self, hostname: str) -> None:
        """Removes a member; if it was there."""
        if node := self.node(hostname):
            self.ask("nodes", "delete", "--identifier", str(node["id"]), "--force")


# ---------------------------------------------------------------------- networks


class Namespace:
    """Another computer's network, for as long as this object's process lives. No names in /run/netns: labs that
    run side by side would share them."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE)
        assert self.holder.stdout
        self.holder.stdout.readline()
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str | pathlib.Path, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return run(*self.enter, *command, check=check, timeout=timeout)

    def plug(self, here: str, there: str, address: str, router: str) -> None:
        """A cable: `here` is its end on our side, `there` its end in the namespace, with an address and a default route."""
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", str(self.holder.pid))
        run("ip", "link", "set", here, "up")
        self.run("ip", "addr", "add", address, "dev", there)
        self.run("ip", "link", "set", there, "up")
        self.run("ip", "route", "add", "default", "via", router)

    def greeting(self, address: str, port: int, timeout: float = 8) -> str:
        """The first line that the server at that address says, or nothing when it cannot be reached from here."""
        return dial(self.enter, address, port, timeout)[1]

    def connects(self, address: str, port: int, timeout: float = 8) -> bool:
        """Whether anybody takes a TCP connection there; he need not say anything."""
        return dial(self.enter, address, port, timeout)[0]

    def close(self) -> None:
        end(self.holder)


def go_elsewhere(gateway: str = GATEWAY) -> Namespace:
    """A network elsewhere. Our router lets it reach the control server, the relay, and the gateway's WireGuard port."""
    away = Namespace()
    run("ip", "link", "delete", "away", check=False)
    away.plug("away", "eth0", f"{AWAY}/24", ROUTER_AWAY)
    run("ip", "addr", "add", f"{ROUTER_AWAY}/24", "dev", "away")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # Only what comes from or goes to elsewhere is judged here: frames between the LAN's own nodes may pass by too.
    run("nft", "-f", "-", text=f"""
        table inet tailnet_lab
        delete table inet tailnet_lab
        table inet tailnet_lab {{
            chain forward {{
                type filter hook forward priority filter; policy accept;
                iifname "away" ip daddr {gateway} udp dport {WIREGUARD_PORT} counter accept
                oifname "away" ip saddr {gateway} udp sport {WIREGUARD_PORT} counter accept
                iifname "away" counter drop
                oifname "away" counter drop
            }}
            chain input {{
                type filter hook input priority filter; policy accept;
                iifname "away" ip daddr {SERVER} tcp dport {{ {HTTP_PORT}, {DERP_PORT} }} accept
                iifname "away" ip daddr {SERVER} udp dport {STUN_PORT} accept
                iifname "away" counter drop
            }}
        }}
    """)
    return away


# ---------------------------------------------------------------------- members


class Peer:
    """A tailscaled of this machine's architecture in a namespace."""

    def __init__(self, name: str, place: Namespace, workdir: pathlib.Path, programs: str | pathlib.Path) -> None:
        self.name, self.place, self.programs = name, place, pathlib.Path(programs)
        self.workdir = workdir / name
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.socket = self.workdir / "tailscaled.sock"
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts tailscaled, which joins nothing by itself."""
        # Reports to Tailscale's own log server would leave the lab, had it a way out.
        command = [*self.place.enter, self.programs / "tailscaled", f"--statedir={self.workdir}", f"--socket={self.socket}",
                   f"--port={WIREGUARD_PORT}", "--no-logs-no-support"]
        self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=(self.workdir / "tailscaled.log").open("ab"),
                                       stderr=subprocess.STDOUT)
        until(lambda: self.tailscale("status", "--json", check=False).returncode == 0, f"{self.name}'s tailscaled answers")

    def tailscale(self, *words: str, check: bool = True, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        return self.place.run(self.programs / "tailscale", f"--socket={self.socket}", *words, check=check, timeout=timeout)

    def status(self) -> dict[str, Any]:
        return json.loads(self.tailscale("status", "--json").stdout)

    def stop(self) -> None:
        end(self.daemon)
        self.daemon = None


class Member(Peer):
    """A second member of the tailnet, elsewhere, that uses the routes of others."""

    def __init__(self, workdir: pathlib.Path, programs: str | pathlib.Path, name: str = "laptop") -> None:
        super().__init__(name, go_elsewhere(), workdir, programs)

    def join(self, key: Key) -> None:
        self.start()
        self.tailscale("up", "--reset", f"--login-server={URL}", f"--auth-key={key.secret}", f"--hostname={self.name}",
                       "--accept-routes=true", "--accept-dns=false", "--timeout=60s")

    def path_to(self, hostname: str) -> str:
        """How this member talks to another one: an address and port when directly, nothing yet or by relay."""
        peers = self.status()["Peer"] or {}
        return next((p["CurAddr"] for p in peers.values() if p["HostName"] == hostname), "")

    def close(self) -> None:
        """Leaves: the daemon, its namespace, and our router's end of the cable."""
        self.stop()
        self.place.close()


def dial(enter: list[str], address: str, port: int, timeout: float = 8) -> tuple[bool, str]:
    """Whether a TCP server takes the call, and its greeting. `enter`: the words that lead into a namespace, [] for ours."""
    done = run(*enter, sys.executable, "-c", DIAL, address, str(port), str(timeout), check=False, timeout=3 * timeout + 20)
    lines = done.stdout.splitlines()
    return lines[:1] == ["connected"], lines[1] if len(lines) > 1 else ""
