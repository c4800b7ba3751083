"""One disk with somebody's data: not touched either"""

from __future__ import annotations

import hashlib

LAB = "disks"
MARK = b"an old backup without any file system\n"


def run(lab):
    """Continues on the machine with two blank disks: one goes, the other gets a few bytes in its first MiB."""
    master, disk = lab.node("master"), lab.memory["blank"][0]
    for name in list(master.usb):
        master.pull_usb(name)
    with disk.open("r+b") as file:
        file.seek(4096)
        file.write(MARK)
    before = first_bytes(disk)
    master.plug_usb("blank0", disk)
    lab.wait("the node sees the disk", lambda: "/dev/sd" in master.run("lsblk -dpno NAME"), 120)
    master.sudo("systemctl reset-failed imgbuild-samba-format.service; systemctl start imgbuild-samba-format.service", timeout=300)
    with lab.check("the status file says that the disk is not blank"):
        assert "is not blank: not touched" in master.status(), master.status()
    with lab.check("the disk is unchanged"):
        master.sudo("sync")
        assert first_bytes(disk) == before


def first_bytes(disk):
    with disk.open("rb") as file:
        return hashlib.sha256(file.read(64 << 20)).hexdigest()
