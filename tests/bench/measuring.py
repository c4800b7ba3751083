"""Runs commands and says what they cost: wall time, processor time, peak memory."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

POLL_SECONDS = 0.02


class Failed(Exception):
    """A command ended with an error. The text is the end of what it said."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run: seconds of wall time, of user and of system time; bytes of memory."""

    wall: float
    user: float
    system: float
    memory: int

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def times(self, factor: int) -> Sample:
        """As long as `factor` runs one after the other would take."""
        return Sample(self.wall * factor, self.user * factor, self.system * factor, self.memory)


@dataclasses.dataclass
class Contestant:
    """One side of a comparison. `command` is a list of words, or a line for bash. What it `makes` is removed before every
    run and in the end. Not timed are `prepare`, once, `before`, before every run, and `after`, which judges what the last run
    has left, and returns the size of it where that is of interest. `limit` bounds the runs of what takes very long."""

    id: str
    name: str
    command: list[str] | str
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    makes: tuple[pathlib.Path, ...] = ()
    before: Callable[[], object] = lambda: None
    after: Callable[[], int | None] = lambda: None
    prepare: Callable[[], object] = lambda: None
    limit: int | None = None
    factor: int = 1
    ours: bool = False
    skip: str | None = None


@dataclasses.dataclass
class Row:
    """What came of a contestant. `size`: bytes of what it made, where that is of interest."""

    id: str
    name: str
    ours: bool
    command: str
    samples: list[Sample]
    size: int | None = None
    skipped: str | None = None

    def median(self, what: str) -> float | None:
        """The median of `wall`, `cpu` or `memory`; None without a run."""
        return statistics.median(getattr(s, what) for s in self.samples) if self.samples else None

    def spread(self, what: str) -> tuple[float, float]:
        values = [getattr(s, what) for s in self.samples]
        return min(values), max(values)


def shown(command: list[str] | str) -> str:
    """A command as a line to read."""
    return command if isinstance(command, str) else shlex.join(command)


# ------------------------------------------------------------------ one run


def run(command: list[str] | str, env: Mapping[str, str], log: pathlib.Path) -> Sample:
    """Runs a command to its end. Processor time is that of all processes it has waited for, so a pipeline belongs into
    one line for bash, which waits for all of its members (rusage of wait4)."""
    words = ["bash", "-c", f"set -euo pipefail\n{command}"] if isinstance(command, str) else command
    with log.open("wb") as said:
        begun = time.monotonic()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, **env})
        watch = MemoryWatch(process.pid)
        watch.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            wall = time.monotonic() - begun
            watch.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"exit code {process.returncode}: {log.read_text(errors='replace').strip()[-600:]}")
    return Sample(wall, used.ru_utime, used.ru_stime, peak(watch.peak, used.ru_maxrss * 1024))


def peak(watched: int, largest: int) -> int:
    """`watched`: the largest sum over the processes that was seen, 0 when it all was over too soon. `largest`: what the
    kernel says of the largest single process, which is worth nothing as long as it is not above our own size: a child begins
    its life as a copy of us."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(watched, largest if largest > own else 0)


class MemoryWatch(threading.Thread):
    """Looks at a process and its descendants every POLL_SECONDS and keeps the largest sum of their memory."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0
        self.ended = threading.Event()

    def run(self) -> None:
        # Not at once: before its exec the child still shows our own memory.
        while not self.ended.wait(POLL_SECONDS):
            self.peak = max(self.peak, sum(high_water(pid) for pid in tree(self.pid)))

    def stop(self) -> None:
        self.ended.set()
        self.join()


def tree(pid: int) -> list[int]:
    """A process and its descendants, as far as they are still there."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(p for child in children for p in tree(int(child)))]


def high_water(pid: int) -> int:
    """The most memory that a process has had so far, in bytes; 0 when it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


# ------------------------------------------------------------------ side by side


def side_by_side(contestants: list[Contestant], runs: int, log: pathlib.Path) -> list[Row]:
    """Runs the contestants in turn (A, B, A, B, …), so that whatever the machine does besides hits all of them."""
    rows = [Row(c.id, c.name, c.ours, shown(c.command), [], skipped=c.skip) for c in contestants]
    for turn in range(runs):
        for contestant, row in zip(contestants, rows, strict=True):
            last = min(contestant.limit or runs, runs) - 1
            if row.skipped is not None or turn > last:
                continue
            try:
                if turn == 0:
                    contestant.prepare()
                one_run(contestant, row, log)
                if turn == last:
                    row.size = contestant.after()
            except Failed as error:
                row.skipped = f"failed: {error}"
                row.samples.clear()
                say(f"    {contestant.name}: {row.skipped}")
            if turn == last:
                wipe(*contestant.makes)
    return rows


def one_run(contestant: Contestant, row: Row, log: pathlib.Path) -> None:
    wipe(*contestant.makes)
    contestant.before()
    # What earlier runs have written is on the disk before the next one begins.
    os.sync()
    sample = run(contestant.command, contestant.env, log)
    row.samples.append(sample.times(contestant.factor))
    say(f"    {contestant.name}: {sample.wall:.2f} s wall, {sample.cpu:.2f} s CPU, {sample.memory / 1e6:.0f} MB")


def wipe(*paths: pathlib.Path) -> None:
    """Removes files and folders that may be there."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def say(text: str) -> None:
    """Progress, which is not a result."""
    print(text, file=sys.stderr, flush=True)


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How much of theirs ours is; None when one of them is missing or theirs is nothing."""
    return None if ours is None or not theirs else ours / theirs
