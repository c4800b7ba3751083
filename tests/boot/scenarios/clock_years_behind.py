"""The clock is years behind until a time server answers; what depends on it waits, and then starts"""

from __future__ import annotations

import time

LAB = "faults"
DAY = 86400
AFTER = ["no_network_at_first"]


def run(lab):
    node = lab.node("worker-1")
    with lab.check("the clock, of 2019 when the machine was switched on, is far behind"):
        # systemd sets it to the time of the newest thing that it knows of: months, not years.
        assert seconds_behind(node) > DAY * 30, node.run("date")
    lab.lan.start_ntp()
    node.sudo("systemctl restart systemd-timesyncd.service")
    lab.wait("the clock is right once a time server answers", lambda: abs(seconds_behind(node)) < 120, 300)
    lab.wait("k3s-agent runs", lambda: node.unit("k3s-agent.service", "ActiveState")["ActiveState"] == "active", 300)
    with lab.check("files of the first boot do not make later ones look old: no unit has failed"):
        assert not node.failed_units(), node.failed_units()


def seconds_behind(node):
    return time.time() - int(node.run("date +%s"))
