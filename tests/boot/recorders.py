"""What scenarios know of the recorders in programs/: their notes, their rules, and how a secret looks in the notes."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
sys.path.insert(0, str(PROGRAMS))

import accepted  # noqa: E402
import ftl_dnsmasq  # noqa: E402
import ftl_toml  # noqa: E402
import k3s_config  # noqa: E402
from recorder import fingerprint  # noqa: E402

__all__ = ["K3S_CALLS", "K3S_JOINS", "K3S_TRIES", "PIHOLE_CALLS", "PROGRAMS", "accepted", "fingerprint", "ftl_dnsmasq", "ftl_toml", "k3s_config", "notes"]

K3S_CALLS = "/var/lib/k3s-recorder/calls.jsonl"
K3S_TRIES = "/var/lib/k3s-recorder/tries.jsonl"
K3S_JOINS = "/var/lib/k3s-recorder/joins.jsonl"
PIHOLE_CALLS = "/var/lib/pihole-recorder/calls.jsonl"


def notes(machine: Any, file: str) -> list[dict[str, Any]]:
    """What a recorder has noted so far."""
    return [json.loads(line) for line in machine.sudo(f"cat {file} 2>/dev/null || true").splitlines()]
