"""Power cuts in the first boot of the node with the SSD, one after the other on the same card"""

from expected import NODES
from harness.card import blank_disk

GUESTS = 1
QUICK = False
SCENARIOS = ["power_cuts"]


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    lab.machine("master", lab.image("master"), NODES["master"].address, cpus=2)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    lab.play("power_cuts")
