"""The four default nodes on one switch: first boot, second boot, and one of them on a new card"""

from expected import NODES
from harness.card import blank_disk
from harness.lab import Lab
from programs import tailnet

GUESTS = 4
QUICK = True
SCENARIOS = ["first_boot", "names_on_the_lan", "ssd_blank", "k3s_agents_join", "pihole_answers", "tailnet_join", "second_boot",
             "ssd_comes_back", "reflash"]

# The tests' base has Samba on every node; only one node has it by its profile.
NO_SAMBA = ("smbd.service", "nmbd.service", "samba-ad-dc.service")
SECRETS = {
    "secrets__node_password": "env:NODE_PASSWORD",
    "secrets__host_key_seed": "env:HOST_KEY_SEED",
}


def run(lab: Lab) -> None:
    lab.lan.start_dns()
    lab.lan.start_ntp()
    for profile, node in NODES.items():
        image = gateway_image(lab) if profile == "gateway" else lab.image(profile, **SECRETS)
        lab.machine(profile, image, node.address, masked=() if profile == "master" else NO_SAMBA)
    lab.node("master").plug_usb("ssd0", blank_disk(lab.workdir / "ssd0.disk"))
    for machine in lab.nodes.values():
        machine.boot()
    lab.come_up()
    lab.play("names_on_the_lan", "ssd_blank", "k3s_agents_join", "pihole_answers", "tailnet_join", "first_boot")
    if lab.wanted("second_boot", "ssd_comes_back"):
        second_boot(lab)
    if lab.wanted("reflash"):
        reflash(lab)


def gateway_image(lab: Lab):
    """Pi-hole's installer and the tailnet's control server are the tests' own."""
    lab.overlay("pihole-stand-in")
    more = dict(SECRETS)
    if lab.setup["tailscale"]:
        net = lab.memory["tailnet"] = tailnet.Tailnet(lab.workdir / "tailnet", lab.setup["tailscale"]["host"])
        net.start()
        lab.secrets["TS_AUTHKEY"] = net.preauth_key(net.create_user("owner")).secret
        more["tailscale-router__login_server"] = net.url
    return lab.image("gateway", roles=["tailscale-router", "pihole", "pihole-stand-in"],
                     **more, **{"pihole-stand-in__repositories": lab.setup["recorders"]})


def second_boot(lab: Lab) -> None:
    from scenarios import second_boot

    second_boot.remember(lab)
    lab.power_off()
    for machine in lab.nodes.values():
        machine.boot()
    lab.come_up()
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
