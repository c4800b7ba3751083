"""Second boot: nothing is done again, everything is still there"""

from __future__ import annotations

LAB = "cluster"
IDENTITY = ("sha256sum /etc/ssh/ssh_host_*_key /etc/machine-id /etc/hostname /etc/hosts /etc/passwd /etc/shadow /etc/fstab "
            "/boot/firmware/cmdline.txt /boot/firmware/imgbuild-status.txt; ip -4 -o addr show dev eth0 | awk '{print $4}'; "
            "ls -l --time-style=+%s /var/lib/imgbuild")
FIRST_BOOT_UNITS = "systemctl list-unit-files 'imgbuild-*.service' --no-legend --plain | awk '$2 == \"enabled\" {print $1}'"


def remember(lab):
    """Before the nodes are switched off."""
    lab.memory["identity"] = {name: machine.sudo(IDENTITY) for name, machine in lab.nodes.items()}


def run(lab):
    for name, machine in lab.nodes.items():
        with lab.check(f"{name}: same host keys, machine-id, accounts, address, stamps and status file"):
            before, now = lab.memory["identity"][name], machine.sudo(IDENTITY)
            assert now == before, "\n".join(f"was {b}\nis  {n}" for b, n in zip(before.splitlines(), now.splitlines()) if b != n)
        with lab.check(f"{name}: no first-boot unit ran again"):
            stamped = [unit for unit in machine.sudo(FIRST_BOOT_UNITS).split() if has_stamp(machine, unit)]
            assert "imgbuild-base.service" in stamped, stamped
            ran = [u for u in stamped if machine.unit(u, "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"] != "0"]
            assert not ran, ran
        with lab.check(f"{name}: no unit has failed"):
            assert not machine.failed_units(), machine.failed_units()


def has_stamp(machine, unit):
    """Whether the unit is one of those that run once, and has run."""
    return machine.exists(f"/var/lib/imgbuild/{unit.removeprefix('imgbuild-').removesuffix('.service')}.done")
