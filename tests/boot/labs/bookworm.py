"""Two default nodes on a base of Bookworm's shape, without cloud-init"""

from expected import NODES
from harness.card import blank_disk
from nodes import NO_SAMBA, SECRETS, gateway_image

GUESTS = 2
BASES = ["bookworm"]
QUICK = True
SCENARIOS = ["bookworm_first_boot"]


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    lab.machine("master", lab.image("master", base="bookworm", **SECRETS), NODES["master"].address)
    lab.machine("gateway", gateway_image(lab, base="bookworm"), NODES["gateway"].address, masked=NO_SAMBA)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    lab.switch_on()
    lab.play("bookworm_first_boot")
