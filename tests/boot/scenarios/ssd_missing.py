"""No SSD: the node boots, the share stays down, nothing lands on the card"""

from __future__ import annotations

from scenarios.ssd_blank import smbclient

LAB = "disks"


def run(lab):
    master = lab.node("master")
    with lab.check("smbd is down and was not left failed"):
        assert master.unit("smbd.service", "ActiveState")["ActiveState"] == "inactive"
        assert not master.failed_units()
    with lab.check("a client finds nobody at the door"):
        answer = smbclient(lab, master, "ls")
        assert "NT_STATUS_CONNECTION_REFUSED" in answer, answer
    with lab.check("the mount point is empty and closed to users"):
        assert master.sudo("ls -A /srv/nas").strip() == ""
        assert master.sudo("stat -c %a /srv/nas").strip() == "0"
    lab.wait("the status file says that a disk is missing", lambda: "plug one in" in master.status(), 400)
