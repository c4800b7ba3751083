"""No network for the first minutes: the node boots all the same, and is there when the cable is plugged in"""

from __future__ import annotations

import time

from expected import NODES
from scenarios import first_boot

LAB = "faults"


def run(lab):
    node = lab.node("worker-1")
    # systemd is silent on the console once there is a login prompt; this comes after multi-user.target.
    lab.wait("the boot comes to its end and a login prompt without a network",
             lambda: node.console_shows(r"running 'modules:final'") and node.console_shows(r"login: "), 1200, must=True)
    node.link(True)
    plugged = time.monotonic()
    lab.wait("with the cable plugged in it lets us in", node.answers, 300, must=True)
    with lab.check("multi-user.target had been reached before the cable was there"):
        up, reached = float(node.run("cut -d' ' -f1 /proc/uptime")), node.unit("multi-user.target", "ActiveEnterTimestampMonotonic")
        assert 0 < int(reached["ActiveEnterTimestampMonotonic"]) / 1e6 < up - (time.monotonic() - plugged), (up, reached)
    first_boot.names(lab, node, NODES["worker-1"])
    first_boot.network(lab, node, NODES["worker-1"])
    with lab.check("no unit has failed"):
        assert not node.failed_units(), node.failed_units()
