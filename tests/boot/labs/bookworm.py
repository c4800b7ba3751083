"""Two default nodes on a base of Bookworm's shape, without cloud-init, on cards that had other content before"""

from expected import NODES
from harness.card import blank_disk
from nodes import NO_SAMBA, SECRETS, gateway_image

GUESTS = 2
BASES = ["bookworm"]
QUICK = True
SCENARIOS = ["bookworm_first_boot"]
# Less than other labs': these cards are full.
CARD_GIB = 2.5


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    lab.overlay("patience")
    master = lab.profile_words("master", base="bookworm", roles=["k3s-server", "samba", "patience"], **SECRETS)
    lab.machine("master", lab.flashed_card("master", master, CARD_GIB), NODES["master"].address)
    gateway = gateway_image(lab, base="bookworm", more_roles=("patience",), options=("--bmap",),
                            secrets__pihole_password="env:PIHOLE_PASSWORD")
    lab.machine("gateway", lab.bmap_card("gateway", gateway, CARD_GIB), NODES["gateway"].address, masked=NO_SAMBA)
    for name, machine in lab.nodes.items():
        with lab.check(f"{name}: e2fsck and fsck.vfat find nothing wrong on a card that was full of other content"):
            findings = machine.card.judged(lab.workdir)
            assert not findings, findings
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    lab.switch_on()
    lab.play("bookworm_first_boot")
