"""A card with a GPT: it boots, the root grows to the card with the table's backup at its end, and boots again"""

from __future__ import annotations

import json

from harness.card import GIB

LAB = "gpt"
MIB = 1 << 20
TABLE = "sfdisk --json /dev/vda"


def run(lab):
    node = lab.node("worker-1")
    image = node.card.table
    with lab.check("the image has a GPT, and its backup lies before the end of the card"):
        assert image["label"] == "gpt", image
        assert (image["lastlba"] + 1) * 512 < node.card.path.stat().st_size - GIB, image
    node.boot()
    lab.come_up()
    with lab.check("cmdline.txt and fstab name the partitions of the GPT; no word makes the first boot resize an MBR"):
        boot, root = (p["uuid"].lower() for p in image["partitions"])
        words = node.read("/boot/firmware/cmdline.txt").split()
        assert f"root=PARTUUID={root}" in words, words
        assert not [w for w in words if "resize" in w or "firstboot" in w], words
        fstab = [line.split()[:2] for line in node.read("/etc/fstab").splitlines()]
        assert [f"PARTUUID={boot}", "/boot/firmware"] in fstab and [f"PARTUUID={root}", "/"] in fstab, fstab
    with lab.check("imgbuild-grow has run, once and well"):
        assert node.unit("imgbuild-grow", "Result")["Result"] == "success"
        assert node.exists("/var/lib/imgbuild/grow.done")
        status = [line.split()[:2] for line in node.status().splitlines()]
        assert ["grow", "done"] in status, node.status()
    with lab.check("the root file system fills the card"):
        size = int(node.run("df -B1 --output=size / | tail -n 1"))
        room = node.card.path.stat().st_size - node.card.root
        assert 0.93 * room < size < room, f"{size / GIB:.2f} GiB of {room / GIB:.2f}"
    with lab.check("no unit has failed"):
        assert not node.failed_units(), node.failed_units()
    grown = json.loads(node.sudo(TABLE))
    judge(lab, node)

    node.boot()
    lab.come_up()
    with lab.check("second boot: the table is as it was, and nothing grew again"):
        assert json.loads(node.sudo(TABLE)) == grown
        ran = node.unit("imgbuild-grow", "ExecMainStartTimestampMonotonic")
        assert ran["ExecMainStartTimestampMonotonic"] == "0", ran
    with lab.check("second boot: no unit has failed"):
        assert not node.failed_units(), node.failed_units()
    judge(lab, node)


def judge(lab, node):
    """What the tools of the host say about the card of the machine, which is switched off for it."""
    lab.power_off("worker-1")
    card = str(node.card.path)
    with lab.check("sgdisk and sfdisk find nothing wrong with the card's table"):
        said = lab.host(["sgdisk", "--verify", card])
        assert "No problems found" in said and "Warning" not in said, said
        assert "No errors detected" in lab.host(["sfdisk", "--verify", card])
    with lab.check("the table's ids are the image's, and the root ends where the backup begins"):
        table = json.loads(lab.host(["sfdisk", "--json", card]))["partitiontable"]
        before, now = node.card.table, table["partitions"]
        assert table["id"] == before["id"] and [p["uuid"] for p in now] == [p["uuid"] for p in before["partitions"]], table
        end, last = (now[1]["start"] + now[1]["size"]) * 512, node.card.path.stat().st_size
        assert last - MIB <= end <= last - 33 * 512, f"{end} of {last}"
    with lab.check("e2fsck and fsck.vfat find nothing wrong"):
        findings = node.card.judged(lab.workdir)
        assert not findings, findings
