"""An expired key: the gateway stays out; a good key put in its place is taken by the next try"""

from __future__ import annotations

from expected import NODES
from scenarios.tailnet_wrong_key import stays_out
from tailnets import KEY_FILE, STAMP, new_key, put_key, tailnet

LAB = "tailnet"


def run(lab):
    """On the gateway that the lab has: it forgets its tailnet first."""
    if not (net := tailnet(lab)):
        return
    gateway, expired = lab.node("gateway"), new_key(net)
    net.expire_key(expired)
    stays_out(lab, net, "expired", expired.secret)
    put_key(gateway, new_key(net).secret)
    lab.wait("with a good key in the file, the next try joins", lambda: net.node(NODES["gateway"].hostname), 600)
    lab.wait("and forgets it", lambda: gateway.exists(STAMP) and not gateway.exists(KEY_FILE), 120)
