#!/usr/bin/env python3
"""The scripts of the roles, run in a scratch folder with programs that only note how they are called. Needs no root.

Every path of the node that a script names is below the scratch folder. A power cut is the death of the whole process group
just before one of those programs would have done its work.
"""

from __future__ import annotations

import http.server
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/boot/programs"))

import accepted  # noqa: E402
import k3s_config  # noqa: E402

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


class Pihole(unittest.TestCase):
    ADDRESS, NAME = "10.100.0.106", "stoneward.home.lab"
    STAMP = "var/lib/imgbuild/pihole.done"
    INSTALLED = "var/lib/imgbuild/pihole.installed"

    def sandbox(self, top: str, password: str) -> Sandbox:
        node = Sandbox(top, "overlays/pihole/root/usr/lib/imgbuild/pihole")
        node.file("usr/lib/imgbuild/firstboot.sh", node.moved((REPO / "overlays/common/root/usr/lib/imgbuild/firstboot.sh").read_text()))
        node.file("usr/lib/imgbuild/report", PROLOGUE)
        node.file("usr/sbin/nft", "")
        node.file("etc/pihole/pihole.toml", "# a configuration")
        node.file("etc/imgbuild/pihole.env", f"PH_CORE=v1\nPH_CORE_COMMIT=\nPH_WEB=v2\nPH_WEB_COMMIT=\nPH_FTL=v3\nPH_PASSWORD={password}\n"
                  f"PH_FIREWALL=yes\nPH_ADDRESS={self.ADDRESS}\nPH_PORT=80\nPH_TEST_NAME={self.NAME}\n")
        if password == "given":
            node.file("etc/imgbuild/pihole.password", "chosen\n")
        for name in ("getent", "curl", "dpkg", "systemctl", "apt-get"):
            node.stand_in(name, "")
        # What matters of git: a clone is a folder, and it is at the tag that it was cloned at.
        node.stand_in("git", """
for last; do :; done
case "$*" in
    *clone*) mkdir -p "$last/.git" && echo "$*" | sed 's/.*--branch \\([^ ]*\\).*/\\1/' >"$last/.git/tag" ;;
    *describe*) cat "$2/.git/tag" ;;
esac
""")
        node.file("usr/lib/imgbuild/pihole-installer", PROLOGUE + 'umask >"$SCRATCH/umask"\necho >>"$SCRATCH/installer-ended"\n')
        # Both set what can log in then, in a file that others may read as far as the umask lets them.
        node.stand_in("pihole-FTL", '[ "$1" != --config ] || echo "$3" >"$SCRATCH/etc/pihole/password"\n[ "$1" != tag ] || echo v3\n')
        node.stand_in("pihole", 'rm -f "$SCRATCH/etc/pihole/password"\necho "$2" >"$SCRATCH/etc/pihole/password"\n')
        # FTL answers its own name with the address that it was asked at.
        node.stand_in("dig", '[ -z "${SILENT-}" ] || exit 9\nfor word; do case $word in @*) echo "${word#@}" ;; esac; done\n')
        return node

    def can_log_in(self, node: Sandbox) -> str:
        return (node.text("etc/pihole/password") or "").strip()

    def test_a_password_that_was_given(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, "given")
            self.assertEqual(node.run(), 0, node.process)
            self.assertEqual(self.can_log_in(node), "chosen")
            self.assertEqual((node.top / "etc/pihole/password").stat().st_mode & 0o777, 0o640)
            self.assertEqual(node.text("umask"), "0022\n")
            self.assertIsNone(node.text("etc/imgbuild/pihole.password"))
            self.assertIsNone(node.text("etc/imgbuild/pihole.generated"))
            self.assertIsNotNone(node.text(self.STAMP))

    def test_a_power_cut_anywhere(self) -> None:
        for password in ("given", "none", "hash"):
            with tempfile.TemporaryDirectory() as top:
                whole = self.sandbox(top, password)
                whole.run()
                steps = len(whole.calls())
            self.assertGreater(steps, 15)
            for cut in range(1, steps + 1):
                with self.subTest(password=password, cut=cut), tempfile.TemporaryDirectory() as top:
                    self.cut_off(self.sandbox(top, password), password, cut)

    def cut_off(self, node: Sandbox, password: str, cut: int) -> None:
        self.assertEqual(node.run(CUT_AT=str(cut)), -signal.SIGKILL)
        made_up = node.text("etc/imgbuild/pihole.generated")
        was_installed = node.text(self.INSTALLED) is not None
        node.forget()
        if node.text(self.STAMP) is None:
            self.assertEqual(node.run(), 0, node.process)
            self.assertEqual(len(node.calls("pihole-installer")), 0 if was_installed else 1)
        generated = node.text("etc/imgbuild/pihole.generated")
        self.assertEqual(self.can_log_in(node), {"given": "chosen", "none": generated, "hash": ""}[password])
        self.assertEqual(generated is not None, password == "none")
        self.assertIn(made_up, (None, generated))
        self.assertIsNone(node.text("etc/imgbuild/pihole.password"))

    def test_the_owners_new_password_outlives_a_retry(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, "given")
            self.assertNotEqual(node.run(SILENT="yes"), 0)
            self.assertEqual(len(node.calls("dig")), 30)
            node.file("etc/pihole/password", "the owner's\n")
            self.assertEqual(node.run(), 0, node.process)
            self.assertEqual(self.can_log_in(node), "the owner's")
            self.assertEqual(len(node.text("installer-ended") or ""), 1)

    def test_none_is_made_up_when_one_was_given(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            node = self.sandbox(top, "given")
            (node.top / "etc/imgbuild/pihole.password").unlink()
            self.assertNotEqual(node.run(), 0)
            self.assertEqual(self.can_log_in(node), "")
            self.assertIsNone(node.text("etc/imgbuild/pihole.generated"))


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
