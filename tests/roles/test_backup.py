#!/usr/bin/env python3
"""The role `backup` with the real rsync, sqlite, sshd and restic, against a real S3 server that checks keys (versitygw).

Every path of a node is below a scratch folder. The disk of the share is a tmpfs, so this needs root: check.sh runs it in a
mount namespace of its own. What the machine does not have is skipped, and said.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator

REPO = pathlib.Path(__file__).resolve().parents[2]
BACKUP = REPO / "overlays/backup/root"
COMMON = REPO / "overlays/common/root"
RESTORE = REPO / "overlays/k3s-server/root/usr/lib/imgbuild/restore-datastore"

PYTHON = [sys.executable, "-B", "-E", "-s"]
KEY, SECRET, PASSWORD = "0051234567890000000000001", "K005-test-secret-of-the-application-key", "a long password of restic's"
TOKEN = "0123456789abcdef0123456789abcdef"
GENERATION = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")

# As kine makes it (pkg/drivers/sqlite).
KINE = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER, create_revision INTEGER,
    prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
CREATE INDEX kine_name_index ON kine (name);
CREATE INDEX kine_name_id_index ON kine (name, id);
CREATE INDEX kine_id_deleted_index ON kine (id, deleted);
CREATE INDEX kine_prev_revision_index ON kine (prev_revision);
CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
"""
INSERT = "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES (?, 1, 0, 0, 0, 0, ?, NULL)"

# Two rows in each transaction: a copy with one of them is torn.
WRITER = f"""
import sqlite3, sys, os
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute("PRAGMA synchronous = NORMAL")
n = 0
while True:
    n += 1
    database.execute("BEGIN IMMEDIATE")
    for side in "ab":
        database.execute({INSERT!r}, (f"/registry/pair/{{n}}/{{side}}", os.urandom(400)))
    if n % 7 == 0:
        database.execute("DELETE FROM kine WHERE name LIKE ?", (f"/registry/pair/{{n - 5}}/%",))
    database.execute("COMMIT")
"""


def make_datastore(file: pathlib.Path, token: str = TOKEN, rows: int = 50) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript(KINE)
        record = "/bootstrap/" + hashlib.sha256(token.encode()).hexdigest()[:12]
        database.execute(INSERT, (record, b"keys"))
        for n in range(rows):
            for side in "ab":
                database.execute(INSERT, (f"/registry/old/{n}/{side}", os.urandom(200)))
        database.commit()


def problems_of(file: pathlib.Path) -> list[str]:
    """What is wrong with a copy of a datastore."""
    with contextlib.closing(sqlite3.connect(file.as_uri() + "?mode=ro", uri=True)) as database:
        try:
            verdict = [row[0] for row in database.execute("PRAGMA integrity_check")]
            names = [row[0] for row in database.execute("SELECT name FROM kine WHERE name LIKE '/registry/%'")]
        except sqlite3.Error as error:
            return [str(error)]
    return [line for line in verdict if line != "ok"] + [f"torn: {half}" for half in sorted(halved(names))]


def halved(names: list[str]) -> set[str]:
    """Pairs of which only one half is there."""
    sides: dict[str, set[str]] = {}
    for name in names:
        sides.setdefault(name[:-1], set()).add(name[-1])
    return {pair for pair, found in sides.items() if found != {"a", "b"}}


@contextlib.contextmanager
def writer(file: pathlib.Path) -> Iterator[None]:
    """A program that writes to a datastore all the time."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(file)])
    try:
        before, deadline = rows(file), time.monotonic() + 60
        while rows(file) < before + 50:
            assert time.monotonic() < deadline, "the writer does not write"
            time.sleep(0.05)
        yield
        assert process.poll() is None, "the writer died"
    finally:
        process.kill()
        process.wait()


def rows(file: pathlib.Path) -> int:
    with contextlib.closing(sqlite3.connect(file, timeout=30)) as database:
        return int(database.execute("SELECT count(*) FROM kine").fetchone()[0])


def tree(top: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, with what a backup must keep of it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        content: object = None
        if stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        # A folder's time is that of the last file made in it; a link's is nobody's business.
        mtime = int(info.st_mtime) if stat.S_ISREG(info.st_mode) else None
        found[str(path.relative_to(top))] = (oct(info.st_mode), info.st_uid, info.st_gid, mtime, content)
    return found


# Minutes of waiting for limits of time, and of restic's own work.
slow = unittest.skipUnless(os.environ.get("IMGBUILD_TEST_FULL"), "scripts/test --full runs it")


class Node:
    """A node below a folder: the one with the disk, or one whose state is collected."""

    def __init__(self, top: pathlib.Path, name: str = "bondsmith") -> None:
        self.top = top
        self.name = name
        self.bin = top / "stand-ins"
        self.bin.mkdir(parents=True)
        self.file("usr/lib/imgbuild/backup-source", (COMMON / "usr/lib/imgbuild/backup-source").read_text(), 0o755)
        self.file("usr/lib/imgbuild/report", '#!/bin/sh\necho "$*" >>"$IMGBUILD_ROOT/reports"\n', 0o755)
        for path, text in {"etc/rancher/k3s/config.yaml": f'token: "{TOKEN}"\nsecrets-encryption: true\n', "etc/rancher/node/password": "secret\n",
                           "etc/passwd": "not to be saved\n", "var/lib/rancher/k3s/server/token": f"K10abc::server:{TOKEN}\n",
                           "var/lib/rancher/k3s/storage/pvc-1/data": "a volume\n", "var/lib/other": "not to be saved\n"}.items():
            self.file(path, text, 0o600)
        (top / "var/lib/rancher/k3s/storage/pvc-1/link").symlink_to("data")
        os.link(top / "var/lib/rancher/k3s/storage/pvc-1/data", top / "var/lib/rancher/k3s/storage/pvc-1/hard")
        self.database = top / "var/lib/rancher/k3s/server/db/state.db"
        make_datastore(self.database)
        self.source()

    def file(self, path: str, text: str, mode: int = 0o644) -> pathlib.Path:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def source(self, files: tuple[str, ...] = ("/etc/rancher", "/var/lib/rancher/k3s/server/token", "/var/lib/rancher/k3s/storage"),
               datastore: str = "sqlite") -> None:
        """What is collected of this node."""
        base = '"k3s-state.db" = "/var/lib/rancher/k3s/server/db/state.db"' if datastore == "sqlite" else ""
        self.file("etc/imgbuild/backup-source.toml", f"""files = {list(files)!r}
