"""After a reboot the same SSD is mounted and served, and not made anew"""

from __future__ import annotations

from expected import SHARE
from scenarios.ssd_blank import TEXT, smbclient

LAB = "cluster"
AFTER = ["ssd_blank"]


def run(lab):
    master = lab.node("master")
    lab.wait("the share is served", lambda: "hello.txt" in smbclient(lab, master, "ls"), 300)
    with lab.check("the file of the first boot is there"):
        assert master.read(f"/srv/nas/{SHARE}/hello.txt") == TEXT
