"""Generations: a folder for each backup, in which files that did not change are hard links to those of the one before.

    2026-11-25T023107Z/             a whole one
        generation.json             when it was made, and of when each node's state is
        bondsmith/files/etc/...     files of a node, below their paths
        bondsmith/databases/...     whole copies of its databases
        share/                      files of the share
    2026-11-26T023052Z.partial/     one that is being made, or was cut off
    latest -> 2026-11-25T023107Z

A generation gets its name when all of it is on the disk, so there is no half one under a whole one's name. What was cut off
serves the next run, which links to its files too. It does not go on in the same folder: rsync would change modes and times of
files that older generations share.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import disk
from settings import ETC, PROGRAMS, Failed, Full, Settings

NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")
FORMAT = "%Y-%m-%dT%H%M%SZ"
LATEST = "latest"
PARTIAL, DELETING = ".partial", disk.DELETING
SHARE = "share"

# Of rsync: nothing to worry about; some files were not copied, the others were.
VANISHED = 24
SOME_FAILED = 23
# What rsync itself takes at the most is 20.
MOST_LINK_DESTS = 5

# The state of all files but the names: owners by number, links, ACLs and attributes.
# Times are compared to the nanosecond: a database may change twice in a second and keep its size.
RSYNC = ["rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", "--timeout=600"]

CONNECT_SECONDS = 15
PREPARE_SECONDS = 1800
SSH = ["ssh", "-F", "none", "-i", str(ETC / "backup.key"), "-o", f"UserKnownHostsFile={ETC / 'backup.known_hosts'}",
       *(word for option in ("GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "HostKeyAlgorithms=ssh-ed25519", "BatchMode=yes",
                             "IdentitiesOnly=yes", "LogLevel=ERROR", f"ConnectTimeout={CONNECT_SECONDS}", "ServerAliveInterval=15",
                             "ServerAliveCountMax=4") for word in ("-o", option))]


class Incomplete(Exception):
    """Some of the files were copied."""


def whole() -> list[str]:
    """Names of the generations, oldest first."""
    return sorted(name for name in os.listdir(".") if NAME.fullmatch(name))


def left_over(ending: str) -> list[str]:
    """Folders that a run which was cut off has left, oldest first."""
    return sorted(name for name in os.listdir(".") if name.endswith(ending))


def new_name(taken: list[str]) -> str:
    """The time, or a second after the last name where the clock is behind it: a Pi may not know the time."""
    now = datetime.datetime.now(datetime.timezone.utc)
    if taken:
        last = datetime.datetime.strptime(max(taken), FORMAT).replace(tzinfo=datetime.timezone.utc)
        now = max(now, last + datetime.timedelta(seconds=1))
    return now.strftime(FORMAT)


def point_latest(name: str) -> None:
    """Lets `latest` be `name`, in one step."""
    if os.path.islink(LATEST) and os.readlink(LATEST) == name:
        return
    with_new = f"{LATEST}.new"
    if os.path.lexists(with_new):
        os.unlink(with_new)
    os.symlink(name, with_new)
    os.replace(with_new, LATEST)
    disk.sync_folder()


def tidy() -> list[str]:
    """Brings in order what a cut has left; returns the whole generations."""
    for name in left_over(DELETING):
        disk.remove(name)
    for name in left_over(PARTIAL)[:-MOST_LINK_DESTS + 1]:
        disk.remove(name)
    existing = whole()
    if existing:
        point_latest(existing[-1])
    return existing


def links(sources: list[str], part: str) -> Iterator[str]:
    """Arguments for rsync: where files that did not change are. Paths are relative to the folder that is filled."""
    up = "../" * (part.count("/") + 2)
    for source in sources:
        if os.path.isdir(f"{source}/{part}"):
            yield f"--link-dest={up}{source}/{part}"


def rsync(words: list[str], command: list[str] = RSYNC) -> str:
    """Runs rsync; returns what it prints."""
    done = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode in (0, VANISHED):
        return done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("rsync error: some files")]
    why = lines[0] if lines else f"rsync ended with {done.returncode}"
    if "No space left on device" in done.stderr:
        raise Full("the disk of the share is full: remove files, or lower backup.generations")
    if done.returncode == SOME_FAILED:
        raise Incomplete(why)
    raise Failed(why)


class Source:
    """A node whose state is collected: this one, or another one by SSH."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        local = [str(PROGRAMS / "backup-source"), "--local"]
        self.shell = [*SSH, "-l", "root"] if address else local
        self.address = address or "localhost"

    def request(self, what: str) -> None:
        """Asks the node to do something before or after the transfer."""
        try:
            done = subprocess.run([*self.shell, self.address, what], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  timeout=PREPARE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"no answer for {PREPARE_SECONDS // 60} minutes") from None
        if done.returncode:
            raise Failed(why_refused(done.stderr) or f"`{what}` ended with {done.returncode}")

    def copy(self, target: str, sources: list[str]) -> None:
        """Copies the state of the node into `target`/`name`."""
        self.request("prepare")
        problems = []
        try:
            for module in ("databases", "files"):
                part = f"{self.name}/{module}"
                os.makedirs(f"{target}/{part}")
                try:
                    rsync([*links(sources, part), "-e", " ".join(self.shell), f"{self.address}::{module}/", f"{target}/{part}/"])
                except Incomplete as incomplete:
                    problems.append(str(incomplete))
        finally:
            # What is left there is removed the next time.
            with contextlib.suppress(Failed):
                self.request("clean")
        if problems:
            raise Incomplete(problems[0])