exclude = ["/var/lib/rancher/k3s/storage/*/skipped"]
[sqlite]
{base}
[facts]
node = "{self.name}"
datastore = "{datastore}"
secrets_encryption = true
""")

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.bin}:{os.environ['PATH']}", "IMGBUILD_ROOT": str(self.top), "HOME": str(self.top), **more}


class Collector(Node):
    """The node with the disk."""

    def __init__(self, top: pathlib.Path, size: str = "256m") -> None:
        super().__init__(top)
        self.disk = top / "srv/nas"
        self.disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.disk], check=True)
        self.folder = self.disk / "imgbuild-backup"
        self.file("srv/nas/nas/pvc-7/film", "x" * 100_000)
        self.file("srv/nas/nas/pvc-7/notes", "read me\n")
        self.configure()

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.disk], check=False, capture_output=True)

    def configure(self, **changes: object) -> None:
        values: dict[str, object] = {"cluster": "seed", "node": self.name, "disk": "/srv/nas", "share": "/srv/nas/nas", "share_to": "both",
                                     "exclude": [], "generations": 14, "destination": "none", **changes}
        nodes = values.pop("nodes", {self.name: ""})
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["keep = { daily = 3, weekly = 0, monthly = 1 }", "[nodes]", *(f'{name} = "{address}"' for name, address in dict(nodes).items())]
        self.file("etc/imgbuild/backup.toml", "\n".join(lines) + "\n")

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*PYTHON, str(BACKUP / "usr/lib/imgbuild/backup"), *words], env=self.environment(**environment),
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, *words: str, **environment: str) -> int:
        with self.start(*words, **environment) as process:
            self.said = process.communicate(timeout=300)[0]
        return process.returncode

    def reports(self) -> list[str]:
        file = self.top / "reports"
        return file.read_text().splitlines() if file.exists() else []

    def generations(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if GENERATION.fullmatch(path.name)) if self.folder.is_dir() else []

    def left_over(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.suffix in (".partial", ".deleting", ".new"))

    def latest(self) -> pathlib.Path:
        return self.folder / os.readlink(self.folder / "latest")


class Case(unittest.TestCase):
    def setUp(self) -> None:
        if not shutil.which("rsync"):
            self.skipTest("there is no rsync")
        self.top = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def collector(self, **options: str) -> Collector:
        node = Collector(self.top / "collector", **options)
        self.addCleanup(node.close)
        return node

    def fine(self, node: Collector, **environment: str) -> None:
        code = node.run(**environment)
        self.assertEqual(code, 0, f"{node.said}\n{node.reports()[-1:]}")

    def wrong(self, node: Collector, message: str, **environment: str) -> None:
        self.assertEqual(node.run(**environment), 3, node.said)
        self.assertRegex(node.reports()[-1], f"^backup failed .*{message}")
        self.assertFalse((node.top / "var/lib/imgbuild/backup.unfinished").exists())
        for secret in (SECRET, PASSWORD, KEY):
            self.assertNotIn(secret, node.said + "\n".join(node.reports()))

    def holds(self, node: Collector, generation: pathlib.Path, name: str, source: Node) -> None:
        """A generation has the state of a node."""
        saved = generation / name / "files"
        self.assertEqual(sorted(path.name for path in saved.iterdir()), ["etc", "var"])
        for part in ("etc/rancher", "var/lib/rancher/k3s/storage"):
            self.assertEqual(tree(saved / part), tree(source.top / part))
        self.assertFalse((saved / "etc/passwd").exists() or (saved / "var/lib/other").exists())
        self.assertEqual(problems_of(generation / name / "databases/k3s-state.db"), [])
        self.assertEqual(sorted(path.name for path in (saved / "var/lib/rancher/k3s").iterdir()), ["server", "storage"])


class OnTheDisk(Case):
    def test_a_generation_has_the_state_and_the_share(self) -> None:
        node = self.collector()
        with writer(node.database):
            self.fine(node)
        self.holds(node, node.latest(), "bondsmith", node)
        self.assertEqual(tree(node.latest() / "share"), tree(node.disk / "nas"))
        self.assertEqual(stat.S_IMODE(node.folder.stat().st_mode), 0o700)
        self.assertRegex(node.reports()[-1], r"^backup done generation \S+ of 1 node$")
        hard = node.latest() / "bondsmith/files/var/lib/rancher/k3s/storage/pvc-1"
        self.assertTrue((hard / "data").samefile(hard / "hard"))
        # Nothing stays in memory, and nothing on the card.
        self.assertFalse((node.top / "run/imgbuild-backup").exists() or (node.top / "var/lib/imgbuild/backup-copies").exists())

    def test_what_did_not_change_takes_room_once_and_old_generations_stay_as_they_are(self) -> None:
        node = self.collector()
        self.fine(node)
        first = node.latest()
        before = tree(first)
        node.file("srv/nas/nas/pvc-7/notes", "changed\n")
        node.top.joinpath("etc/rancher/node/password").chmod(0o640)
        node.top.joinpath("srv/nas/nas/pvc-7/film").rename(node.top / "srv/nas/nas/film")
        self.fine(node)
        second = node.latest()
        self.assertNotEqual(first, second)
        self.assertEqual(tree(first), before)
        self.assertEqual((second / "share/pvc-7/notes").read_text(), "changed\n")
        self.assertFalse((second / "share/pvc-7/film").exists())
        config = "bondsmith/files/etc/rancher/k3s/config.yaml"
        self.assertTrue((first / config).samefile(second / config))
        self.holds(node, second, "bondsmith", node)

    def test_only_so_many_are_kept(self) -> None:
        node = self.collector()
        node.configure(generations=2)
        for _ in range(4):
            self.fine(node)
        self.assertEqual(len(node.generations()), 2)
        self.assertEqual(node.latest().name, node.generations()[-1])
        self.assertEqual(node.left_over(), [])

    def test_a_clock_that_is_behind_does_not_confuse_the_order(self) -> None:
        node = self.collector()
        self.fine(node)
        (node.folder / "latest").unlink()
        node.folder.joinpath(node.generations()[0]).rename(node.folder / "2099-01-01T000000Z")
        self.fine(node)
        self.assertEqual(node.generations(), ["2099-01-01T000000Z", "2099-01-01T000001Z"])
        self.assertEqual(node.latest().name, "2099-01-01T000001Z")

    def test_every_copy_of_a_datastore_in_use_is_whole(self) -> None:
        node = self.collector()
        with writer(node.database):
            counts = []
            for _ in range(6):
                self.fine(node)
                copy = node.latest() / "bondsmith/databases/k3s-state.db"
                self.assertEqual(problems_of(copy), [])
                counts.append(rows(copy))
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1], counts[0])

    def test_the_disk_is_missing(self) -> None:
        node = self.collector()
        node.close()
        self.wrong(node, "the disk of the share is not mounted at .*: nothing was backed up")
        self.assertEqual(list(node.disk.iterdir()), [])

    def test_the_disk_goes_away_half_way(self) -> None:
        node = self.collector()
        shutil.rmtree(node.disk / "nas")
        self.wrong(node, "share: there is no folder .*/srv/nas/nas")
        node.file("srv/nas/nas/notes", "read me\n")
        node.file("stand-ins/rsync", f'#!/bin/sh\numount --lazy "$IMGBUILD_ROOT/srv/nas" 2>/dev/null\nexec {shutil.which("rsync")} "$@"\n', 0o755)
        self.wrong(node, "the disk of the share went away during the backup")
        self.assertEqual(list(node.disk.iterdir()), [], "something is on the card")

    def test_the_disk_is_full(self) -> None:
        node = self.collector(size="4m")
        self.fine(node)
        kept = tree(node.latest())
        node.top.joinpath("var/lib/rancher/k3s/storage/pvc-1/big").write_bytes(os.urandom(6 << 20))
        self.wrong(node, "the disk of the share is full")
        self.assertEqual(tree(node.latest()), kept)
        self.assertEqual(node.left_over(), [], "the room is not given back")
        node.top.joinpath("var/lib/rancher/k3s/storage/pvc-1/big").unlink()
        self.fine(node)

    def test_the_share_does_not_fit_twice(self) -> None:
        node = self.collector(size="8m")
        self.fine(node)
        node.top.joinpath("srv/nas/nas/film").write_bytes(os.urandom(5 << 20))
        self.wrong(node, r"share: a copy of the share needs 0\.0 GiB and the disk can spare .*share_exclude \(its state of .* is kept\)")
        self.assertEqual((node.latest() / "share/pvc-7/notes").read_text(), "read me\n")
        self.holds(node, node.latest(), "bondsmith", node)
        node.configure(exclude=["film"])
        self.fine(node)
        node.configure(share_to="none")
        self.fine(node)
        self.assertFalse((node.latest() / "share").exists())

    def test_k3s_has_not_started(self) -> None:
        node = self.collector()
        node.database.unlink()
        self.wrong(node, "bondsmith: there is no .*state.db yet: its service has not started")

    def test_a_damaged_datastore_is_told_and_the_last_good_copy_is_kept(self) -> None:
        node = self.collector()
        self.fine(node)
        node.database.write_bytes(b"not a database at all" * 500)
        self.wrong(node, "bondsmith: state.db could not be copied: .*its state of .* is kept")
        self.assertEqual(problems_of(node.latest() / "bondsmith/databases/k3s-state.db"), [])

    def test_snapshots_of_etcd(self) -> None:
        node = self.collector()
        node.source(files=("/var/lib/rancher/k3s/server/db/snapshots",), datastore="etcd")
        node.file("stand-ins/k3s", '#!/bin/sh\necho "$*" >>"$IMGBUILD_ROOT/k3s-calls"\nexit 1\n', 0o755)
        self.wrong(node, "bondsmith: etcd has no snapshot of the last day")
        snapshot = node.file("var/lib/rancher/k3s/server/db/snapshots/etcd-snapshot-bondsmith-1", "snapshot")
        self.fine(node)
        self.assertEqual((node.latest() / "bondsmith/files/var/lib/rancher/k3s/server/db/snapshots" / snapshot.name).read_text(), "snapshot")
        os.utime(snapshot, (time.time() - 30 * 3600,) * 2)
        self.wrong(node, "bondsmith: etcd has no snapshot of the last day")
        node.file("stand-ins/k3s", '#!/bin/sh\necho new >"$IMGBUILD_ROOT/var/lib/rancher/k3s/server/db/snapshots/imgbuild-backup-1"\n', 0o755)
        self.fine(node)
        self.assertTrue((node.latest() / "bondsmith/files/var/lib/rancher/k3s/server/db/snapshots/imgbuild-backup-1").exists())

    def test_never_two_at_once(self) -> None:
        node = self.collector()
        # Holds up the first one.
        node.file("stand-ins/rsync", '#!/bin/sh\nwhile [ -e "$IMGBUILD_ROOT/hold" ]; do sleep 0.05; done\nexec ' + str(shutil.which("rsync")) + ' "$@"\n', 0o755)
        node.file("hold", "")
        with node.start() as first:
            while not list(node.folder.glob("*.partial")):
                time.sleep(0.05)
            self.assertEqual(node.run(), 0)
            self.assertIn("another backup is at work", node.said)
            (node.top / "hold").unlink()
            first.communicate(timeout=60)
        self.assertEqual((first.returncode, len(node.generations())), (0, 1))

    def test_the_end_of_a_run_that_could_not_report_itself(self) -> None:
        node = self.collector()
        unfinished = node.file("var/lib/imgbuild/backup.unfinished", "")
        for result, code, status, told in (("success", "exited", "0", ""), ("exit-code", "exited", "3", ""),
                                           ("success", "killed", "TERM", "waiting stopped half way"), ("oom-kill", "killed", "KILL", "failed the run ended with oom-kill")):
            with self.subTest(result, status=status):
                node.file("reports", "")
                self.assertEqual(node.run("--ended", SERVICE_RESULT=result, EXIT_CODE=code, EXIT_STATUS=status), 0)
                self.assertEqual([line[: len(told) + 7] for line in node.reports()], [f"backup {told}"] if told else [])
        self.assertFalse(unfinished.exists())


def commands(heading: str) -> list[str]:
    """The blocks of commands below a heading of docs/restore.md."""
    text = (REPO / "docs/restore.md").read_text()
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [re.sub(r"^ +", "", block, flags=re.MULTILINE) for block in re.findall(r"```sh\n(.*?)```", part, re.DOTALL)]


class AsTheDocsSay(Case):
    """The commands of docs/restore.md, with the paths of a node below its scratch folder."""

    def run_commands(self, node: Node, text: str, **changes: str) -> None:
        for old, new in changes.items():
            text = text.replace(old, new)
        text = re.sub(r"(?<![\w./}])/(?=(etc|var|srv|root|usr)/)", f"{node.top}/", text)
        done = subprocess.run(["sh", "-eu", "-c", text], env=node.environment(), capture_output=True, text=True, cwd=node.top, timeout=120)
        self.assertEqual(done.returncode, 0, f"{text}\n{done}")

    def stand_ins(self, node: Node) -> None:
        for name in ("systemctl", "pihole-FTL"):
            node.file(f"stand-ins/{name}", '#!/bin/sh\necho "$*" >>"$IMGBUILD_ROOT/calls"\n', 0o755)
        node.file("stand-ins/sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
        # There is no account of that name here.
        node.file("stand-ins/install", '#!/bin/sh\n[ "$1 $2 $3 $4" = "-o pihole -g pihole" ] && shift 4\nexec /usr/bin/install "$@"\n', 0o755)

    def test_pihole_on_a_fresh_card(self) -> None:
        node = self.collector()
        self.stand_ins(node)
        for path, text in {"pihole.toml": "[dns]\n", "hosts/custom.list": "10.0.0.9 nas\n", "pihole-FTL.db": "queries", "gravity_old.db": "old"}.items():
            node.file(f"etc/pihole/{path}", text, 0o640)
        gravity = node.top / "etc/pihole/gravity.db"
        with contextlib.closing(sqlite3.connect(gravity)) as database:
            database.executescript("CREATE TABLE adlist (address TEXT); INSERT INTO adlist VALUES ('https://lists.example/one');")
        node.file("etc/imgbuild/backup-source.toml", """files = ["/etc/pihole"]
