"""The power goes at seven points of the first boot; the next boot goes on, the last one finishes"""

from __future__ import annotations

import time

from expected import NODES
from scenarios import first_boot, ssd_blank

LAB = "power"

# What the console shows at the moment of the cut. The card forgets what was not flushed.
CUTS = {
    "the partition table has been changed": r"resize_early: \S+ partition 2 now ends",
    "the machine-id has been committed, and the first boot has counted": r"Finished systemd-machine-id-commit",
    "sshd has the host keys that the cut before cost it": r"Started ssh\.service",
    "cloud-init is configuring": r"Starting cloud-(config|init-network)",
    "dpkg is unpacking": r"Unpacking samba-common-bin ",
    "dpkg is setting up": r"Setting up samba-common-bin ",
}


def run(lab):
    master = lab.node("master")
    for moment, pattern in CUTS.items():
        with lab.check(f"power cut when {moment}"):
            cut(master, lambda m=master, p=pattern: m.wait_console(p, 600))
    with lab.check("power cut while the file system is being made on the SSD"):
        cut(master, lambda: wait_until_written(master, master.usb["ssd0"], 900))
    master.boot(forgetful=True)
    lab.come_up()
    first_boot.reports(lab, master, NODES["master"])
    with lab.check("the packages of the card are installed whole"):
        packages(master)
    first_boot.names(lab, master, NODES["master"])
    first_boot.network(lab, master, NODES["master"])
    first_boot.logins(lab, master)
    first_boot.locale(lab, master)
    first_boot.card(lab, master)
    first_boot.each_its_own(lab)
    ssd_blank.run(lab)
    first_boot.no_secret_on_the_boot_partition(lab)
    lab.power_off()
    with lab.check("e2fsck and fsck.vfat find nothing wrong with the card"):
        findings = master.card.judged(lab.workdir)
        assert not findings, findings


def cut(machine, wait_for_the_moment):
    """Boots, and cuts the power when it is time; also when that never comes, for the next boot's sake."""
    machine.boot(forgetful=True, talkative=True)
    try:
        wait_for_the_moment()
    finally:
        machine.power_cut()


def packages(machine):
    """What dpkg was doing when the power went is done, and no file of a package is missing or cut short."""
    assert machine.exists("/var/lib/imgbuild/packages.done")
    audit = machine.sudo("dpkg --audit")
    assert not audit, audit
    owners = machine.sudo("dpkg-query --show --showformat '${Package} ${db:Status-Status}\\n' 'samba*'").splitlines()
    assert "samba installed" in owners, owners
    installed = " ".join(line.split()[0] for line in owners if line.endswith(" installed"))
    # c: a configuration file, which the node's owner or a role may have changed.
    damaged = [line for line in machine.sudo(f"dpkg --verify {installed}", check=False).splitlines() if " c /" not in line]
    assert not damaged, damaged


def wait_until_written(machine, disk, timeout):
    """Until the first blocks of an empty disk are no longer empty."""
    deadline = time.monotonic() + timeout
    while disk.stat().st_blocks == 0:
        machine.console_shows("never on any console")
        assert time.monotonic() < deadline, f"nothing was written to {disk.name} within {timeout} s"
        time.sleep(0.05)
