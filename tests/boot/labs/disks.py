"""The node with the SSD, and every disk but the one it should have"""

from expected import NODES
from harness.card import blank_disk, data_disk

GUESTS = 1
QUICK = False
SCENARIOS = ["ssd_two_candidates", "ssd_missing", "ssd_with_data", "ssd_pulled", "ssd_foreign"]


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    master = lab.machine("master", lab.image("master"), NODES["master"].address, cpus=2)
    lab.memory["blank"] = [blank_disk(lab.workdir / f"blank-{n}.disk") for n in (1, 2)]
    if lab.wanted("ssd_two_candidates", "ssd_foreign"):
        for n, disk in enumerate(lab.memory["blank"]):
            master.plug_usb(f"blank{n}", disk)
        master.boot()
        lab.come_up()
        lab.play("ssd_two_candidates", "ssd_foreign")
        lab.power_off()
    for name in list(master.usb):
        master.pull_usb(name)
    if lab.wanted("ssd_missing", "ssd_with_data", "ssd_pulled"):
        master.boot()
        lab.come_up()
        lab.play("ssd_missing", "ssd_with_data", "ssd_pulled")
