"""What the real k3s and Pi-hole accept in their configuration, from the lists k3s-flags.json and pihole-keys.json.

The lists were written down from public sources, which they name. A key that is in them and of the right type is
one that the real program reads; that the program then does what imgbuild wants of it is not shown by that.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any


@functools.cache
def listed(name: str) -> dict[str, Any]:
    """One of the two lists. It lies beside this file, or with it in a recorder's archive."""
    data = pkgutil.get_data(__name__, name)
    assert data
    return json.loads(data)


# ------------------------------------------------------------------ k3s

DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+")


def is_bool(value: Any) -> bool:
    return value in (True, False, "true", "false")


def is_integer(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"-?\d+", str(value)) is not None


def is_plain(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


K3S_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": is_plain,
    "list": lambda value: all(map(is_plain, value)) if isinstance(value, list) else is_plain(value),
    "bool": is_bool,
    "int": is_integer,
    "duration": lambda value: DURATION.fullmatch(str(value)) is not None,
}


def unknown_k3s_keys(kind: str, config: dict[str, Any]) -> list[str]:
    """Keys that `k3s server` or `k3s agent` does not have."""
    return [key for key in config if key.removesuffix("+") not in listed("k3s-flags.json")[kind]]


def k3s_complaints(kind: str, config: dict[str, Any]) -> list[str]:
    """What `k3s server` or `k3s agent` would not accept in config.yaml."""
    flags, choices = listed("k3s-flags.json")[kind], listed("k3s-flags.json")["choices"]
    complaints = [f"{key}: k3s {kind} has no such key" for key in unknown_k3s_keys(kind, config)]
    for key, value in config.items():
        key = key.removesuffix("+")
        if key not in flags:
            continue
        if not K3S_TYPES[flags[key]](value):
            complaints.append(f"{key}: {value!r} is not of type {flags[key]}")
        elif key in choices:
            complaints += [f"{key}: {v!r} is none of {choices[key]}" for v in as_list(value) if v not in choices[key]]
    return complaints


def as_list(value: Any) -> list[Any]:
    """k3s takes a list, or one string with commas."""
    return value if isinstance(value, list) else str(value).split(",")


# ------------------------------------------------------------------ Pi-hole


def is_address(version: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            return value == "" or ipaddress.ip_address(value).version == version
        except ValueError:
            return False
    return check


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


PIHOLE_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "list": lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "unsigned": is_count,
    "port": lambda value: is_count(value) and value <= 65535,
    "float": lambda value: isinstance(value, float),
    "ipv4": is_address(4),
    "ipv6": is_address(6),
    "password": lambda value: False,   # FTL does not read it from the file
}


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a TOML document."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def pihole_complaint(key: str, value: Any) -> str | None:
    """Why FTL would pass over a key of pihole.toml, None when it takes it."""
    kind = listed("pihole-keys.json")["keys"].get(key)
    if kind is None:
        return f"{key}: FTL has no such key"
    if isinstance(kind, dict):
        return None if value in kind["choices"] else f"{key}: {value!r} is none of {kind['choices']}"
    return None if PIHOLE_TYPES[kind](value) else f"{key}: {value!r} is not of type {kind}"


def pihole_complaints(config: dict[str, Any]) -> list[str]:
    """What FTL would pass over in a pihole.toml."""
    return [complaint for key, value in flat(config) if (complaint := pihole_complaint(key, value))]
