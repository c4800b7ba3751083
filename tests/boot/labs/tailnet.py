"""The gateway alone, and a control server that is not there when it boots"""

from expected import NODES
from harness.lab import Lab
from nodes import NO_SAMBA
from tailnets import prepare

GUESTS = 1
QUICK = False
SCENARIOS = ["tailnet_late_control_server", "tailnet_wrong_key", "tailnet_expired_key"]


def run(lab: Lab) -> None:
    lab.lan.start_dns()
    lab.lan.start_ntp()
    settings = prepare(lab)
    lab.machine("gateway", lab.image("gateway", roles=["tailscale-router"], **settings), NODES["gateway"].address, cpus=2,
                masked=NO_SAMBA)
    if "tailnet" in lab.memory:
        lab.memory["tailnet"].stop()
    lab.node("gateway").boot()
    lab.come_up()
    if "tailnet" in lab.memory and not lab.wanted("tailnet_late_control_server"):
        lab.memory["tailnet"].start()
    lab.play(*SCENARIOS)
