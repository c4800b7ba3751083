"""A machine on the lab's wire that is no machine: network, mount and host name namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from harness.network import BRIDGE, PREFIX, ROUTER, ip


class Space:
    """`eth0` with the address, on the lab's switch; folders of its own in the place of those that a node writes to.
    It ends with the lab, whose process namespace it is in."""

    count = 0

    def __init__(self, hostname: str, address: str, workdir: pathlib.Path) -> None:
        self.hostname, self.address = hostname, address
        self.workdir = workdir
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        workdir.mkdir(parents=True, exist_ok=True)
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        mine = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine, f"the namespaces of {hostname}", 10)
        Space.count += 1
        self.port = port = f"wire{Space.count}"
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        ip("link", "set", port, "master", BRIDGE, "up")
        self.shell(f"""
            hostname {shlex.quote(hostname)}
            ip link set lo up
            ip addr add {address}/{PREFIX} dev eth0
            ip link set eth0 up
            ip route add default via {ROUTER}
            mount -t tmpfs run /run
            mount -t tmpfs log /var/log
            mount -t tmpfs opt /opt
            mkdir -p {self.workdir}/var-lib
            mount --bind {self.workdir}/var-lib /var/lib
        """)

    def inside(self, *words: str | pathlib.Path) -> list[str]:
        """The command that runs another one in here."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", "--uts", *map(str, words)]

    def run(self, *words: str | pathlib.Path, check: bool = True, timeout: float = 60, text: str | None = None,
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a program in here to its end and keeps what it says."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, errors="replace", timeout=timeout, input=text,
                              stdin=None if text is not None else subprocess.DEVNULL, env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            told = (done.stdout + done.stderr).strip()[-1500:]
            raise RuntimeError(f"{self.hostname}: {shlex.join(map(str, words))} ended with {done.returncode}: {told}")
        return done

    def shell(self, script: str, **more: Any) -> str:
        """The same with a shell script, which ends at its first error. Returns what it prints."""
        return self.run("sh", "-euc", script, **more).stdout

    def start(self, name: str, *words: str | pathlib.Path, env: dict[str, str] | None = None) -> None:
        """Starts a program that stays. What it says goes to a file of its name."""
        with (self.workdir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(self.inside(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                                    env={**os.environ, **(env or {})})

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def died(self) -> dict[str, str]:
        """The programs that are no more, each with its last words."""
        return {name: f"{process.returncode}: {(self.workdir / f'{name}.log').read_text(errors='replace')[-1500:]}"
                for name, process in self.processes.items() if process.poll() is not None}

    def close(self) -> None:
        """The machine is switched off: all that runs in its network ends, and its cable is pulled."""
        subprocess.run(["ip", "link", "del", self.port], check=False, stderr=subprocess.DEVNULL)
        mine = os.readlink(f"/proc/{self.holder.pid}/ns/net")
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "ns" / "net") == mine:
                    os.kill(int(process.name), signal.SIGKILL)
        for ended in (self.holder, *self.processes.values()):
            ended.wait()


def until(happened: Callable[[], Any], what: str, timeout: float = 30) -> None:
    """Waits for something that takes a moment. Errors count as not yet."""
    deadline = time.monotonic() + timeout
    last: object = "never true"
    while True:
        try:
            if happened():
                return
        except Exception as error:  # noqa: BLE001
            last = error
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout:.0f} s; {last}")
        time.sleep(0.3)
