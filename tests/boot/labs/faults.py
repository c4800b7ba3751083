"""Nodes with bad luck: no network, a wrong clock, a read-only boot partition, a unit that fails and fails"""

from expected import NODES
from nodes import NO_SAMBA

GUESTS = 2
QUICK = False
SCENARIOS = ["no_network_at_first", "clock_years_behind", "unit_fails_ten_times", "boot_partition_read_only"]


def run(lab):
    lab.lan.start_dns()
    lab.overlay("flaky")
    first = lab.wanted("no_network_at_first", "clock_years_behind", "unit_fails_ten_times")
    if first:
        lab.machine("worker-1", lab.image("worker-1", roles=["k3s-agent", "flaky"]), NODES["worker-1"].address,
                    masked=NO_SAMBA)
        lab.node("worker-1").boot(clock="2019-03-01T00:00:00", cable=False)
    if lab.wanted("boot_partition_read_only"):
        worker = lab.machine("worker-2", lab.image("worker-2"), NODES["worker-2"].address, masked=NO_SAMBA)
        # A card whose lock switch, wear or damaged FAT makes the kernel mount it read-only.
        fstab = worker.card.root_debugfs("cat /etc/fstab").replace("vfat    defaults", "vfat    ro,defaults")
        assert "vfat    ro," in fstab, fstab
        worker.card.replace_root_file("/etc/fstab", fstab, lab.workdir / "fstab")
        worker.boot()
    if first:
        lab.play("no_network_at_first", "clock_years_behind")
    lab.play("boot_partition_read_only", "unit_fails_ten_times")
