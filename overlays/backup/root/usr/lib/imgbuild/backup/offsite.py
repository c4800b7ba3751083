"""The bucket, by restic: encrypted on this node, with versions of its own."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess

import disk
import generations
import settings as config
from settings import Failed, Settings

# A wrong key is answered at once, but restic asks again and again before it says so.
ACCESS_SECONDS = 120
TAG, SHARE_TAG = "imgbuild", "imgbuild-share"
MAINTAINED = "maintained"
CACHE, TMP = "cache", "tmp"

# Exit codes since restic 0.17; before that all is 1.
NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 10, 11, 12
# Of `restic backup`: the snapshot is there, and some files are not in it.
SOME_UNREAD = 3

# What is in restic's errors, and what it means here; the first that fits.
MEANINGS = [
    ("wrong password or no key found", "the repository in the bucket was made with another secrets.restic_password"),
    ("RequestTimeTooSkewed|request time and the current time is too large", "the node's clock is wrong, so the server refuses its requests"),
    # restic begins with a HEAD, whose answer has no words: "403" is all it gets to know.
    ("InvalidAccessKeyId|SignatureDoesNotMatch|signature we calculated|AccessDenied|Access Denied|not entitled|unauthorized|403 Forbidden",
     "the server refuses the key: check secrets.b2_key_id and secrets.b2_application_key, and that the key may read, write, list and delete in the bucket"),
    ("cap exceeded", "the account's cap at Backblaze is reached: raise it, or remove files"),
    ("NoSuchBucket|bucket does not exist|InvalidBucketName", "there is no such bucket: check backup.bucket and backup.endpoint"),
    ("no space left on device", "the disk of the share is full"),
    ("already locked", "another restic is at work in the repository: see `restic list locks`, and `restic unlock` if none is"),
    ("x509|certificate", "the certificate of the endpoint is not trusted"),
    ("no such host|server misbehaving|connection refused|network is unreachable|no route to host|i/o timeout|timeout|EOF|connection reset",
     "the endpoint could not be reached"),
]
# Of restic's errors, at the end, what goes to the journal.
LOGGED = 4000
MISSING = "does not exist|NoSuchKey"


class Restic:
    """restic with the repository and keys of this node."""

    def __init__(self, node: str) -> None:
        self.node = node
        for folder in (CACHE, TMP):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        here = pathlib.Path.cwd()
        # Nothing goes to the card: neither restic's cache nor the packs it puts together. GOGC halves its memory.
        self.environment = {**os.environ, **config.environment(), "RESTIC_CACHE_DIR": str(here / CACHE), "TMPDIR": str(here / TMP), "GOGC": "20",
                            "RESTIC_PROGRESS_FPS": "0.01"}
        self.patience = ["--retry-lock", "30m"] if self.version() >= (0, 16) else []

    def version(self) -> tuple[int, ...]:
        try:
            said = subprocess.run(["restic", "version"], capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            raise Failed("restic is not installed: apt install restic") from None
        return tuple(int(part) for part in re.findall(r"\d+", said)[:2])

    def run(self, *words: str, seconds: float | None = None, folder: str = ".") -> subprocess.CompletedProcess[str]:
        """Runs restic without judging how it ends. Past its time it counts as failed with what it said so far."""
        command = ["restic", "--cleanup-cache", *self.patience, *words]
        with subprocess.Popen(command, cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace") as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"\ntimeout: no answer within {seconds:.0f} seconds"
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def must(self, what: str, *words: str, folder: str = ".") -> str:
        """Runs restic; returns what it prints."""
        done = self.run(*words, folder=folder)
        if done.returncode:
            raise Failed(f"{what}: {meaning(done)}")
        return done.stdout

    def open(self) -> bool:
        """Makes sure that the repository is there and can be read. Returns whether it was made just now."""
        done = self.run("cat", "config", seconds=ACCESS_SECONDS)
        if done.returncode == 0:
            # Locks of a run that was cut off; those of living programs stay.
            self.must("removing old locks", "unlock")
            return False
        # The older ones have one exit code for everything.
        missing = done.returncode == NO_REPOSITORY or re.search(MISSING, done.stderr) and not refused(done.stderr)
        if not missing:
            raise Failed(meaning(done))
        made = self.run("init", seconds=ACCESS_SECONDS)
        if made.returncode:
            raise Failed(meaning(made))
        return True

    def last(self, tag: str) -> str | None:
        """The newest snapshot: generations have other paths each time, so restic would not find it itself."""
        found = json.loads(self.must("listing snapshots", "snapshots", "--json", "--host", self.node, "--tag", tag) or "null") or []
        return max(found, key=lambda snapshot: snapshot["time"])["id"] if found else None

    def back_up(self, tag: str, folder: str, *words: str) -> tuple[str, int]:
        """Makes a snapshot of `folder`; returns its short id, and how many bytes were new."""
        parent = self.last(tag)
        # A hard link changes the ctime of a file, and nothing else.
        known = ["--parent", parent, "--ignore-ctime"] if parent else []
        done = self.run("backup", "--json", "--host", self.node, "--tag", tag, *known, *words, ".", folder=folder)
        if done.returncode not in (0, SOME_UNREAD):
            raise Failed(f"sending {tag}: {meaning(done)}")
        if done.returncode == SOME_UNREAD:
            raise Failed(f"sending {tag}: some files could not be read (journalctl -u imgbuild-backup); the others are in the bucket")
        summary = json.loads(done.stdout.strip().splitlines()[-1])
        return summary.get("snapshot_id", "")[:8], summary.get("data_added", 0)


def refused(said: str) -> bool:
    """Whether restic's words are about access rather than about what is there."""
    return any(re.search(pattern, said, re.IGNORECASE) for pattern, _ in MEANINGS)


