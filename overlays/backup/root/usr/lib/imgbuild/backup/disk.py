"""The disk of the share: present, or there is no backup. Nothing of it may land on the card."""

from __future__ import annotations

import os
import shutil
import subprocess

from settings import FOLDER, Failed, Settings

# Part of the disk that is left free, since a full one stops the share as well.
RESERVE = 0.03
# What a folder that is being deleted ends with.
DELETING = ".deleting"


def enter(settings: Settings) -> None:
    """Makes the folder of the backups the working directory. From then on all paths are relative: wherever the mount goes,
    they stay on the disk."""
    if not os.path.ismount(settings.disk):
        raise Failed(f"the disk of the share is not mounted at {settings.disk}: nothing was backed up")
    folder = settings.disk / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chdir(folder)
    if os.stat(".").st_dev != os.stat(settings.disk).st_dev:
        raise Failed(f"{folder} is not on the disk of the share: nothing was backed up")
    os.chown(".", 0, 0)
    os.chmod(".", 0o700)


def free() -> int:
    """Bytes that a backup may still take."""
    usage = shutil.disk_usage(".")
    return int(usage.free - usage.total * RESERVE)


def sync() -> None:
    """Waits until all of the disk's file system is on the disk."""
    subprocess.run(["sync", "--file-system", "."], check=True)


def sync_folder(folder: str | os.PathLike[str] = ".") -> None:
    """Waits until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(name: str) -> None:
    """Deletes a folder. One that is half gone has a name that says so, and goes the next time."""
    doomed = name if name.endswith(DELETING) else f"{name}{DELETING}"
    if name != doomed:
        os.rename(name, doomed)
    shutil.rmtree(doomed)
