"""Two default nodes on a base of Bookworm's shape, without cloud-init"""

from expected import NODES
from harness.card import blank_disk

GUESTS = 2
BASES = ["bookworm"]
QUICK = True
SCENARIOS = ["bookworm_first_boot"]


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    for profile in ("master", "gateway"):
        lab.machine(profile, lab.image(profile, base="bookworm"), NODES[profile].address)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    for machine in lab.nodes.values():
        machine.boot()
    lab.come_up()
    lab.play("bookworm_first_boot")
