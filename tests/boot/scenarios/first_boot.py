"""First boot: the node is what its profile says"""

from __future__ import annotations

import re

from expected import DOMAIN, GATEWAY, KEYBOARD, LANG, NODES, RESOLVERS, USER
from harness.card import GIB

LAB = "cluster"
REFUSED = "Permission denied (publickey)"


def run(lab):
    for profile, machine in lab.nodes.items():
        expected = NODES[profile]
        names(lab, machine, expected)
        network(lab, machine, expected)
        logins(lab, machine)
        locale(lab, machine)
        card(lab, machine)
    each_its_own(lab)
    for profile, machine in lab.nodes.items():
        reports(lab, machine, NODES[profile])
    no_secret_on_the_boot_partition(lab)


def names(lab, machine, node):
    with lab.check(f"{machine.name}: host name is {node.hostname}, its full name {node.hostname}.{DOMAIN}"):
        assert machine.run("hostname; hostname -f").split() == [node.hostname, f"{node.hostname}.{DOMAIN}"]


def network(lab, machine, node):
    with lab.check(f"{machine.name}: address {node.address}/24 and no other, gateway {GATEWAY}"):
        addresses = re.findall(r"inet (\S+)", machine.run("ip -4 addr show dev eth0"))
        assert addresses == [f"{node.address}/24"], addresses
        assert machine.run("ip -4 route show default").split()[:5] == ["default", "via", GATEWAY, "dev", "eth0"]
    with lab.check(f"{machine.name}: asks {' before '.join(RESOLVERS)}, search domain {DOMAIN}"):
        lines = [line.split() for line in machine.read("/etc/resolv.conf").splitlines() if line.strip()]
        assert [words[1] for words in lines if words[0] == "nameserver"] == RESOLVERS, lines
        assert [words[1:] for words in lines if words[0] == "search"] == [[DOMAIN]], lines


def logins(lab, machine):
    target = f"{USER}@{machine.address}"
    common = ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=90"]
    with lab.check(f"{machine.name}: password login is not offered"):
        answer = lab.host([*common, "-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes", target, "true"], check=False)
        assert REFUSED in answer, answer
    with lab.check(f"{machine.name}: another key and root are refused"):
        stranger = lab.workdir / "stranger"
        if not stranger.exists():
            lab.host(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)])
        for who, key in ((target, stranger), (f"root@{machine.address}", lab.key)):
            answer = lab.host([*common, "-o", "IdentitiesOnly=yes", "-i", str(key), who, "true"], check=False)
            assert "Permission denied" in answer, answer
    with lab.check(f"{machine.name}: sudo without a password, uid 1000"):
        assert machine.run("id -un; id -u; sudo -n id -u").split() == [USER, "1000", "0"]


def locale(lab, machine):
    with lab.check(f"{machine.name}: {LANG}, UTC, keyboard {KEYBOARD}"):
        assert machine.run("bash -lc 'echo $LANG'").strip() == LANG
        assert LANG.lower().replace("-", "") in machine.run("locale -a").lower().split()
        assert machine.run("date +%Z; readlink /etc/localtime").split()[0] == "UTC"
        assert f'XKBLAYOUT="{KEYBOARD}"' in machine.read("/etc/default/keyboard")


def card(lab, machine):
    with lab.check(f"{machine.name}: cmdline.txt is one line, no word twice"):
        text = machine.read("/boot/firmware/cmdline.txt")
        assert len(text.strip().splitlines()) == 1, text
        words = text.split()
        names = [w for w in words if not w.startswith("console=")]
        assert len(set(names)) == len(names), text
        assert "resize" not in words, text
    with lab.check(f"{machine.name}: the root file system fills the card"):
        size = int(machine.run("df -B1 --output=size / | tail -n 1"))
        room = machine.card.path.stat().st_size - machine.card.root
        assert 0.93 * room < size < room, f"{size / GIB:.2f} GiB of {room / GIB:.2f}"
    with lab.check(f"{machine.name}: a disk id of its own, in fstab and cmdline.txt too"):
        machine.sudo("sync")
        disk_id = f"{machine.card.disk_id():08x}"
        assert disk_id != machine.card.table["id"].removeprefix("0x"), "still the image's"
        assert f"root=PARTUUID={disk_id}-02" in machine.read("/boot/firmware/cmdline.txt")
        assert {f"PARTUUID={disk_id}-01", f"PARTUUID={disk_id}-02"} <= set(machine.read("/etc/fstab").split())


def each_its_own(lab):
    with lab.check("every node has a machine-id and SSH host keys that no other has"):
        ids = {n: m.read("/etc/machine-id").strip() for n, m in lab.nodes.items()}
        assert all(re.fullmatch(r"[0-9a-f]{32}", i) for i in ids.values()) and len(set(ids.values())) == len(ids), ids
        keys = {n: m.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[1] for n, m in lab.nodes.items()}
        assert len(set(keys.values())) == len(keys), keys


def reports(lab, machine, node):
    lab.wait(f"{machine.name}: imgbuild-status.txt says all done", machine.all_done, 900)
    with lab.check(f"{machine.name}: the status file has a line for each of {', '.join(node.roles)}"):
        lines = [line.split()[:2] for line in machine.status().splitlines()[2:] if line.strip() and not line.startswith("all")]
        assert sorted(lines) == sorted([role, "done"] for role in node.roles), machine.status()
    with lab.check(f"{machine.name}: no unit has failed"):
        assert not machine.failed_units(), machine.failed_units()


def no_secret_on_the_boot_partition(lab):
    for machine in lab.nodes.values():
        with lab.check(f"{machine.name}: no secret anywhere on the boot partition, deleted files included"):
            machine.sudo("sync")
            everything = machine.card.boot_bytes()
            found = [name for name, secret in lab.never_on_boot().items() if secret in everything]
            assert not found, found
