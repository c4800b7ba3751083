"""One Raspberry Pi: firmware, serial console, network cable, USB ports, power switch, and SSH into it.

QEMU's `virt` machine stands in for the board, as its models of real Pis have no usable network or USB. The
firmware's part is played here: kernel, initramfs and command line come from the card's boot partition.
"""

from __future__ import annotations

import gzip
import json
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any

from .card import Card
from .checks import DeadEnd
from .network import Lan

# A guest under emulation on a shared machine is ten times slower than the board whose timeouts these are.
PATIENCE = ("systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900 "
            "systemd.show_status=yes systemd.log_color=no")
TALKATIVE = "systemd.journald.forward_to_console=1"
SSH_SECONDS = 180
OURS = re.compile(r"imgbuild|k3s|tailscale|pihole|smb|nmb|srv-|ssh|boot-firmware|systemd-time")


class CommandFailed(Exception):
    """A command in the guest ended with something else than 0."""


class Machine:
    """A board with a card in it. `boot()` switches it on; it can be switched on again after it went off.

    `masked` units are part of the tests' base although Raspberry Pi OS and the node's profile have none of them.
    """

    def __init__(self, name: str, card: Card, address: str, lan: Lan, workdir: pathlib.Path, index: int, key: pathlib.Path,
                 user: str = "pi", cpus: int = 1, memory_mib: int = 1024, masked: tuple[str, ...] = ()) -> None:
        self.name, self.card, self.address, self.user = name, card, address, user
        self.hostname = name
        self.key, self.cpus, self.memory_mib = key, cpus, memory_mib
        self.masked = masked
        self.workdir = workdir / name
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.tap = f"tap{index}"
        self.mac = f"dc:a6:32:00:00:{index:02x}"
        lan.plug(self.tap)
        # Not in workdir: a socket's path may have 107 bytes.
        self.control = tempfile.mkdtemp(prefix="boot-test-")
        self.process: subprocess.Popen[bytes] | None = None
        self.boots = 0
        self.usb: dict[str, pathlib.Path] = {}

    # ------------------------------------------------------------------ power

    def boot(self, clock: str | None = None, cable: bool = True, forgetful: bool = False, talkative: bool = False) -> None:
        """Switches the machine on. `clock`: what its clock says, as 2019-01-01T00:00:00 (UTC). A `forgetful` card loses
        in a power cut what was written to places never written before and not flushed since, as real cards do. The
        console of a `talkative` machine shows what its services say as well."""
        assert not self.running(), f"{self.name} is on already"
        self.boots += 1
        kernel, initramfs, command_line = self._firmware()
        # A new file for every boot, so that a pattern is not found in the boot before.
        self.console = self.workdir / f"console-{self.boots}.log"
        qmp = self.workdir / "qmp"
        qmp.unlink(missing_ok=True)
        command = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", str(self.cpus), "-m", str(self.memory_mib),
            "-accel", "tcg,thread=multi,tb-size=512", "-display", "none", "-no-reboot", "-nodefaults",
            "-kernel", str(kernel), "-initrd", str(initramfs), "-append", " ".join([command_line, PATIENCE, *(f"systemd.mask={unit}" for unit in self.masked),
                                                                                *([TALKATIVE] if talkative else [])]),
            "-serial", f"file:{self.console}", "-qmp", f"unix:{qmp},server=on,wait=off",
            "-drive", self.card.forgetful_drive() if forgetful else self.card.drive(),
            "-device", "virtio-blk-pci,drive=card,serial=sdcard", "-device", "virtio-rng-pci",
            "-device", "qemu-xhci,id=usb",
            "-netdev", f"tap,id=lan,ifname={self.tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,id=nic,netdev=lan,mac={self.mac},romfile=",
        ]
        if clock:
            command += ["-rtc", f"base={clock}"]
        for name, path in self.usb.items():
            command += ["-blockdev", _blockdev(name, path), "-device", f"usb-storage,bus=usb.0,id={name},drive={name},serial={name}"]
        (self.workdir / f"qemu-{self.boots}.sh").write_text(shlex.join(command) + "\n")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=(self.workdir / "qemu.out").open("ab"), stderr=subprocess.STDOUT)
        self._connect_qmp(qmp)
        if not cable:
            self.link(False)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def power_cut(self) -> None:
        """The plug is pulled."""
        assert self.process
        self._forget_ssh()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.card.settle()

    def power_off(self, timeout: float = 240) -> None:
        """Shuts the system down properly and waits until the machine is off."""
        self.sudo("systemctl poweroff --no-block")
        self.wait_off(timeout)

    def wait_off(self, timeout: float) -> None:
        assert self.process
        try:
            self.process.wait(timeout)
        finally:
            self._forget_ssh()
        self.card.settle()

    def _firmware(self) -> tuple[pathlib.Path, pathlib.Path, str]:
        """What start4.elf does: kernel8.img, its initramfs, and the first line of cmdline.txt."""
        config = self.card.boot_file("config.txt").decode()
        assert re.search(r"^auto_initramfs=1$", config, re.M), "config.txt does not ask for the initramfs"
        kernel, initramfs = self.workdir / "Image", self.workdir / "initramfs8"
        data = self.card.boot_file("kernel8.img")
        kernel.write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        initramfs.write_bytes(self.card.boot_file("initramfs8"))
        words = self.card.boot_file("cmdline.txt").decode().splitlines()[0].split()
        serial = ["console=ttyAMA0,115200" if w.startswith("console=serial0") else w for w in words if w != "console=tty1"]
        return kernel, initramfs, " ".join(serial)

    # ------------------------------------------------------------------ QEMU's monitor

    def _connect_qmp(self, path: pathlib.Path) -> None:
        deadline = time.monotonic() + 60
        self.monitor = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.monitor.connect(str(path))
                break
            except OSError:
                assert self.running(), f"QEMU did not start, see {self.workdir}/qemu.out"
                assert time.monotonic() < deadline, "QEMU's monitor does not answer"
                time.sleep(0.2)
        self.monitor_file = self.monitor.makefile("r")
        self.monitor_file.readline()  # greeting
        self.qmp("qmp_capabilities")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """One command of the QEMU machine protocol; events that come in between are dropped."""
        self.monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self.monitor_file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise RuntimeError(f"QEMU went away during {command}")

    def link(self, up: bool) -> None:
        """Plugs the network cable in, or pulls it."""
        self.qmp("set_link", name="nic", up=up)

    def plug_usb(self, name: str, path: pathlib.Path) -> None:
        """Plugs a USB disk in; its serial number is `name`. Before `boot()`: it is there from the start."""
        self.usb[name] = path
        if self.running():
            self.qmp("blockdev-add", **json.loads(_blockdev(name, path)))
            self.qmp("device_add", driver="usb-storage", bus="usb.0", id=name, drive=name, serial=name)

    def pull_usb(self, name: str) -> None:
        """Pulls a USB disk, without asking the system."""
        del self.usb[name]
        if self.running():
            self.qmp("device_del", id=name)
            deadline = time.monotonic() + 60
            while True:  # the node is free once the guest has noticed
                try:
                    self.qmp("blockdev-del", **{"node-name": name})
                    return
                except RuntimeError:
                    assert time.monotonic() < deadline, f"QEMU does not let go of {name}"
                    time.sleep(0.5)

    # ------------------------------------------------------------------ serial console

    def console_text(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def console_shows(self, pattern: str) -> bool:
        """Whether the console of this boot shows a match. Raises DeadEnd when the boot came to one."""
        text = self.console_text()
        if re.search(pattern, text):
            return True
        for dead_end in ("Kernel panic", "(initramfs)", "You are in emergency mode", "ALERT!"):
            if dead_end in text:
                tail = "\n".join(text.splitlines()[-15:])
                raise DeadEnd(f"{self.name}: the boot ended with “{dead_end}”:\n{tail}")
        assert self.running(), f"{self.name} is off"
        return False

    def wait_console(self, pattern: str, timeout: float, poll: float = 0.2) -> None:
        """Waits for a pattern on the console, with a fine grain: power cuts are timed with it."""
        deadline = time.monotonic() + timeout
        while not self.console_shows(pattern):
            assert time.monotonic() < deadline, f"{self.name}: console shows no {pattern!r} within {timeout:.0f} s"
            time.sleep(poll)

    # ------------------------------------------------------------------ SSH

    def _ssh_options(self) -> list[str]:
        control = f"{self.control}/%C"
        return ["-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
                "-o", f"UserKnownHostsFile={self.workdir}/known_hosts", "-o", "LogLevel=ERROR",
                "-o", "ConnectTimeout=90", "-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=9",
                "-o", "BatchMode=yes", "-o", "ControlMaster=auto", "-o", f"ControlPath={control}", "-o", "ControlPersist=yes"]

    def _forget_ssh(self) -> None:
        subprocess.run(["ssh", *self._ssh_options(), "-O", "exit", f"{self.user}@{self.address}"], capture_output=True)
        (self.workdir / "known_hosts").unlink(missing_ok=True)

    def run(self, command: str, timeout: float = SSH_SECONDS, check: bool = True) -> str:
        """Runs a shell command as the user, returns what it prints. With check=False the exit code is ignored."""
        assert self.running(), f"{self.name} is off"
        done = subprocess.run(["ssh", *self._ssh_options(), f"{self.user}@{self.address}", command],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout)
        if check and done.returncode != 0:
            raise CommandFailed(f"{self.name}: {command!r} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
        return done.stdout

    def sudo(self, command: str, timeout: float = SSH_SECONDS, check: bool = True) -> str:
        """The same as root."""
        return self.run(f"sudo sh -c {shlex.quote(command)}", timeout, check)

    def read(self, path: str) -> str:
        """A file's text, as root."""
        return self.sudo(f"cat {shlex.quote(path)}")

    def exists(self, path: str) -> bool:
        return self.sudo(f"test -e {shlex.quote(path)} && echo yes || true").strip() == "yes"

    def unit(self, name: str, *properties: str) -> dict[str, str]:
        """Properties of a systemd unit."""
        text = self.sudo(f"systemctl show {shlex.quote(name)} --property={','.join(properties)}")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def failed_units(self) -> list[str]:
        """The failed units, each with the end of its journal: what a report of the failure has to say.

        One of the base's own that starts now has only run into a time limit, as happens to a guest that was starved
        for half a minute: it is written to second-try.log and left out. Those that we ship have one try."""
        failed = [line.split()[0] for line in self.run("systemctl list-units --failed --plain --no-legend").splitlines()]
        reports = {unit: f"{unit}: " + self.sudo(f"journalctl --boot --unit={unit} --lines=12 --output=cat") for unit in failed}
        recovered = [unit for unit in failed if not OURS.match(unit) and self._starts(unit)]
        with (self.workdir / "second-try.log").open("a", encoding="utf-8") as log:
            log.writelines(f"{reports.pop(unit)}\n" for unit in recovered)
        return list(reports.values())

    def _starts(self, unit: str) -> bool:
        return self.sudo(f"systemctl restart {shlex.quote(unit)} && echo yes", timeout=400, check=False).strip() == "yes"

    def answers(self) -> bool:
        """Whether SSH lets us in. sshd comes up, goes and comes again during a first boot."""
        assert self.running(), f"{self.name} is off"
        try:
            return self.run("echo in", timeout=120).strip() == "in"
        except (CommandFailed, subprocess.TimeoutExpired):
            self.console_shows("never on any console")  # a dead end ends the lab
            return False

    def multi_user(self) -> bool:
        return self.run("systemctl is-active multi-user.target", check=False).strip() == "active"

    def status(self) -> str:
        """The status file of the first boot, as a laptop would read it."""
        return self.sudo("cat /boot/firmware/imgbuild-status.txt")

    def all_done(self) -> bool:
        return self.status().rstrip().endswith("all done")


def _blockdev(name: str, path: pathlib.Path) -> str:
    return json.dumps({"driver": "raw", "node-name": name, "cache": {"no-flush": True},
                       "file": {"driver": "file", "filename": str(path)}})
