"""The images that labs boot, where a profile alone does not say it all."""

from __future__ import annotations

import pathlib
from typing import Any

from harness.lab import Lab
from tailnets import prepare

# The tests' base has Samba on every node; only one node has it by its profile.
NO_SAMBA = ("smbd.service", "nmbd.service", "samba-ad-dc.service")

SECRETS = {
    "secrets__node_password": "env:NODE_PASSWORD",
    "secrets__host_key_seed": "env:HOST_KEY_SEED",
}


def gateway_image(lab: Lab, base: str = "trixie", more_roles: tuple[str, ...] = (), options: tuple[str, ...] = (),
                  **settings: Any) -> pathlib.Path:
    """The gateway. Pi-hole and the tailnet's control server are the tests' own. Something is said to answer at the cluster's
    ingress, so that Pi-hole serves the wildcard."""
    lab.overlay("pihole-stand-in")
    return lab.image("gateway", base=base, options=options, roles=["tailscale-router", "pihole", "pihole-stand-in", *more_roles],
                     pihole__ingress_answers=True, **SECRETS, **settings, **prepare(lab))
