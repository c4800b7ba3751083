"""A wrong key: the gateway stays out, says so, keeps trying, and is a good node otherwise"""

from __future__ import annotations

from expected import NODES
from tailnets import KEY_FILE, STAMP, backend_state, join_anew, tailnet, waits

LAB = "tailnet"
WRONG = "hskey-auth-0123456789ab-" + "0" * 64


def run(lab):
    """On the gateway that the lab has: it forgets its tailnet first."""
    if not (net := tailnet(lab)):
        return
    stays_out(lab, net, "wrong", WRONG)


def stays_out(lab, net, what, secret):
    """What any key that is not accepted leads to."""
    gateway, name = lab.node("gateway"), NODES["gateway"].hostname
    net.forget(name)
    join_anew(gateway, secret)
    lab.wait(f"{what} key: the status file says that the try to join failed and another follows", lambda: waits(gateway), 400)
    with lab.check(f"{what} key: not in the tailnet, neither here nor there"):
        assert backend_state(gateway) != "Running"
        assert net.node(name) is None
    with lab.check(f"{what} key: it stays where it is, for root only, and no stamp is left"):
        assert gateway.exists(KEY_FILE) and not gateway.exists(STAMP)
        assert gateway.sudo(f"stat -c %a:%u {KEY_FILE}").strip() == "600:0"
    with lab.check(f"{what} key: no unit is failed, the node works"):
        assert gateway.multi_user()
        assert not gateway.failed_units(), gateway.failed_units()
    with lab.check(f"{what} key: it is in no log"):
        assert gateway.sudo("journalctl -b --no-pager -u imgbuild-tailscale-router -u tailscaled").count(secret) == 0
        assert secret not in gateway.status()