exclude = ["/etc/pihole/gravity*.db*", "/etc/pihole/pihole-FTL.db*"]
[sqlite]
"pihole-gravity.db" = "/etc/pihole/gravity.db"
[facts]
""")
        self.fine(node)
        saved = node.latest() / "bondsmith"
        self.assertEqual(sorted(path.name for path in (saved / "files/etc/pihole").iterdir()), ["hosts", "pihole.toml"])
        before = {name: what for name, what in tree(node.top / "etc/pihole").items() if name in ("pihole.toml", "hosts/custom.list")}
        shutil.copytree(saved, node.top / "root/restore/stoneward", symlinks=True)
        shutil.rmtree(node.top / "etc/pihole")
        node.file("etc/pihole/pihole.toml", "of the fresh card\n")
        node.file("etc/pihole/gravity.db", "of the fresh card\n")
        node.file("etc/pihole/gravity.db-journal", "of the fresh card\n")
        carry, restore = commands("Pi-hole on a fresh card")
        self.assertIn("tar -C /root/restore -xpf -", carry)
        self.run_commands(node, restore)
        after = tree(node.top / "etc/pihole")
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertNotIn("gravity.db-journal", after)
        with contextlib.closing(sqlite3.connect(gravity)) as database:
            self.assertEqual(database.execute("SELECT address FROM adlist").fetchall(), [("https://lists.example/one",)])
        self.assertEqual(stat.S_IMODE(gravity.stat().st_mode), 0o664)
        self.assertEqual((node.top / "calls").read_text().splitlines()[:2], ["stop pihole-FTL", "start pihole-FTL"])

    def test_a_file_of_a_volume_and_the_datastore(self) -> None:
        node = self.collector()
        self.stand_ins(node)
        self.fine(node)
        generation = str(node.latest())
        notes = node.top / "srv/nas/nas/pvc-7/notes"
        before = tree(notes.parent)
        notes.unlink()
        (block,) = commands("A file of a volume")
        self.run_commands(node, block, GEN=generation, VOLUME="pvc-7", FILE="notes")
        self.assertEqual(tree(notes.parent), before)

        saved = tree(node.top / "var/lib/rancher/k3s/storage")
        shutil.rmtree(node.top / "var/lib/rancher/k3s")
        make_datastore(node.database, token="of a fresh card")
        node.file("usr/lib/imgbuild/restore-datastore", RESTORE.read_text(), 0o755)
        for block in commands("The cluster's datastore on a fresh card (sqlite)"):
            self.run_commands(node, block, GEN=generation)
        self.assertEqual(tree(node.top / "var/lib/rancher/k3s/storage"), saved)
        self.assertEqual(rows(node.database), 101)
        self.assertEqual((node.top / "calls").read_text().splitlines(), ["stop k3s.service", "start k3s.service"])


class PowerCuts(Case):
    STEPS = 18

    def test_cut_off_at_any_moment(self) -> None:
        node = self.collector()
        for n in range(40):
            node.file(f"var/lib/rancher/k3s/storage/pvc-1/f{n}", f"{n}\n" * 1000)
        self.fine(node)
        started = time.monotonic()
        node.file("var/lib/rancher/k3s/storage/pvc-1/f0", "other\n")
        self.fine(node)
        took = time.monotonic() - started
        reached, unfinished = set(), 0
        for step in range(self.STEPS):
            with self.subTest(step=step):
                node.file(f"var/lib/rancher/k3s/storage/pvc-1/f{step}", f"step {step}\n")
                node.top.joinpath("var/lib/rancher/k3s/storage/pvc-1/f39").chmod(0o600 if step % 2 else 0o640)
                before = {name: tree(node.folder / name) for name in node.generations()}
                with node.start() as process:
                    time.sleep(took * (step + 1) / self.STEPS)
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                reached |= {path.suffix for path in node.folder.iterdir()}
                unfinished += (node.top / "var/lib/imgbuild/backup.unfinished").exists()
                for name, saved in before.items():
                    if (node.folder / name).exists():
                        self.assertEqual(tree(node.folder / name), saved, f"{name} is not what it was")
                for name in set(node.generations()) - set(before):
                    self.holds(node, node.folder / name, "bondsmith", node)
                self.assertTrue(node.latest().is_dir())
                # Every third cut is followed by another one, so that leftovers meet leftovers.
                if step % 3 == 2:
                    self.fine(node)
                    self.assertEqual(node.left_over(), [])
                    self.holds(node, node.latest(), "bondsmith", node)
                    self.assertEqual(tree(node.latest() / "share"), tree(node.disk / "nas"))
        self.assertIn(".partial", reached)
        self.assertGreater(unfinished, 3)

    def test_leftovers_of_every_kind(self) -> None:
        node = self.collector()
        self.fine(node)
        for name in ("2026-01-01T000000Z.partial", "2026-01-02T000000Z.partial", "2026-01-03T000000Z.deleting"):
            shutil.copytree(node.latest(), node.folder / name, symlinks=True)
        (node.folder / "latest").unlink()
        (node.folder / "latest.new").symlink_to("nowhere")
        self.fine(node)
        self.assertEqual(node.left_over(), [])
        self.assertEqual(len(node.generations()), 2)
        self.holds(node, node.latest(), "bondsmith", node)


class FromOtherNodes(Case):
    """A second node behind the machine's own sshd, with the lines that the build writes for it."""

    def setUp(self) -> None:
        super().setUp()
        if not shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
            self.skipTest("there is no sshd")
        self.node = self.collector()
        self.other = Node(self.top / "other", "stoneward")
        self.port = free_port()
        self.keys()
        self.sshd = self.serve()
        self.addCleanup(self.stop)
        # The port is the test's only.
        self.node.file("stand-ins/ssh", f'#!/bin/sh\nexec {shutil.which("ssh")} -p {self.port} "$@"\n', 0o755)
        self.node.configure(nodes={"bondsmith": "", "stoneward": "127.0.0.1"})

    def rendered(self, path: str) -> str:
        """A template of the role `common` with the address of the collector."""
        text = (COMMON / f"{path}.j2").read_text()
        text = re.sub(r"{% set .*?%}\n", "", text)
        text = re.sub(r"{{ ssh_host_public_key.*?}}", self.public, text)
        return re.sub(r"{{.*?}}", "127.0.0.1", text).replace("/usr/lib/imgbuild/backup-source", str(self.wrapper)).replace(
            "/etc/imgbuild/", f"{self.other.top}/etc/imgbuild/")

    def keys(self) -> None:
        key, host = self.node.top / "etc/imgbuild/backup.key", self.other.top / "etc/ssh/host_key"
        host.parent.mkdir(parents=True)
        for file in (key, host):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        self.public = key.with_name("backup.key.pub").read_text().strip()
        self.node.file("etc/imgbuild/backup.known_hosts", f"[127.0.0.1]:{self.port} {host.with_name('host_key.pub').read_text()}")
        self.wrapper = self.other.file("served", f"#!/bin/sh\nexport IMGBUILD_ROOT={self.other.top}\nexec {self.other.top}/usr/lib/imgbuild/backup-source\n", 0o755)

    def serve(self) -> subprocess.Popen[bytes]:
        self.other.file("etc/imgbuild/backup.authorized_keys", self.rendered("etc/imgbuild/backup.authorized_keys"), 0o600)
        drop_in = self.other.file("etc/ssh/20-imgbuild-backup.conf", self.rendered("etc/ssh/sshd_config.d/20-imgbuild-backup.conf"))
        config = self.other.file("etc/ssh/sshd_config", f"""Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.other.top}/etc/ssh/host_key
PidFile none
UsePAM no
StrictModes no
PermitRootLogin no
PasswordAuthentication no
Include {drop_in}
""")
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        sshd = str(shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"))
        with (self.top / "sshd.log").open("wb") as log:
            process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log)
        wait_for(self.port)
        return process

    def stop(self) -> None:
        self.sshd.terminate()
        self.sshd.wait()

    def ssh(self, *words: str) -> subprocess.CompletedProcess[str]:
        known = self.node.top / "etc/imgbuild/backup.known_hosts"
        return subprocess.run(["ssh", "-F", "none", "-p", str(self.port), "-i", self.node.top / "etc/imgbuild/backup.key", "-o", f"UserKnownHostsFile={known}",
                               "-o", "BatchMode=yes", *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def test_the_state_of_another_node(self) -> None:
        with writer(self.other.database):
            self.fine(self.node)
        self.holds(self.node, self.node.latest(), "stoneward", self.other)
        self.holds(self.node, self.node.latest(), "bondsmith", self.node)
        self.assertIn("of 2 nodes", self.node.reports()[-1])
        self.fine(self.node)
        first, second = (self.node.folder / name / "stoneward/files/etc/rancher/node/password" for name in self.node.generations())
        self.assertTrue(first.samefile(second))

    def test_the_key_is_good_for_nothing_else(self) -> None:
        for words in (("root@127.0.0.1", "cat /etc/shadow"), ("root@127.0.0.1",), ("-t", "root@127.0.0.1", "sh"),
                      ("root@127.0.0.1", "rsync --server --sender . /etc")):
            done = self.ssh(*words)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("this key only collects backups", done.stderr + done.stdout)
        self.assertNotEqual(self.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-R", f"{free_port()}:127.0.0.1:1", "root@127.0.0.1").returncode, 0)
        self.assertEqual(self.ssh("root@127.0.0.1", "prepare").returncode, 0)
        shell = f"ssh -F none -p {self.port} -i {self.node.top}/etc/imgbuild/backup.key -o UserKnownHostsFile={self.node.top}/etc/imgbuild/backup.known_hosts -l root"
        evil = self.node.file("evil", "x")
        for words in ((str(evil), "127.0.0.1::files/etc/rancher/evil"), ("127.0.0.1::files/etc/passwd", str(self.top)),
                      ("127.0.0.1::files/../../etc/hostname", str(self.top)), ("--delete", f"{self.node.bin}/", "127.0.0.1::files/etc/rancher/")):
            done = subprocess.run(["rsync", "-a", "-e", shell, *words], capture_output=True, text=True, timeout=60)
            self.assertNotEqual(done.returncode, 0, words)
        self.assertFalse((self.top / "passwd").exists() or (self.top / "hostname").exists())
        self.assertTrue((self.other.top / "etc/rancher/node/password").exists())

    def test_another_key_and_another_host(self) -> None:
        self.fine(self.node)
        stranger = self.top / "stranger"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
        mine = self.node.top / "etc/imgbuild/backup.key"
        original = mine.read_text()
        mine.write_text(stranger.read_text())
        self.wrong(self.node, "stoneward: it does not let the backup in: .* is kept")
        mine.write_text(original)
        known = self.node.top / "etc/imgbuild/backup.known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {stranger.with_suffix('.pub').read_text()}")
        self.wrong(self.node, "stoneward: its SSH host key is not the one of the build: .* is kept")

    def test_a_node_that_is_off(self) -> None:
        self.fine(self.node)
        self.stop()
        self.node.file("etc/rancher/new", "new\n")
        self.wrong(self.node, "stoneward: .*Connection refused.*its state of .* is kept")
        self.holds(self.node, self.node.latest(), "stoneward", self.other)
        self.assertEqual((self.node.latest() / "bondsmith/files/etc/rancher/new").read_text(), "new\n")
        facts = json.loads((self.node.latest() / "generation.json").read_text())
        self.assertEqual(facts["nodes"], {"bondsmith": self.node.generations()[1], "stoneward": self.node.generations()[0]})
        self.wrong(self.node, f"its state of {self.node.generations()[0]} is kept")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def tool(script: str, *words: str) -> str:
    """The path that a script of this folder prints, or nothing where this machine cannot."""
    done = subprocess.run([str(pathlib.Path(__file__).with_name(script)), *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode and os.environ.get("IMGBUILD_TEST_REQUIRE"):
        raise AssertionError(f"{script} failed")
    return done.stdout.strip()


class ToTheBucket(Case):
    """restic of both Debians against an S3 server that checks keys."""

    server = ""
    programs: dict[str, str] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tool("build-versitygw")
        if not cls.server:
            raise unittest.SkipTest("there is no S3 server: it needs Go")
        cls.programs = {suite: program for suite in ("bookworm", "trixie") if (program := tool("debian-restic", suite))}
        if not cls.programs:
            raise unittest.SkipTest("there is no restic")

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        self.buckets = self.top / "buckets"
        (self.buckets / "the-bucket").mkdir(parents=True)
        (self.top / "iam").mkdir()
        self.process = self.serve()
        self.addCleanup(self.stop)

    def serve(self) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
        with (self.top / "s3.log").open("ab") as log:
            process = subprocess.Popen([self.server, "--port", f"127.0.0.1:{self.port}", "--iam-dir", self.top / "iam", "posix", self.buckets],
                                       env=environment, stdout=log, stderr=log)
        wait_for(self.port)
        return process

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def sending(self, suite: str, **options: str) -> Collector:
        """A node that sends to the bucket, with the restic of a suite. Its calls are noted, without secrets."""
        node = Collector(self.top / f"collector-{suite}", **options)
        self.addCleanup(node.close)
        node.configure(destination="b2")
        node.file("stand-ins/restic", f'#!/bin/sh\necho "$*" >>"$IMGBUILD_ROOT/restic-calls"\nexec {self.programs[suite]} "$@"\n', 0o755)
        self.access(node, path=suite)
        return node

    def access(self, node: Node, key: str = KEY, secret: str = SECRET, path: str = "x", password: str = PASSWORD, endpoint: str = "") -> None:
        """What the role's template writes."""
        node.file("etc/imgbuild/backup.env", f"""# Written by imgbuild.
export RESTIC_REPOSITORY='s3:{endpoint or f"http://127.0.0.1:{self.port}"}/the-bucket/{path}'
export RESTIC_PASSWORD_FILE=/etc/imgbuild/backup.password
export AWS_ACCESS_KEY_ID='{key}'
export AWS_SECRET_ACCESS_KEY='{secret}'
export AWS_DEFAULT_REGION='us-east-1'
""", 0o600)
        node.file("etc/imgbuild/backup.password", f"{password}\n", 0o600)

    def restic(self, node: Node, suite: str, *words: str) -> str:
        """restic by hand, as docs/restore.md has it."""
        env_file = (node.top / "etc/imgbuild/backup.env").read_text().replace("/etc/imgbuild", f"{node.top}/etc/imgbuild")
        script = node.file("by-hand", f'{env_file}\nexec {self.programs[suite]} --no-cache "$@"\n')
        done = subprocess.run(["sh", script, *words], capture_output=True, text=True, timeout=120, env={"PATH": os.environ["PATH"], "HOME": str(node.top)})
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def test_back_up_destroy_restore_compare(self) -> None:
        for suite in self.programs:
            with self.subTest(suite):
                node = self.sending(suite)
                with writer(node.database):
                    self.fine(node)
                self.assertRegex(node.reports()[-1], r"bucket: snapshot [0-9a-f]{8}, .* new, repository made$")
                node.file("srv/nas/nas/pvc-7/notes", "second night\n")
                self.fine(node)
                self.assertNotIn("repository made", node.reports()[-1])
                snapshots = json.loads(self.restic(node, suite, "snapshots", "--json"))
                # Of one day one is kept (restic 0.18 keeps the oldest as well); it was made knowing the one before.
                last = max(snapshots, key=lambda snapshot: snapshot["time"])
                self.assertEqual((len(snapshots), last["tags"], last["hostname"]), (1 if suite == "bookworm" else 2, ["imgbuild"], "bondsmith"))
                self.assertTrue(last.get("parent"))
                saved, share = tree(node.latest()), tree(node.disk / "nas")
                node.close()
                self.restic(node, suite, "restore", "latest", "--tag", "imgbuild", "--target", str(self.top / f"back-{suite}"))
                back = self.top / f"back-{suite}"
                self.assertEqual(tree(back), saved)
                self.assertEqual(tree(back / "share"), share)
                self.assertEqual(problems_of(back / "bondsmith/databases/k3s-state.db"), [])
                self.assertEqual(self.restic(node, suite, "dump", "latest", "/share/pvc-7/notes"), "second night\n")
                calls = (node.top / "restic-calls").read_text()
                self.assertEqual("--retry-lock" in calls, suite != "bookworm")
                # Nothing is in the bucket that reads like what was sent.
                held = b"".join(path.read_bytes() for path in self.buckets.rglob("*") if path.is_file())
                self.assertNotIn(b"second night", held)
                self.assertNotIn(TOKEN.encode(), held)

    def test_the_share_goes_by_itself(self) -> None:
        suite = next(iter(self.programs))
        node = self.sending(suite)
        node.configure(destination="b2", share_to="offsite", exclude=["secret-bundle"])
        node.file("srv/nas/nas/secret-bundle/band", "not sent\n")
        self.fine(node)
        self.assertFalse((node.latest() / "share").exists())
        self.restic(node, suite, "restore", "latest", "--tag", "imgbuild-share", "--target", str(self.top / "back"))
        expected = {name: what for name, what in tree(node.disk / "nas").items() if not name.startswith("secret-bundle")}
        self.assertEqual(tree(self.top / "back"), expected)

    def test_the_share_on_a_new_disk_as_the_docs_say(self) -> None:
        suite = list(self.programs)[-1]
        node = self.sending(suite)
        self.fine(node)
        share = tree(node.disk / "nas")
        node.close()
        (node.disk / "nas").mkdir()
        (block,) = commands("The share on a new disk")
        restic, copy = block.strip().splitlines()
        self.restic(node, suite, *restic.replace("restic --no-cache ", "").replace("/srv/nas", str(node.disk)).split())
        subprocess.run(["sh", "-eu", "-c", copy.replace("/srv/nas", str(node.disk))], check=True)
        self.assertEqual(tree(node.disk / "nas"), share)

    def refused(self, why: str, seconds: float = 150, **access: str) -> None:
        for suite in self.programs:
            with self.subTest(suite, **{key: "..." for key in access}):
                node = self.sending(suite)
                self.access(node, **access)
                started = time.monotonic()
                self.wrong(node, f"bucket: {why}.*; generation ")
                took = time.monotonic() - started
                self.assertLess(took, seconds)
                if "SHOW_TIMES" in os.environ:
                    print(f"{suite} {access}: {took:.1f} s", file=sys.stderr)
                self.assertEqual(len(node.generations()), 1, "the disk has its generation all the same")
                self.assertFalse(any((self.buckets / "the-bucket").rglob("config")))
                node.close()

    def test_a_wrong_application_key(self) -> None:
        self.refused("the server refuses the key", secret="K005-another-secret-altogether-0000000")

    def test_a_key_that_nobody_knows(self) -> None:
        self.refused("the server refuses the key", key="0059999999999990000000009")

    def test_a_key_without_rights(self) -> None:
        subprocess.run([self.server, "admin", "--access", KEY, "--secret", SECRET, "--endpoint-url", f"http://127.0.0.1:{self.port}", "create-user",
                        "--access", "stranger", "--secret", "secret-of-the-stranger", "--role", "user"], check=True, capture_output=True)
        self.refused("the server refuses the key", key="stranger", secret="secret-of-the-stranger")

    @slow
    def test_nobody_at_the_endpoint(self) -> None:
        self.refused("the endpoint could not be reached", endpoint=f"http://127.0.0.1:{free_port()}")

    @slow
    def test_another_password(self) -> None:
        for suite in self.programs:
            with self.subTest(suite):
                node = self.sending(suite)
                self.fine(node)
                self.access(node, path=suite, password="another password than that")
                self.wrong(node, "bucket: the repository in the bucket was made with another secrets.restic_password")

    @slow
    def test_cut_off_while_sending(self) -> None:
        for suite in self.programs:
            node = self.sending(suite)
            node.top.joinpath("srv/nas/nas/big").write_bytes(os.urandom(24 << 20))
            for step in range(5):
                with self.subTest(suite, step=step):
                    (node.top / "restic-calls").unlink(missing_ok=True)
                    with node.start() as process:
                        deadline = time.monotonic() + 60
                        calls = node.top / "restic-calls"
                        while not (calls.exists() and " backup " in calls.read_text()) and time.monotonic() < deadline:
                            time.sleep(0.01)
                        time.sleep(0.15 * step)
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
                    self.assertTrue((node.top / "var/lib/imgbuild/backup.unfinished").exists())
            self.fine(node)
            self.assertFalse((node.top / "var/lib/imgbuild/backup.unfinished").exists())
            self.restic(node, suite, "restore", "latest", "--tag", "imgbuild", "--target", str(self.top / f"cut-{suite}"))
            self.assertEqual(tree(self.top / f"cut-{suite}"), tree(node.latest()))
            self.restic(node, suite, "check", "--read-data")
            self.assertEqual(self.restic(node, suite, "list", "locks"), "")
            node.close()

    @slow
    def test_the_monthly_check(self) -> None:
        for suite in self.programs:
            with self.subTest(suite):
                node = self.sending(suite)
                self.fine(node)
                month = time.gmtime().tm_mon
                calls = (node.top / "restic-calls").read_text()
                self.assertIn(f"check --read-data-subset={month}/12", calls)
                self.assertIn("prune", calls)
                (node.top / "restic-calls").unlink()
                self.fine(node)
                self.assertNotIn("check", (node.top / "restic-calls").read_text().replace("recheck", ""))
                (node.folder / "maintained").write_text("2020-01\n")
                packs = [path for path in (self.buckets / "the-bucket" / suite / "data").rglob("*") if path.is_file()]
                self.assertTrue(packs)
                for pack in packs:
                    os.truncate(pack, pack.stat().st_size // 2)
                for _ in range(2):
                    self.wrong(node, "bucket: (checking the bucket|removing old data)")
                self.assertEqual((node.folder / "maintained").read_text(), "2020-01\n")
                node.close()


class Told(Case):
    """Who else is told of a failure."""

    def test_ntfy_and_a_webhook(self) -> None:
        got: list[tuple[str, dict[str, str], bytes]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(500 if self.path == "/hook-secret" else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        node = self.collector()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            base = f"http://127.0.0.1:{server.server_address[1]}"
            node.file("etc/imgbuild/backup.notify.toml", f'ntfy = "{base}/topic-secret"\nwebhook = "{base}/hook-secret"\n', 0o600)
            self.fine(node)
            self.assertEqual(got, [])
            node.close()
            self.wrong(node, "not mounted")
            server.shutdown()
        (topic, headers, text), (hook, _, body) = got
        self.assertEqual((topic, hook), ("/topic-secret", "/hook-secret"))
        self.assertEqual(headers["Title"], "imgbuild: the backup of seed failed on bondsmith")
        self.assertIn("not mounted", text.decode())
        self.assertIn("not mounted", json.loads(body)["text"])
        self.assertIn("the webhook answers 500", node.said)
        self.assertNotIn("secret", node.said + "".join(node.reports()))
        # Nobody listens any more.
        self.wrong(node, "not mounted")
        self.assertIn("ntfy could not be reached", node.said)


class Units(Case):
    def test_systemd_finds_no_fault(self) -> None:
        if not shutil.which("systemd-analyze"):
            self.skipTest("there is no systemd-analyze")
        for unit in (BACKUP / "etc/systemd/system").iterdir():
            text = unit.read_text().replace("{{ options.time }}", "02:30")
            self.assertNotIn("{{", text)
            (self.top / unit.name.removesuffix(".j2")).write_text(text)
        units = sorted(self.top.iterdir())
        self.assertEqual(len(units), 3)
        verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        done = subprocess.run([*verify, *units], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        units[1].write_text(units[1].read_text() + "Nonsense=1\n")
        self.assertIn("Nonsense", subprocess.run([*verify, *units], capture_output=True, text=True).stderr)


class RestoreDatastore(Case):
    """The datastore on a fresh card."""

    def setUp(self) -> None:
        super().setUp()
        self.node = Node(self.top / "node")
        self.server = self.node.top / "var/lib/rancher/k3s/server"
        self.node.file("stand-ins/systemctl", '#!/bin/sh\necho "$*" >>"$IMGBUILD_ROOT/calls"\n', 0o755)
        self.backup = self.top / "backup/k3s-state.db"
        self.backup.parent.mkdir()
        make_datastore(self.top / "old.db", rows=300)
        with contextlib.closing(sqlite3.connect(self.top / "old.db")) as database:
            database.execute("VACUUM INTO ?", (str(self.backup),))
        self.facts("true")

    def facts(self, encryption: str) -> None:
        (self.backup.parent / "facts.toml").write_text(f'node = "bondsmith"\nsecrets_encryption = {encryption}\n')

    def run_it(self, *words: str, prologue: str = "") -> subprocess.CompletedProcess[str]:
        code = f"{prologue}\nimport runpy, sys\nsys.argv = ['restore-datastore', *sys.argv[1:]]\nrunpy.run_path({str(RESTORE)!r}, run_name='__main__')"
        return subprocess.run([*PYTHON, "-c", code, *words], env=self.node.environment(), capture_output=True, text=True, timeout=60)

    def refused(self, why: str) -> None:
        before = tree(self.server)
        done = self.run_it(str(self.backup))
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stderr, f"^error: .*{why}")
        self.assertEqual(tree(self.server), before)
        self.assertFalse((self.node.top / "calls").exists(), "k3s was stopped for nothing")

    def restored(self) -> None:
        database = self.server / "db/state.db"
        self.assertEqual(sorted(path.name for path in database.parent.iterdir()), ["state.db"])
        self.assertEqual(database.read_bytes(), self.backup.read_bytes())
        self.assertEqual((stat.S_IMODE(database.stat().st_mode), stat.S_IMODE(database.parent.stat().st_mode)), (0o600, 0o700))
        self.assertFalse((self.server / "tls").exists() or (self.server / "cred").exists())

    def fresh_card(self) -> None:
        """k3s has started once: a cluster of its own, with a log beside its datastore."""
        for name in ("tls/server-ca.crt", "cred/passwd"):
            self.node.file(f"var/lib/rancher/k3s/server/{name}", "of the new cluster\n")
        for ending in ("-wal", "-shm"):
            self.node.file(f"var/lib/rancher/k3s/server/db/state.db{ending}", "old log\n" * 2000)

    def test_beside_an_old_log(self) -> None:
        # Without its writer's end, so that there is one: it would spoil the new datastore.
        with writer(self.node.database):
            pass
        self.assertGreater(self.node.database.with_name("state.db-wal").stat().st_size, 100_000)
        spoiled = self.top / "spoiled"
        shutil.copytree(self.node.database.parent, spoiled)
        shutil.copyfile(self.backup, spoiled / "state.db")
        done = self.run_it(str(self.backup))
        self.assertEqual(done.returncode, 0, done)
        self.restored()
        self.assertEqual((self.node.top / "calls").read_text().splitlines(), ["stop k3s.service", "start k3s.service"])
        self.assertEqual(rows(self.server / "db/state.db"), 601)
        (old,) = self.server.glob("before-restore-*")
        self.assertTrue((old / "db/state.db-wal").exists())

    def test_a_fresh_card(self) -> None:
        self.fresh_card()
        self.assertEqual(self.run_it("--check", str(self.backup)).returncode, 0)
        self.assertFalse((self.node.top / "calls").exists())
        self.assertEqual(self.run_it(str(self.backup)).returncode, 0)
        self.restored()
        self.assertTrue((self.server / "token").exists())

    def test_other_authorities_are_told(self) -> None:
        self.fresh_card()
        theirs = self.backup.parent.parent / "files/var/lib/rancher/k3s/server/tls/server-ca.crt"
        theirs.parent.mkdir(parents=True)
        for text, told in (("of the new cluster\n", False), ("of the old cluster\n", True)):
            theirs.write_text(text)
            done = self.run_it("--check", str(self.backup))
            self.assertEqual((done.returncode, "other authorities than this card" in done.stderr), (0, told))

    def test_k3s_has_never_started(self) -> None:
        shutil.rmtree(self.server / "db")
        self.assertEqual(self.run_it(str(self.backup)).returncode, 0)
        self.restored()

    def test_full_tokens_count_by_their_password(self) -> None:
        self.node.file("etc/rancher/k3s/config.yaml", f'token: "K10{"a" * 64}::server:{TOKEN}"\nsecrets-encryption: true\n')
        self.assertEqual(self.run_it("--check", str(self.backup)).returncode, 0)

    def test_another_clusters_token(self) -> None:
        self.node.file("etc/rancher/k3s/config.yaml", 'token: "another-token-of-another-cluster"\nsecrets-encryption: true\n')
        self.refused("cluster with another token")

    def test_a_token_that_was_rotated_away(self) -> None:
        with contextlib.closing(sqlite3.connect(self.backup)) as database:
            database.execute("INSERT INTO kine (name, created, deleted, prev_revision) SELECT name, 0, 1, id FROM kine WHERE name LIKE '/bootstrap/%'")
            database.execute(INSERT, ("/bootstrap/" + hashlib.sha256(b"the new token").hexdigest()[:12], b"keys"))
            database.commit()
        self.refused("cluster with another token")

    def test_settings_that_do_not_fit(self) -> None:
        config = self.node.top / "etc/rancher/k3s/config.yaml"
        config.write_text(f'token: "{TOKEN}"\nsecrets-encryption: false\n')
        self.refused("secrets in this datastore are encrypted")
        self.facts("false")
        self.assertEqual(self.run_it("--check", str(self.backup)).returncode, 0)
        config.write_text(f'token: "{TOKEN}"\ncluster-init: true\n')
        self.refused("etcd datastore")
        config.write_text(f'token: "{TOKEN}"\nserver: "https://10.0.0.1:6443"\n')
        self.refused("joins another one")
        config.unlink()
        self.refused("has no `token`")

    def test_files_that_are_no_datastore(self) -> None:
        good = self.backup.read_bytes()
        middle = len(good) // 2
        for what, content, why in (("text", b"hello " * 1000, "is not a datastore of k3s"), ("torn", good[:middle], "damaged|is not a datastore"),
                                   ("spoiled", good[:middle] + b"\xff" * 8192 + good[middle + 8192:], "damaged|is not a datastore"), ("empty", b"", "is not a datastore")):
            with self.subTest(what):
                self.backup.write_bytes(content)
                self.refused(why)
        self.backup.unlink()
        self.refused("there is no file")
        with contextlib.closing(sqlite3.connect(self.backup)) as database:
            database.executescript(KINE)
        self.refused("has no keys of a cluster")

    def test_a_power_cut_anywhere(self) -> None:
        count = "import os, pathlib\nn = 0\ndef cut(do):\n    def call(*a, **k):\n        global n\n        n += 1\n        if n == CUT: os.kill(os.getpid(), 9)\n" \
                "        return do(*a, **k)\n    return call\nfor where, names in ((os, ('fsync',)), (pathlib.Path, ('rename', 'mkdir', 'chmod'))):\n" \
                "    for name in names: setattr(where, name, cut(getattr(where, name)))\n"
        cuts = 0
        for cut in range(1, 40):
            shutil.rmtree(self.server, ignore_errors=True)
            make_datastore(self.node.database)
            self.fresh_card()
            done = self.run_it(str(self.backup), prologue=f"CUT = {cut}\n{count}")
            if done.returncode == 0:
                break
            cuts += 1
            self.assertEqual(done.returncode, -signal.SIGKILL)
            # k3s finds its old datastore, the new one, or none; never a mixture.
            if (self.server / "db").exists() and (self.server / "db/state.db").read_bytes() == self.backup.read_bytes():
                self.assertFalse((self.server / "db/state.db-wal").exists())
            self.assertEqual(self.run_it(str(self.backup)).returncode, 0)
            self.restored()
        self.assertGreater(cuts, 8)


if __name__ == "__main__":
    unittest.main()
