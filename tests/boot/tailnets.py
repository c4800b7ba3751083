"""What a lab and its scenarios do with the tailnet in programs/tailnet.py."""

from __future__ import annotations

import json
import shlex
from typing import Any

from programs.tailnet import Key, Member, Tailnet

OWNER = "owner"
KEY_FILE = "/etc/imgbuild/tailscale.key"
UNIT = "imgbuild-tailscale-router.service"
STAMP = "/var/lib/imgbuild/tailscale-router.done"
WHY_SKIPPED = "there is no Go on this machine to build Tailscale and headscale with"


def prepare(lab: Any) -> dict[str, str]:
    """Before images are built: a control server, and a key of its for the gateway. Returns the settings that the
    gateway's image needs; none when there are no programs, and then the image gets the stand-ins that do nothing."""
    programs = lab.setup.get("tailscale")
    if not programs:
        return {}
    net = lab.memory["tailnet"] = Tailnet(lab.workdir / "tailnet", programs["host"])
    net.start()
    lab.secrets["TS_AUTHKEY"] = new_key(net).secret
    return {"tailscale-router__login_server": net.url}


def new_key(net: Tailnet) -> Key:
    """A key for one node."""
    return net.preauth_key(net.create_user(OWNER))


def tailnet(lab: Any) -> Tailnet | None:
    """The lab's control server. None, and a line that says so, when there is none."""
    if "tailnet" not in lab.memory:
        lab.skip("the gateway joins a tailnet", WHY_SKIPPED)
    return lab.memory.get("tailnet")


def member(lab: Any) -> Member:
    """The second member of the tailnet, elsewhere. It joins when it is first asked for."""
    if "tailnet-member" not in lab.memory:
        net = lab.memory["tailnet"]
        laptop = Member(net.workdir, net.programs)
        laptop.join(new_key(net))
        lab.memory["tailnet-member"] = laptop
    return lab.memory["tailnet-member"]


def backend_state(machine: Any) -> str:
    """Running, NeedsLogin, Starting, …"""
    return str(json.loads(machine.sudo("tailscale status --json --peers=false"))["BackendState"])


def report(machine: Any) -> str:
    """The role's line in the status file."""
    return next((line for line in machine.status().splitlines() if line.startswith("tailscale-router ")), "")


def waits(machine: Any) -> bool:
    """Whether a try has failed at joining and another one will follow."""
    words = report(machine).split()
    return words[1:2] == ["waiting"] and "failed at: joining" in report(machine)


def put_key(machine: Any, secret: str) -> None:
    """What an owner does whose key was not accepted."""
    machine.sudo(f"umask 077 && printf '%s\\n' {shlex.quote(secret)} > {KEY_FILE}")


def join_anew(machine: Any, secret: str) -> None:
    """As if the card were new and had this key: the node forgets the tailnet, and its first boot tries again."""
    machine.sudo(f"systemctl stop {UNIT} tailscaled.service && rm -rf /var/lib/tailscale/* {STAMP} /run/imgbuild/tailscale-router.tries")
    put_key(machine, secret)
    machine.sudo("/usr/lib/imgbuild/report tailscale-router running 'the boot test has put another key in place'")
    machine.sudo(f"systemctl start tailscaled.service && systemctl start --no-block {UNIT}")


def key_is_gone(machine: Any, secret: str) -> str:
    """The files on the node that hold the key; none, one hopes. The key is cut in two, as sudo logs its commands."""
    half = len(secret) // 2
    words = f"a={shlex.quote(secret[:half])}; b={shlex.quote(secret[half:])}"
    return machine.sudo(f'{words}; grep -rlaF -e "$a$b" /etc /var /run /boot/firmware /home /root 2>/dev/null || true', timeout=600).strip()
