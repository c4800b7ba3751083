#!/usr/bin/env python3
"""The scripts of the roles, run in a scratch folder with programs that only note how they are called. Needs no root.

Every path of the node that a script names is below the scratch folder. A power cut is the death of the whole process group
just before one of those programs would have done its work.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import pathlib
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import tomllib
import unittest
from collections.abc import Callable

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests/boot/programs"), str(REPO / "tests/boot")]

import accepted  # noqa: E402
import k3s_config  # noqa: E402
from dns_client import Upstream  # noqa: E402
from recorder import fingerprint  # noqa: E402

# What every stand-in does first: note the call, and be cut off if it is the one.
PROLOGUE = """#!/bin/sh
echo "${0##*/} $*" >>"$SCRATCH/calls"
[ "$(wc -l <"$SCRATCH/calls")" != "${CUT_AT-}" ] || kill -9 0
"""


class Sandbox:
    """A node's root with one script in it."""

    def __init__(self, top: str, script: str) -> None:
        self.top = pathlib.Path(top)
        self.bin = self.top / "stand-ins"
        self.bin.mkdir()
        self.script = self.file(f"usr/lib/imgbuild/{pathlib.Path(script).name}", self.moved((REPO / script).read_text()))
        self.stand_in("sleep", "")

    def moved(self, text: str) -> str:
        return re.sub(r"(?<![\w.}/])/(?=(etc|usr|var|run)/)", f"{self.top}/", text)

    def file(self, path: str, text: str, mode: int = 0o755) -> pathlib.Path:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def stand_in(self, name: str, body: str) -> None:
        self.file(f"stand-ins/{name}", PROLOGUE + body)

    def run(self, **environment: str) -> int:
        """The exit code; -9 after a power cut."""
        self.process = subprocess.run(["/bin/sh", self.script], env={"PATH": f"{self.bin}:{os.environ['PATH']}", "SCRATCH": str(self.top),
                                                                     **environment}, start_new_session=True, capture_output=True, text=True)
        return self.process.returncode

    def calls(self, name: str = "") -> list[str]:
        """How stand-ins were called so far."""
        file = self.top / "calls"
        return [line for line in file.read_text().splitlines() if line.startswith(name)] if file.exists() else []

    def forget(self) -> None:
        (self.top / "calls").unlink(missing_ok=True)

    def text(self, path: str) -> str | None:
        file = self.top / path
        return file.read_text() if file.exists() else None


# The recorder that stands for FTL in boot tests; what is below the scratch folder is at its own paths for it.
RECORDER = f"""
RECORDER_ROOT=$SCRATCH exec {sys.executable} -B -S -c '
import os, runpy, sys
sys.path.insert(0, "{REPO}/tests/boot/programs")
sys.argv = ["pihole-FTL", *(word.removeprefix(os.environ["SCRATCH"]) for word in sys.argv[1:])]
runpy.run_path("{REPO}/tests/boot/programs/pihole-FTL.py", run_name="__main__")' "$@"
"""


