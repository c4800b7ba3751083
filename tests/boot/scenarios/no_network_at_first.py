"""No network for the first minutes: the node boots all the same, and is there when the cable is plugged in"""

from __future__ import annotations

from expected import NODES
from scenarios import first_boot

LAB = "faults"


def run(lab):
    node = lab.node("worker-1")
    lab.wait("the boot reaches multi-user.target and a login prompt without a network",
             lambda: node.console_shows(r"Reached target .*multi-user\.target") and node.console_shows(r"login: "), 1200, must=True)
    node.link(True)
    lab.wait("with the cable plugged in it lets us in", node.answers, 300, must=True)
    first_boot.names(lab, node, NODES["worker-1"])
    first_boot.network(lab, node, NODES["worker-1"])
    with lab.check("no unit has failed"):
        assert not node.failed_units(), node.failed_units()
