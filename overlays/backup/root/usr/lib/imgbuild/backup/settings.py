"""What the build has written for this node, and where things are."""

from __future__ import annotations

import os
import pathlib
import shlex
import tomllib
from dataclasses import dataclass

# Only tests set it.
ROOT = pathlib.Path(os.environ.get("IMGBUILD_ROOT", "/"))
ETC = ROOT / "etc/imgbuild"
STATE = ROOT / "var/lib/imgbuild"
PROGRAMS = ROOT / "usr/lib/imgbuild"

# The folder on the disk, beside the shared one.
FOLDER = "imgbuild-backup"


class Failed(Exception):
    """What went wrong, in words that may be shown to anybody."""


class Full(Failed):
    """The disk has no room left: nothing that follows would succeed."""


@dataclass(frozen=True)
class Settings:
    """/etc/imgbuild/backup.toml"""

    cluster: str
    node: str
    disk: pathlib.Path
    share: pathlib.Path
    share_to: str
    exclude: list[str]
    generations: int
    destination: str
    keep: dict[str, int]
    nodes: dict[str, str]


def load() -> Settings:
    """Reads the settings; they are the build's, so what is wrong with them is a bug."""
    values = tomllib.loads((ETC / "backup.toml").read_text())
    for key in ("disk", "share"):
        values[key] = ROOT / values[key].lstrip("/")
    return Settings(**values)


def environment() -> dict[str, str]:
    """What /etc/imgbuild/backup.env exports: the repository and its keys. Secret."""
    lines = (ETC / "backup.env").read_text().splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    values = dict(word.split("=", 1) for line in words for word in line[1:])
    password = values["RESTIC_PASSWORD_FILE"]
    values["RESTIC_PASSWORD_FILE"] = str(ROOT / password.lstrip("/"))
    return values


def notify() -> dict[str, str]:
    """Who is told of failures. Secret."""
    file = ETC / "backup.notify.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}


def secrets() -> set[str]:
    """All values that no message may hold."""
    found = set(notify().values())
    if (ETC / "backup.env").exists():
        values = environment()
        found |= {values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"]}
        found.add(pathlib.Path(values["RESTIC_PASSWORD_FILE"]).read_text().strip())
    return found - {""}


def masked(text: str) -> str:
    """The text without secrets."""
    for secret in sorted(secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