def why_refused(said: str) -> str:
    """SSH's errors in words of the cluster."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said or "Host key verification failed" in said:
        return "its SSH host key is not the one of the build: flash it with the same secrets.host_key_seed"
    if "Permission denied" in said:
        return "it does not let the backup in: flash it with the same secrets.host_key_seed"
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def carry(name: str, target: str, sources: list[str]) -> str:
    """Keeps what the last generation has of a node that could not be copied; says of when that is."""
    shutil.rmtree(f"{target}/{name}", ignore_errors=True)
    for source in sources:
        if NAME.fullmatch(source) and os.path.isdir(f"{source}/{name}"):
            subprocess.run(["cp", "-al", f"{source}/{name}", f"{target}/{name}"], check=True, capture_output=True)
            return facts(source).get("nodes", {}).get(name, source)
    return ""


def facts(name: str) -> dict[str, object]:
    """What a generation says of itself."""
    try:
        with open(f"{name}/generation.json", encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def copy_share(settings: Settings, target: str, sources: list[str]) -> None:
    """Copies the share, if the disk has room for it: a full disk would stop the share itself."""
    if not settings.share.is_dir():
        raise Failed(f"there is no folder {settings.share}")
    os.makedirs(f"{target}/{SHARE}")
    words = [*(f"--exclude=/{name}" for name in settings.exclude), *links(sources, SHARE), f"{settings.share}/", f"{target}/{SHARE}/"]
    # Without attributes: rsync 3.5 looks for those in folders that a dry run does not make.
    stats = rsync(["--stats", "--no-human-readable", *words], ["rsync", "-a", "--modify-window=-1", "--dry-run"])
    found = re.search(r"Total transferred file size: ([\d,.]+)", stats)
    needed = int(re.sub(r"\D", "", found[1])) if found else 0
    if needed > disk.free():
        raise Failed(f"a copy of the share needs {gib(needed)} and the disk can spare {gib(max(0, disk.free()))}: "
                     "set backup.share to offsite or none, or list folders in backup.share_exclude")
    rsync(words)


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def make(settings: Settings) -> tuple[str, list[str]]:
    """Makes a generation. Returns its name, and what is wrong with it."""
    existing = tidy()
    cut_off = left_over(PARTIAL)
    sources = existing[-1:] + cut_off[::-1]
    name = new_name(existing + [other for other in (part.removesuffix(PARTIAL) for part in cut_off) if NAME.fullmatch(other)])
    target = f"{name}{PARTIAL}"
    os.mkdir(target, 0o700)
    problems: list[str] = []
    times: dict[str, str] = {}
    try:
        fill(settings, target, sources, name, times, problems)
    except Full:
        # The share needs the room, and there is nothing to go on with.
        disk.remove(target)
        raise
    with open(f"{target}/generation.json", "w", encoding="utf-8") as file:
        json.dump({"cluster": settings.cluster, "made": name, "nodes": times, "problems": problems}, file, indent=1)
    disk.sync()
    disk.still_there(settings)
    os.rename(target, name)
    disk.sync_folder()
    point_latest(name)
    for old in cut_off + whole()[: -settings.generations]:
        disk.remove(old)
    return name, problems


def fill(settings: Settings, target: str, sources: list[str], name: str, times: dict[str, str], problems: list[str]) -> None:
    """Copies everything into `target`. What one node lacks does not stop the others."""
    for node, address in settings.nodes.items():
        try:
            Source(node, address).copy(target, sources)
            times[node] = name
        except Incomplete as incomplete:
            times[node] = name
            problems.append(f"{node}: not all files could be copied ({incomplete})")
        except Full:
            raise
        except Failed as failure:
            problems.append(f"{node}: {failure}{keep(node, target, sources, times)}")
    if settings.share_to == "both":
        try:
            copy_share(settings, target, sources)
        except Incomplete as incomplete:
            problems.append(f"share: not all files could be copied ({incomplete})")
        except Full:
            raise
        except Failed as failure:
            problems.append(f"share: {failure}{keep(SHARE, target, sources, times)}")


def keep(part: str, target: str, sources: list[str], times: dict[str, str]) -> str:
    """Carries a part over; says so."""
    since = carry(part, target, sources)
    if not since:
        return ""
    times[part] = since
    return f" (its state of {since} is kept)"
