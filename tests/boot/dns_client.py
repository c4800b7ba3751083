"""Asks a name server one question, from whatever address, and plays one for a test. UDP only; values of A, AAAA and PTR."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket
import struct
import threading

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "HTTPS": 65}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server said: the code, and the values of the asked type."""

    code: str
    values: tuple[str, ...] = ()


def ask(server: str, name: str, kind: str = "A", port: int = 53, source: str | None = None, timeout: float = 5) -> Answer | None:
    """The answer of a server, None when there is none. For a PTR question the name is an address."""
    if kind == "PTR":
        name = ipaddress.ip_address(name).reverse_pointer
    number = os.urandom(2)
    question = number + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + _encode(name) + struct.pack(">HH", TYPES[kind], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.sendto(question, (server, port))
        try:
            packet = sock.recv(4096)
        except (TimeoutError, ConnectionRefusedError):
            return None
    assert packet[:2] == number, "an answer to another question"
    return _read(packet, TYPES[kind])


def _encode(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """A name in a packet, and where it ends there (RFC 1035, 4.1.4)."""
    labels, end = [], None
    while packet[at]:
        if packet[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", packet, at)[0] & 0x3FFF
            continue
        labels.append(packet[at + 1:at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels), end or at + 1


def _read(packet: bytes, wanted: int) -> Answer:
    flags, questions, answers = struct.unpack_from(">HHH", packet, 2)
    at = 12
    for _ in range(questions):
        at = _name(packet, at)[1] + 4
    values = []
    for _ in range(answers):
        at = _name(packet, at)[1]
        kind, _, _, size = struct.unpack_from(">HHIH", packet, at)
        at += 10
        if kind == wanted:
            values.append(_name(packet, at)[0] if kind == TYPES["PTR"] else str(ipaddress.ip_address(packet[at:at + size])))
        at += size
    return Answer(RCODES.get(flags & 15, str(flags & 15)), tuple(values))


class Upstream:
    """A name server on the loopback that gives every name the same address and remembers what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = ipaddress.IPv4Address(address)
        self.asked: list[str] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            packet, client = self.socket.recvfrom(4096)
            name, end = _name(packet, 12)
            self.asked.append(name)
            record = struct.pack(">HHHIH", 0xC00C, TYPES["A"], 1, 60, 4) + self.address.packed
            is_a = struct.unpack_from(">H", packet, end)[0] == TYPES["A"]
            head = packet[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
            self.socket.sendto(head + packet[12:end + 4] + (record if is_a else b""), client)
