"""Reads k3s' configuration the way k3s does: config.yaml, then config.yaml.d/*.yaml in the order of their names.

Of YAML only what imgbuild writes: a key on a line of its own with a scalar or a flow list, or a block list below
it. Anything else is an error.
"""

from __future__ import annotations

import json
import re
from typing import Any

from recorder import at

CONFIG = "/etc/rancher/k3s/config.yaml"
PLAIN = re.compile(r"[A-Za-z0-9./_:@=*+-][^#\[\]{},\"']*")


def scalar(text: str) -> Any:
    """A YAML scalar or flow list. In double quotes, and as lists, YAML and JSON are the same."""
    if text[0] in "\"[":
        return json.loads(text)
    if re.fullmatch(r"'([^']|'')*'", text):
        return text[1:-1].replace("''", "'")
    if not PLAIN.fullmatch(text):
        raise ValueError(f"not understood: {text!r}")
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9]\d*)", text) else text


def parse(text: str) -> dict[str, Any]:
    """One file."""
    config: dict[str, Any] = {}
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := re.fullmatch(r"\s+- (.+?)\s*", line):
            if not isinstance(config.get(key), list):
                raise ValueError(f"line {number}: an item without a list")
            config[key].append(scalar(match[1]))
        elif match := re.fullmatch(r"([a-z0-9-]+\+?):(?: +(.+?))?\s*", line):
            key = match[1]
            if key in config:
                raise ValueError(f"line {number}: {key} is there twice")
            config[key] = scalar(match[2]) if match[2] else []
        else:
            raise ValueError(f"line {number} is not understood: {line!r}")
    return config


def merge(config: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """What a later file says takes the place of what is there; `key+` adds to it."""
    merged = dict(config)
    for key, value in more.items():
        name = key.removesuffix("+")
        if key != name and name in merged:
            merged[name] = _list(merged[name]) + _list(value)
        else:
            merged[name] = value
    return merged


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def files() -> list[str]:
    """The files that are there."""
    parts = sorted(f"{CONFIG}.d/{path.name}" for path in at(f"{CONFIG}.d").glob("*.yaml"))
    return ([CONFIG] if at(CONFIG).exists() else []) + parts


def load() -> dict[str, Any]:
    """All files together."""
    config: dict[str, Any] = {}
    for name in files():
        config = merge(config, parse(at(name).read_text(encoding="utf-8")))
    return config
