"""SD cards and disks: files that a machine is given, and what the test reads of them while they are not in use."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

SECTOR = 512
GIB = 1 << 30
MTOOLS = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}


class Card:
    """A card with an image on it: its file, before a machine has had it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.overlay: pathlib.Path | None = None
        layout = subprocess.run(["sfdisk", "--json", str(path)], check=True, capture_output=True).stdout
        self.table = json.loads(layout)["partitiontable"]
        self.boot, self.root = (p["start"] * SECTOR for p in self.table["partitions"][:2])

    def drive(self) -> str:
        """QEMU's -drive for it. Flushes are not waited for: nothing is lost when only QEMU is killed."""
        return f"file={self.path},format=raw,if=none,id=card,cache=unsafe"

    def forgetful_drive(self) -> str:
        """The same with a volatile write cache: everything goes to a qcow2 file, whose tables QEMU keeps in memory
        until the guest flushes. Kill QEMU, and what was newly written since the last flush is gone."""
        self.overlay = self.path.with_suffix(".qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.path), str(self.overlay)], check=True)
        return f"file={self.overlay},format=qcow2,if=none,id=card,cache=writeback,l2-cache-size=4M,cache-clean-interval=0"

    def settle(self) -> None:
        """After the machine went off: what a forgetful card has kept is on the card itself."""
        if self.overlay is None:
            return
        # Exit code 3: clusters that nobody refers to, which is the loss that was wanted; 2 would be damage.
        checked = subprocess.run(["qemu-img", "check", "-q", "-r", "leaks", str(self.overlay)], capture_output=True)
        assert checked.returncode in (0, 3), checked.stderr.decode()
        subprocess.run(["qemu-img", "commit", "-q", str(self.overlay)], check=True)
        self.overlay.unlink()
        self.overlay = None

    def disk_id(self) -> int:
        """The MBR's disk id, on which every PARTUUID is built."""
        with self.path.open("rb") as disk:
            disk.seek(440)
            return int.from_bytes(disk.read(4), "little")

    def boot_file(self, name: str) -> bytes:
        """A file of the boot partition. FileNotFoundError when there is none."""
        done = subprocess.run(["mcopy", "-n", "-i", f"{self.path}@@{self.boot}", f"::{name}", "-"],
                              env=MTOOLS, capture_output=True)
        if done.returncode != 0:
            raise FileNotFoundError(f"{name} on the boot partition of {self.path.name}")
        return done.stdout

    def boot_bytes(self) -> bytes:
        """The whole boot partition, deleted files included."""
        size = self.table["partitions"][0]["size"] * SECTOR
        with self.path.open("rb") as disk:
            disk.seek(self.boot)
            return disk.read(size)

    def partition(self, number: int, path: pathlib.Path) -> pathlib.Path:
        """Copies a partition, as the table on the card has it now, into a file of its own, sparse."""
        layout = subprocess.run(["sfdisk", "--json", str(self.path)], check=True, capture_output=True).stdout
        part = json.loads(layout)["partitiontable"]["partitions"][number - 1]
        subprocess.run(["dd", f"if={self.path}", f"of={path}", "bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes",
                        f"skip={part['start'] * SECTOR}", f"count={part['size'] * SECTOR}"], check=True)
        return path

    def judged(self, scratch: pathlib.Path) -> dict[str, str]:
        """What fsck.vfat and e2fsck find wrong on the card of a machine that was shut down: nothing, it is hoped."""
        findings = {}
        for number, judge in ((1, ["fsck.vfat", "-n"]), (2, ["e2fsck", "-fn"])):
            file = self.partition(number, scratch / f"partition-{number}.img")
            done = subprocess.run([*judge, str(file)], capture_output=True, text=True, errors="replace")
            if done.returncode != 0:
                findings[judge[0]] = done.stdout + done.stderr
            file.unlink()
        return findings

    def root_debugfs(self, request: str, write: bool = False) -> str:
        """Runs one debugfs request on the root file system. The machine must be off and its journal replayed."""
        mode = ["-w"] if write else []
        done = subprocess.run(["debugfs", *mode, "-R", request, f"{self.path}?offset={self.root}"],
                              check=True, capture_output=True, text=True)
        return done.stdout

    def replace_root_file(self, path: str, text: str, scratch: pathlib.Path) -> None:
        """Overwrites a file of the root file system (mode 0644, owner root), as a fault to be tested."""
        scratch.write_text(text)
        self.root_debugfs(f"rm {path}", write=True)
        self.root_debugfs(f"write {scratch} {path}", write=True)


def new_card(path: pathlib.Path, image: pathlib.Path, size: int | None = None) -> Card:
    """A card that was never used, with an image on it. `size` bytes, the image's own size when not given."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(path)], check=True)
    card = Card(path)
    if size is not None:
        os.truncate(path, size)
    return card


def used_card(path: pathlib.Path, size: int) -> pathlib.Path:
    """The file of a card of `size` bytes on which no bit is zero."""
    with path.open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(b"\xff" * min(1 << 20, size - at))
    return path


@contextlib.contextmanager
def loop_device(path: pathlib.Path) -> Iterator[str]:
    """A file as a block device, for programs that make a difference. OSError where that cannot be had."""
    done = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
        os.sync()
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def blank_disk(path: pathlib.Path, gib: int = 9) -> pathlib.Path:
    """A new SSD: nothing but zeros."""
    with path.open("wb") as file:
        file.truncate(gib * GIB)
    return path


def data_disk(path: pathlib.Path, label: str, tree: pathlib.Path, gib: int = 9) -> pathlib.Path:
    """An SSD with an ext4 file system that holds a copy of `tree`."""
    blank_disk(path, gib)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", str(tree), str(path)], check=True)
    return path
