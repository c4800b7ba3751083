"""An SSD with data is plugged in: it is left as it is, and served"""

from __future__ import annotations

from expected import SHARE, SHARE_UID, SHARE_USER
from harness.card import data_disk
from scenarios.ssd_blank import smbclient

LAB = "disks"


def run(lab):
    master = lab.node("master")
    tree = lab.workdir / "old-data"
    (tree / SHARE / "photos").mkdir(parents=True, exist_ok=True)
    (tree / SHARE / "photos" / "moon.txt").write_text("taken years ago\n")
    (tree / "not-shared.txt").write_text("beside the share\n")
    disk = data_disk(lab.workdir / "old.disk", "nas", tree)
    lab.memory["data"] = disk
    master.plug_usb("old", disk)
    lab.wait("the disk is mounted when it is plugged in", lambda: master.sudo("mountpoint -q /srv/nas && echo yes", check=False), 120)
    lab.wait("and served", lambda: "moon.txt" in smbclient(lab, master, "cd photos; ls"), 120)
    with lab.check("its files are what they were"):
        assert master.read(f"/srv/nas/{SHARE}/photos/moon.txt") == "taken years ago\n"
        assert master.read("/srv/nas/not-shared.txt") == "beside the share\n"
        assert master.sudo("find /srv/nas -type f | wc -l").strip() == "2"
    with lab.check("the share's user has the number that it had on the card before"):
        assert master.run(f"id -u {SHARE_USER}; id -g {SHARE_USER}").split() == [SHARE_UID] * 2
    with lab.check("folders of other owners are served read-only, and written to once they belong to the share's user"):
        assert "NT_STATUS_ACCESS_DENIED" in smbclient(lab, master, f'put "{lab.key}.pub" new.txt')
        assert master.sudo(f"stat -c %u /srv/nas/{SHARE}").strip() != SHARE_UID
        master.sudo(f"chown {SHARE_USER}: /srv/nas/{SHARE}")
        smbclient(lab, master, f'put "{lab.key}.pub" new.txt')
        assert master.exists(f"/srv/nas/{SHARE}/new.txt")
    with lab.check("what lies beside the share is not served"):
        assert "not-shared" not in smbclient(lab, master, "ls; cd ..; ls")
