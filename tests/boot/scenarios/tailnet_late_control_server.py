"""The control server appears minutes late, and the network comes and goes during the join: the gateway joins by itself"""

from __future__ import annotations

import time

from expected import NODES
from tailnets import KEY_FILE, STAMP, tailnet, waits

LAB = "tailnet"


def run(lab):
    """Comes first after the boot: the lab has stopped the control server before it switched the nodes on."""
    if not (net := tailnet(lab)):
        return
    gateway = lab.node("gateway")
    with lab.check("the gateway has booted all the same"):
        assert gateway.multi_user()
    lab.wait("the status file says that a try to join failed and another follows", lambda: waits(gateway), 600)
    with lab.check("the key is kept for it"):
        assert gateway.exists(KEY_FILE) and not gateway.exists(STAMP)
    gateway.link(False)
    net.start()
    time.sleep(20)
    gateway.link(True)
    time.sleep(10)
    gateway.link(False)
    time.sleep(5)
    gateway.link(True)
    lab.wait("the control server is there, the cable is back: the gateway joins", lambda: net.node(NODES["gateway"].hostname), 600)
    lab.wait("and says so in the status file", lambda: gateway.exists(STAMP), 300)
