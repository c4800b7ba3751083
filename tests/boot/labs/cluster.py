"""The four default nodes on one switch: first boot, second boot, and one of them on a new card"""

from expected import NODES
from harness.card import blank_disk
from harness.lab import Lab
from nodes import NO_SAMBA, SECRETS, gateway_image

GUESTS = 4
QUICK = True
SCENARIOS = ["first_boot", "names_on_the_lan", "ssd_blank", "k3s_agents_join", "pihole_answers", "tailnet_join", "second_boot",
             "ssd_comes_back", "reflash"]


def run(lab: Lab) -> None:
    lab.lan.start_dns()
    lab.lan.start_ntp()
    for profile, node in NODES.items():
        image = gateway_image(lab) if profile == "gateway" else lab.image(profile, **SECRETS)
        lab.machine(profile, image, node.address, masked=() if profile == "master" else NO_SAMBA)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    lab.switch_on()
    lab.play("names_on_the_lan", "ssd_blank", "k3s_agents_join", "pihole_answers", "tailnet_join", "first_boot")
    if lab.wanted("second_boot", "ssd_comes_back"):
        second_boot(lab)
    if lab.wanted("reflash"):
        reflash(lab)


def second_boot(lab: Lab) -> None:
    from scenarios import second_boot

    second_boot.remember(lab)
    lab.power_off()
    lab.switch_on()
    lab.play("second_boot", "ssd_comes_back")


def reflash(lab: Lab) -> None:
    from scenarios import reflash

    reflash.remember(lab)
    lab.power_off("worker-1")
    old = lab.node("worker-1")
    old.card = lab.card("worker-1-again", lab.image("worker-1", **SECRETS))
    old.boot()
    lab.come_up("worker-1")
    lab.play("reflash")
