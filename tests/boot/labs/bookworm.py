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
    lab.overlay("patience")
    master = lab.image("master", base="bookworm", roles=["k3s-server", "samba", "patience"], **SECRETS)
    lab.machine("master", master, NODES["master"].address)
    lab.machine("gateway", gateway_image(lab, base="bookworm", more_roles=("patience",)), NODES["gateway"].address, masked=NO_SAMBA)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    lab.switch_on()
    lab.play("bookworm_first_boot")