class PiholePrepare(unittest.TestCase):
    """What happens before FTL's first start."""

    TOML, DB, GENERATED = "etc/pihole/pihole.toml", "etc/pihole/gravity.db", "etc/imgbuild/pihole.generated"
    LISTS = {"one": "0.0.0.0 ads.example.com\n127.0.0.1 localhost\n", "two": "b.example.net\nads.example.com\n"}

    def sandbox(self, top: str, password: str = "none") -> Sandbox:
        node = Sandbox(top, "overlays/pihole/root/usr/lib/imgbuild/pihole-prepare")
        node.file("etc/imgbuild/pihole.env", f"PH_PASSWORD={password}\n")
        node.file("etc/imgbuild/pihole.lists", "one https://lists.example/it''s\ntwo http://lists.example/two\nthree file:///usr/share/own.txt\n")
        for name, text in self.LISTS.items():
            node.file(f"var/lib/imgbuild/pihole/lists/{name}", text)
        node.file("etc/.pihole/advanced/Templates/gravity.db.sql",
                  (REPO / "tests/boot/programs/pihole-core/advanced/Templates/gravity.db.sql").read_text())
        node.file(self.TOML, '[webserver.api]\npwhash = "$BALLOON-SHA256$baked"\n' if password == "hash" else "[dns]\nport = 53\n", 0o600)
        for name in ("chown", "sync"):
            node.stand_in(name, "")
        node.stand_in("pihole-FTL", RECORDER)
        return node

    def query(self, node: Sandbox, sql: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(node.top / self.DB)) as gravity:
            return gravity.execute(sql).fetchall()

    def pwhash(self, node: Sandbox) -> str | None:
        return dict(accepted.flat(tomllib.loads(node.text(self.TOML) or ""))).get("webserver.api.pwhash")

    def whole(self, node: Sandbox) -> None:
        self.assertEqual(self.query(node, "SELECT id, address, number, status FROM adlist"), [
            (1, "https://lists.example/it's", 1, 1), (2, "http://lists.example/two", 2, 1), (3, "file:///usr/share/own.txt", 0, 4)])
        self.assertEqual(self.query(node, "SELECT domain, adlist_id FROM gravity ORDER BY adlist_id, domain"),
                         [("ads.example.com", 1), ("ads.example.com", 2), ("b.example.net", 2)])
        info = dict(self.query(node, "SELECT property, value FROM info"))
        self.assertEqual((info["gravity_count"], info["version"]), ("2", "20"))
        self.assertEqual(info["updated"], str(int((node.top / "etc/imgbuild/pihole.lists").stat().st_mtime)))
        self.assertEqual(self.query(node, "SELECT count(*) FROM adlist_by_group"), [(3,)])
        self.assertEqual(self.query(node, "SELECT name FROM sqlite_master WHERE name = 'idx_gravity'"), [("idx_gravity",)])
        self.assertEqual(sorted(f.name for f in (node.top / "etc/pihole").iterdir()), ["gravity.db", "pihole.toml"])
        self.assertEqual((node.top / self.DB).stat().st_mode & 0o777, 0o664)

    def test_lists_and_password(self) -> None:
        for password in ("none", "hash"):
            with self.subTest(password), tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top, password)
                self.assertEqual(node.run(), 0, node.process)
                self.whole(node)
                generated = node.text(self.GENERATED)
                if password == "hash":
                    self.assertEqual((self.pwhash(node), generated), ("$BALLOON-SHA256$baked", None))
                    continue
                self.assertRegex(generated or "", "^[A-Za-z0-9]{16}$")
                self.assertEqual(self.pwhash(node), fingerprint(generated or ""))
                self.assertEqual((node.top / self.GENERATED).stat().st_mode & 0o777, 0o600)
                self.assertEqual((node.top / self.TOML).stat().st_mode & 0o777, 0o640)

    def test_a_power_cut_anywhere(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            node.run()
            steps = len(node.calls())
        self.assertGreater(steps, 15)
        for cut in range(1, steps + 1):
            with self.subTest(cut=cut), tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top)
                self.assertEqual(node.run(CUT_AT=str(cut)), -signal.SIGKILL)
                made_up = node.text(self.GENERATED)
                if (node.top / self.DB).exists():
                    self.whole(node)
                node.forget()
                self.assertEqual(node.run(), 0, node.process)
                self.whole(node)
                self.assertIn(made_up, (None, "", node.text(self.GENERATED)))
                self.assertEqual(self.pwhash(node), fingerprint(node.text(self.GENERATED) or ""))

    def test_what_is_the_owners_stays(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            self.assertEqual(node.run(), 0, node.process)
            node.file(self.TOML, '[webserver.api]\npwhash = "theirs"\n')
            node.file(self.DB, "their lists")
            node.forget()
            self.assertEqual(node.run(), 0, node.process)
            self.assertEqual((self.pwhash(node), node.text(self.DB), node.calls()), ("theirs", "their lists", []))

    def test_names_are_answered_without_lists(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            node.file("etc/.pihole/advanced/Templates/gravity.db.sql", "CREATE NONSENSE;")
            self.assertEqual(node.run(), 0, node.process)
            self.assertIn("nothing is blocked", node.process.stderr)
            self.assertIsNone(node.text(self.DB))

    def test_without_its_password_ftl_does_not_start(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            node.stand_in("pihole-FTL", "exit 1")
            self.assertEqual(node.run(), 1)
            self.assertIn("password of the web interface could not be set", node.process.stderr)


class Pihole(unittest.TestCase):
    """The first boot's script: it only looks."""

    ADDRESS, NAME = "10.100.0.106", "stoneward.home.lab"
    STAMP = "var/lib/imgbuild/pihole.done"

    def sandbox(self, top: str) -> Sandbox:
        node = Sandbox(top, "overlays/pihole/root/usr/lib/imgbuild/pihole")
        node.file("usr/lib/imgbuild/firstboot.sh", node.moved((REPO / "overlays/common/root/usr/lib/imgbuild/firstboot.sh").read_text()))
        node.file("usr/lib/imgbuild/report", PROLOGUE)
        node.file("etc/pihole/gravity.db", "lists")
        node.file("etc/imgbuild/pihole.env", f"PH_FTL=v3\nPH_PASSWORD=hash\nPH_ADDRESS={self.ADDRESS}\nPH_PORT=80\nPH_TEST_NAME={self.NAME}\n")
        for name in ("systemctl", "sync"):
            node.stand_in(name, "")
        node.stand_in("pihole-FTL", "echo v3\n")
        node.file("usr/lib/imgbuild/pihole-ask", PROLOGUE + '[ -n "${SILENT-}" ] || echo "$1"\n')
        node.file("usr/lib/imgbuild/pihole-prepare", PROLOGUE + '[ -n "${NO_LISTS-}" ] || echo lists >"$SCRATCH/etc/pihole/gravity.db"\nexit "${NO_LISTS:-0}"\n')
        return node

    def test_pihole_answers(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            self.assertEqual(node.run(), 0, node.process)
            self.assertIsNotNone(node.text(self.STAMP))
            self.assertEqual(node.calls("pihole-ask"), [f"pihole-ask {self.ADDRESS} {self.NAME}"])
            self.assertIn(f"report pihole done DNS on {self.ADDRESS}, http://{self.ADDRESS}:80/admin", node.calls("report"))
            self.assertEqual(node.calls("pihole-prepare"), [])

    def test_pihole_is_silent(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            self.assertNotEqual(node.run(SILENT="yes"), 0)
            self.assertIsNone(node.text(self.STAMP))
            self.assertIn("failed at: asking Pi-hole", node.calls("report")[-1])

    def test_missing_lists_are_made_or_told_of(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            (node.top / "etc/pihole/gravity.db").unlink()
            self.assertNotEqual(node.run(NO_LISTS="1"), 0)
            self.assertIn("failed at: making gravity.db", node.calls("report")[-1])
            self.assertEqual(node.run(), 0, node.process)
            self.assertIn("systemctl restart pihole-FTL.service", node.calls())

    def test_a_power_cut_anywhere(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            node.run()
            steps = len(node.calls())
        for cut in range(1, steps + 1):
            with self.subTest(cut=cut), tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top)
                self.assertEqual(node.run(CUT_AT=str(cut)), -signal.SIGKILL)
                node.forget()
                self.assertEqual(node.run(), 0, node.process)
                self.assertIsNotNone(node.text(self.STAMP))


class PiholeAsk(unittest.TestCase):
    SCRIPT = REPO / "overlays/pihole/root/usr/lib/imgbuild/pihole-ask"

    def ask(self, port: int, name: str = "stoneward.home.lab") -> str:
        done = subprocess.run(["bash", self.SCRIPT, "127.0.0.1", name, str(port)], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout.strip()

    def test_an_address(self) -> None:
        self.assertEqual(self.ask(Upstream("203.0.113.80").port), "203.0.113.80")
        self.assertEqual(self.ask(Upstream("10.10.10.10").port, "a-b.c"), "10.10.10.10")

    def reply(self, change: Callable[[bytes], bytes]) -> str:
        """What comes of a reply that is made of the query."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))

            def serve() -> None:
                query, client = server.recvfrom(512)
                server.sendto(change(query), client)
            thread = threading.Thread(target=serve)
            thread.start()
            said = self.ask(server.getsockname()[1])
            thread.join()
            return said

    def test_what_is_no_address(self) -> None:
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\x0a\x0a\x0a"
        good = lambda query: query[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + query[12:] + record  # noqa: E731
        self.assertEqual(self.reply(good), "10.10.10.10")
        for what, change in {
            "no such name": lambda query: query[:2] + b"\x81\x83" + query[4:],
            "another id": lambda query: b"\0\0" + good(query)[2:],
            "no record": lambda query: good(query)[:6] + b"\0\0" + good(query)[8:],
            "short": lambda query: query[:5],
            "nothing": lambda query: b"",
        }.items():
            with self.subTest(what):
                self.assertEqual(self.reply(change), "")

    def test_nobody_there(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            self.assertEqual(self.ask(silent.getsockname()[1]), "")


class PiholeOnline(unittest.TestCase):
    """The two folders become clones, of repositories of our own."""

    def sandbox(self, top: str) -> Sandbox:
        node = Sandbox(top, "overlays/pihole/root/usr/lib/imgbuild/pihole-online")
        node.script.write_text(node.script.read_text().replace("https://github.com/pi-hole", f"file://{top}/upstream"))
        node.file("etc/imgbuild/pihole.env", "PH_CORE=v1.0\nPH_WEB=v2.0\n")
        node.file("usr/local/bin/pihole", PROLOGUE)
        for repository, folder, tag in (("pi-hole", "etc/.pihole", "v1.0"), ("web", "var/www/html/admin", "v2.0")):
            node.file(f"{folder}/file", tag)
            source = node.file(f"upstream/{repository}.git/file", tag).parent
            node.file(f"upstream/{repository}.git/not-in-the-archive", tag)
            git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@localhost"]
            for words in (["init", "-q", "-b", "master"], ["add", "-A"], ["commit", "-q", "-m", "x"], ["tag", tag]):
                subprocess.run([*git, *words], check=True)
        return node

    def described(self, node: Sandbox, folder: str) -> str:
        git = ["git", "-C", str(node.top / folder)]
        branch = subprocess.run([*git, "rev-parse", "--abbrev-ref", "HEAD", "master@{upstream}"], capture_output=True, text=True, check=False)
        tag = subprocess.run([*git, "describe", "--tags"], capture_output=True, text=True, check=True)
        return f"{branch.stdout.split()[0]} {tag.stdout.strip()}"

    def test_clones_at_the_versions_of_the_image(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            for _ in range(2):
                self.assertEqual(node.run(), 0, node.process)
                self.assertEqual(self.described(node, "etc/.pihole"), "master v1.0")
                self.assertEqual(self.described(node, "var/www/html/admin"), "master v2.0")
            self.assertIn("is a clone already", node.process.stdout)

    def test_another_tree_is_not_taken(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            node.file("etc/.pihole/file", "what the image has")
            self.assertEqual(node.run(), 1)
            self.assertIn("no longer what the image was built with", node.process.stderr)
            self.assertEqual(node.text("etc/.pihole/file"), "what the image has")
            self.assertFalse((node.top / "etc/.pihole/.git").exists())


class K3sJoin(unittest.TestCase):
    DECISION = "etc/rancher/k3s/config.yaml.d/10-imgbuild-join.yaml"
    OTHERS = "10.0.0.22 10.0.0.23"

    def sandbox(self, top: str, wait: int = 0, founds: bool = True) -> Sandbox:
        node = Sandbox(top, "overlays/k3s-server/root/usr/lib/imgbuild/k3s-join")
        node.file("etc/imgbuild/k3s-join.env", f"K3S_OTHERS='{self.OTHERS}'\nK3S_WAIT={wait}\n")
        node.file(k3s_config.CONFIG[1:], "token: secret\n" + ("cluster-init: true\n" if founds else 'server: "https://10.0.0.21:6443"\n'))
        node.stand_in("curl", 'for living in $ALIVE; do case $* in *"https://$living:6443/cacerts") echo "-----BEGIN CERTIFICATE-----"; esac; done\n')
        return node

    def config(self, node: Sandbox) -> dict[str, object]:
        """What k3s would read now."""
        os.environ["RECORDER_ROOT"] = str(node.top)
        code = "import json, k3s_config; print(json.dumps(k3s_config.load()))"
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=REPO / "tests/boot/programs", check=True, capture_output=True, text=True)
        del os.environ["RECORDER_ROOT"]
        return __import__("json").loads(done.stdout)

    def test_a_new_cluster_is_founded(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, wait=2)
            self.assertEqual(node.run(ALIVE=""), 0, node.process)
            self.assertEqual(self.config(node), {"token": "secret", "cluster-init": True})
            self.assertGreater(len(node.calls("curl")), 2, "asked only once")

    def test_a_server_flashed_again_joins_one_that_lives(self) -> None:
        for founds in (True, False):
            with tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top, wait=60 if founds else 0, founds=founds)
                self.assertEqual(node.run(ALIVE="10.0.0.23"), 0, node.process)
                config = self.config(node)
                self.assertEqual(config, {"token": "secret", "cluster-init": False, "server": "https://10.0.0.23:6443"})
                self.assertEqual(accepted.k3s_complaints("server", config), [])
                self.assertEqual((node.top / self.DECISION).stat().st_mode & 0o777, 0o600)

    def test_who_has_decided_to_join_does_not_found(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, wait=3600)
            node.run(ALIVE="10.0.0.22")
            self.assertEqual(node.run(ALIVE=""), 0)
            self.assertEqual(self.config(node)["server"], "https://10.0.0.22:6443")
            self.assertEqual(node.run(ALIVE="10.0.0.23"), 0)
            self.assertEqual(self.config(node)["server"], "https://10.0.0.23:6443")

    def test_a_datastore_is_left_alone(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, wait=3600)
            (node.top / "var/lib/rancher/k3s/server/db/etcd/member/wal").mkdir(parents=True)
            self.assertEqual(node.run(ALIVE=self.OTHERS), 0)
            self.assertEqual((node.calls("curl"), self.config(node)), ([], {"token": "secret", "cluster-init": True}))

    def test_a_power_cut_anywhere(self) -> None:
        for name in ("chmod", "sync", "mv"):
            with self.subTest(name), tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top, wait=60)
                node.stand_in(name, "kill -9 0\n")
                self.assertEqual(node.run(ALIVE="10.0.0.22"), -signal.SIGKILL)
                self.assertEqual(self.config(node), {"token": "secret", "cluster-init": True})
                (node.bin / name).unlink()
                self.assertEqual(node.run(ALIVE="10.0.0.22"), 0)
                self.assertEqual(self.config(node)["server"], "https://10.0.0.22:6443")

    def test_a_base_without_curl(self) -> None:
        for wait, code in ((60, 1), (0, 0)):
            with tempfile.TemporaryDirectory() as top:
                node = self.sandbox(top, wait=wait)
                node.script.write_text(node.script.read_text().replace("command -v curl", "command -v no-such-curl"))
                self.assertEqual(node.run(ALIVE=self.OTHERS), code)
                self.assertIsNone(node.text(self.DECISION))

    def test_the_real_curl_and_a_certificate_that_nobody_knows(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top)
            (node.bin / "curl").unlink()
            certificate = node.top / "certificate"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=k3s",
                            "-keyout", certificate, "-out", node.top / "cert"], check=True, capture_output=True)
            certificate.write_text(certificate.read_text() + (node.top / "cert").read_text())

            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(200 if self.path == "/cacerts" else 404)
                    self.end_headers()
                    self.wfile.write((node.top / "cert").read_bytes())

                def log_message(self, *_: object) -> None:
                    pass

            with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True)
                threading.Thread(target=server.serve_forever, daemon=True).start()
                node.file("etc/imgbuild/k3s-join.env", "K3S_OTHERS='127.0.0.2 127.0.0.1'\nK3S_WAIT=0\n")
                node.script.write_text(node.script.read_text().replace(":6443/cacerts", f":{server.server_address[1]}/cacerts"))
                self.assertEqual(node.run(), 0, node.process)
                server.shutdown()
            self.assertEqual(self.config(node)["server"], "https://127.0.0.1:6443")


if __name__ == "__main__":
    unittest.main()
