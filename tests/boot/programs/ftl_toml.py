"""Writes pihole.toml as FTL does: anew, beside the old one, and with the mode that the umask leaves."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from typing import Any


def dumps(values: dict[str, Any]) -> str:
    """Dotted keys and their values as TOML. A JSON value of these types is a TOML value."""
    return "# Pi-hole configuration file, written by FTL (a recorder)\n" + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in sorted(values.items()))


def write(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Replaces the file. FTL opens a new one like any program, so that it is 0666 without the bits of the umask."""
    new = path.with_name(path.name + ".tmp")
    new.unlink(missing_ok=True)
    new.write_text(dumps(values), encoding="utf-8")
    if os.geteuid() == 0:
        with contextlib.suppress(LookupError):   # before the installer has made the user
            shutil.chown(new, "pihole", "pihole")
    new.replace(path)