def meaning(done: subprocess.CompletedProcess[str]) -> str:
    """What restic's failure means."""
    said = done.stderr
    if done.returncode == WRONG_PASSWORD:
        said = f"{MEANINGS[0][0]}\n{said}"
    print(config.masked(said.strip()[-LOGGED:]))
    for pattern, words in MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return words
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"restic ended with {done.returncode}"


def forget(settings: Settings, restic: Restic, tag: str) -> None:
    """Lets go of old snapshots. Their data is removed by the monthly `prune`."""
    keep = [f"--keep-{what}={count}" for what, count in settings.keep.items() if count]
    restic.must("forgetting old snapshots", "forget", "--host", settings.node, "--tag", tag, "--group-by", "host,tags", *keep)


def maintain(restic: Restic) -> None:
    """Once a month: removes data that no snapshot has, and reads another twelfth of the bucket to see that it is good."""
    month = datetime.datetime.now(datetime.timezone.utc)
    this = month.strftime("%Y-%m")
    file = pathlib.Path(MAINTAINED)
    if file.exists() and file.read_text().strip() == this:
        return
    restic.must("removing old data", "prune", "--max-unused", "10%")
    restic.must("checking the bucket", "check", f"--read-data-subset={month.month}/12")
    new = file.with_suffix(".new")
    new.write_text(f"{this}\n")
    new.replace(file)


def send(settings: Settings, generation: str) -> str:
    """Sends a generation to the bucket. Returns what to say of it."""
    shutil.rmtree(TMP, ignore_errors=True)
    if disk.free() <= 0:
        raise Failed("the disk of the share is full, and restic needs some room on it")
    restic = Restic(settings.node)
    fresh = restic.open()
    snapshot, added = restic.back_up(TAG, generation)
    forget(settings, restic, TAG)
    if settings.share_to == "offsite" and settings.share.is_dir():
        exclude = [f"--exclude={settings.share}/{name}" for name in settings.exclude]
        _, more = restic.back_up(SHARE_TAG, str(settings.share), *exclude)
        added += more
        forget(settings, restic, SHARE_TAG)
    maintain(restic)
    return f"bucket: snapshot {snapshot}, {generations.gib(added)} new{', repository made' if fresh else ''}"
