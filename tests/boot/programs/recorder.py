"""What all recorders share: one line of JSON for every call, in which no secret can be read."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import time
from typing import Any

# For trying a recorder out without a machine of its own: every path is below this folder.
ROOT = pathlib.Path(os.environ.get("RECORDER_ROOT", "/"))

NOISE = {"PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "LOGNAME", "USER", "SHELL", "TERM", "LANG", "LANGUAGE", "_", "MAIL",
         "JOURNAL_STREAM", "INVOCATION_ID", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
         "NOTIFY_SOCKET", "MANAGERPID", "RECORDER_NAME", "RECORDER_ROOT"}


def at(path: str) -> pathlib.Path:
    """A path of the guest."""
    return ROOT / path.lstrip("/")


def fingerprint(secret: str) -> str:
    """How a secret is recorded."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def environment() -> dict[str, str]:
    """What somebody has set on purpose."""
    return {k: v for k, v in sorted(os.environ.items()) if k not in NOISE and not k.startswith(("LC_", "XDG_", "SSH_", "SUDO_"))}


def append(file: str, entry: dict[str, Any]) -> None:
    """Adds a line to a file that root and the service's own user both write to."""
    path = at(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"at": round(time.time(), 1)} | entry, ensure_ascii=False) + "\n"
    created = not path.exists()
    with path.open("a", encoding="utf-8") as out:
        out.write(line)
    if created:
        path.chmod(0o666)


def read_text(path: str) -> str | None:
    """A file's text, None when there is none."""
    try:
        return at(path).read_text(encoding="utf-8")
    except OSError:
        return None


def replace(path: str, text: str, mode: int) -> None:
    """Writes a file in one go."""
    target = at(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(target.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.replace(target)
