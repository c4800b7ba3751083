"""The boot partition is read-only: all the node loses is its status file"""

from __future__ import annotations

from expected import NODES
from scenarios import first_boot

LAB = "faults"


def run(lab):
    node = lab.node("worker-2")
    lab.come_up("worker-2")
    with lab.check("the boot partition is read-only"):
        assert "ro" in node.run("findmnt -no OPTIONS /boot/firmware").strip().split(",")
    first_boot.names(lab, node, NODES["worker-2"])
    first_boot.network(lab, node, NODES["worker-2"])
    first_boot.logins(lab, node)
    lab.wait("the first-boot units finish", lambda: node.exists("/var/lib/imgbuild/base.done"), 300)
    with lab.check("the status is in the root file system, and no status file is half written"):
        assert node.sudo("cat /var/lib/imgbuild/status/base").split()[:2] == ["base", "done"]
        assert node.sudo("ls /boot/firmware | grep imgbuild || true").strip() == ""
    with lab.check("no unit has failed"):
        assert not node.failed_units(), node.failed_units()
