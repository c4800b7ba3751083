"""The home network of a lab: a switch, and a travel router with a little internet behind it.

All of it is in the network namespace that the lab runs in and vanishes with it. The router is the lab itself,
10.100.0.1; it also owns the addresses of the public resolvers that profiles name by default, and answers there.
"""

from __future__ import annotations

import pathlib
import socket
import struct
import subprocess
import threading
import time

ROUTER = "10.100.0.1"
PREFIX = 24
PUBLIC_RESOLVERS = ("1.1.1.1", "9.9.9.9", "149.112.112.112")
# Nobody answers here: what the nodes would download from has a name, but cannot be reached.
NOWHERE = "203.0.113.9"
BRIDGE = "br0"

NTP_EPOCH = 2208988800  # seconds from 1900 to 1970


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Lan:
    """The switch and the router."""

    def __init__(self, workdir: pathlib.Path) -> None:
        self.workdir = workdir
        self.dns: subprocess.Popen[bytes] | None = None
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{ROUTER}/{PREFIX}", "dev", BRIDGE)
        for address in PUBLIC_RESOLVERS:
            ip("addr", "add", f"{address}/32", "dev", "lo")
        ip("link", "set", BRIDGE, "up")
        # Like a router without an uplink: what has no route is refused at once.
        pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def plug(self, tap: str) -> None:
        """A port of the switch, for a machine."""
        ip("tuntap", "add", tap, "mode", "tap")
        ip("link", "set", tap, "master", BRIDGE)
        ip("link", "set", tap, "up")

    def start_dns(self) -> None:
        """A resolver that knows the time servers (here) and the download servers (nowhere), and blocks nothing."""
        names = {"pool.ntp.org": ROUTER, "github.com": NOWHERE, "deb.debian.org": NOWHERE,
                 "raw.githubusercontent.com": NOWHERE, "outside.example": "203.0.113.80"}
        listen = [word for a in (ROUTER, *PUBLIC_RESOLVERS) for word in ("--listen-address", a)]
        self.dns = subprocess.Popen(
            # --no-daemon: it would give up root's groups otherwise, which is forbidden in a user's own namespace.
            ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
             "--except-interface=lo", "--log-queries", f"--pid-file={self.workdir}/dns.pid", *listen,
             *(f"--address=/{name}/{address}" for name, address in names.items())],
            stdout=subprocess.DEVNULL, stderr=(self.workdir / "dns.log").open("wb"))

    def start_ntp(self) -> None:
        """An SNTP server (RFC 4330) that tells the time of this machine."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((ROUTER, 123))
        threading.Thread(target=_answer_ntp, args=(server,), daemon=True).start()

    def stop(self) -> None:
        if self.dns:
            self.dns.terminate()
            self.dns.wait(10)


def _answer_ntp(server: socket.socket) -> None:
    while True:
        request, client = server.recvfrom(512)
        if len(request) >= 48:
            server.sendto(_ntp_answer(request), client)


def _ntp_answer(request: bytes) -> bytes:
    """Version 4, mode 4 (server), stratum 1; the client's transmit time comes back as origin time."""
    now = time.time()
    stamp = struct.pack(">II", int(now) + NTP_EPOCH, int((now % 1) * 2**32))
    head = struct.pack(">BBbb", 4 << 3 | 4, 1, 6, -20) + struct.pack(">II4s", 0, 1 << 8, b"LOCL")
    return head + stamp + request[40:48] + stamp + stamp
