"""The SSD is pulled while it is in use, and plugged in again"""

from __future__ import annotations

from scenarios.ssd_blank import smbclient

LAB = "disks"
AFTER = ["ssd_with_data"]


def run(lab):
    master, disk = lab.node("master"), lab.memory["data"]
    with lab.check("a client writes a file"):
        answer = smbclient(lab, master, f'put "{lab.key}.pub" before.txt')
        assert "putting file" in answer and "NT_STATUS" not in answer, answer
    master.sudo("sync")
    master.pull_usb("old")
    lab.wait("the mount goes with the disk", lambda: not master.sudo("mountpoint -q /srv/nas && echo yes", check=False), 120)
    lab.wait("the share goes down with it", lambda: master.unit("smbd.service", "ActiveState")["ActiveState"] != "active", 120)
    with lab.check("a client that writes now does not write to the card"):
        smbclient(lab, master, f'put "{lab.key}.pub" lost.txt')
        assert master.sudo("ls -A /srv/nas").strip() == ""
    with lab.check("the node is up otherwise"):
        assert master.multi_user()
    master.plug_usb("old", disk)
    lab.wait("plugged in again it is mounted", lambda: master.sudo("mountpoint -q /srv/nas && echo yes", check=False), 180)
    lab.wait("and served, with what was written before", lambda: "before.txt" in smbclient(lab, master, "ls"), 180)
    with lab.check("the file system is clean"):
        assert "clean" in master.sudo("dumpe2fs -h /dev/disk/by-label/nas 2>/dev/null | grep -i 'filesystem state'")
