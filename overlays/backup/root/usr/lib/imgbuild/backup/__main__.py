"""One backup: the state of all nodes to the share's disk, and from there to the bucket.

Run by imgbuild-backup.service. It ends with 3 when something is missing from the backup, after having said so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator

import disk
import generations
import offsite
import settings as config
import telling
from settings import Failed, Settings

UNFINISHED = config.STATE / "backup.unfinished"
# Not 1, with which Python ends by itself.
REPORTED = 3


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """Whether no other backup is at work."""
    folder = config.ROOT / "run/imgbuild"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "backup.lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def mark() -> None:
    """Leaves a sign for the next boot, in case the power goes."""
    config.STATE.mkdir(parents=True, exist_ok=True)
    UNFINISHED.touch()
    disk.sync_folder(config.STATE)


def back_up(settings: Settings) -> tuple[list[str], list[str]]:
    """Does all of it. Returns what was done, and what is wrong."""
    done: list[str] = []
    disk.enter(settings)
    name, problems = generations.make(settings)
    done.append(f"generation {name} of {len(settings.nodes)} node{'s' if len(settings.nodes) > 1 else ''}")
    if settings.destination != "none":
        try:
            done.append(offsite.send(settings, name))
        except Failed as failure:
            problems.append(f"bucket: {failure}")
    return done, problems


def run() -> int:
    settings = config.load()
    with alone() as first:
        if not first:
            print("another backup is at work")
            return 0
        mark()
        telling.report("running", "backing up")
        try:
            done, problems = back_up(settings)
        except Failed as failure:
            done, problems = [], [str(failure)]
        except (OSError, subprocess.SubprocessError) as error:
            traceback.print_exc()
            done, problems = [], [f"{type(error).__name__}: {error}"]
        if problems:
            telling.failed("; ".join(problems + done))
        else:
            telling.report("done", "; ".join(done))
        # A run that ended is over, well or not; the next night tries again.
        UNFINISHED.unlink(missing_ok=True)
        return REPORTED if problems else 0


def ended() -> int:
    """Behind the run: says what it could not say itself."""
    status = os.environ.get("EXIT_STATUS", "0")
    if os.environ.get("EXIT_CODE") == "exited" and status in ("0", str(REPORTED)):
        return 0
    if status in ("TERM", "INT", "HUP"):
        telling.report("waiting", "stopped half way; it goes on after the next boot")
        return 0
    telling.failed(f"the run ended with {os.environ.get('SERVICE_RESULT', 'an error')} {status} (journalctl -u imgbuild-backup)")
    UNFINISHED.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(ended() if sys.argv[1:] == ["--ended"] else run())
