"""Two blank disks: neither is touched, and the status file says why"""

from __future__ import annotations

LAB = "disks"


def run(lab):
    master = lab.node("master")
    lab.wait("the status file says that two disks are free and none is touched",
             lambda: "2 free disks" in master.status() and "none is touched" in master.status(), 400)
    with lab.check("both disks are still nothing but zeros"):
        master.sudo("sync")
        for disk in lab.memory["blank"]:
            # A sparse file of zeros has no blocks.
            assert disk.stat().st_blocks == 0, f"{disk.name} has {disk.stat().st_blocks} sectors"
    with lab.check("the share is down, the node is up"):
        assert master.unit("smbd.service", "ActiveState")["ActiveState"] != "active"
        assert master.multi_user()
