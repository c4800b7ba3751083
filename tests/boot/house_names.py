"""The names of the house, whichever server is asked for them"""

from __future__ import annotations

from collections.abc import Callable

from dns_client import Answer
from expected import DOMAIN, INGRESS, NODES


def knows_the_house(lab, ask: Callable[..., Answer]) -> None:
    """Every node by its name and its address. `ask` takes a name and, unless it is "A", a type."""
    for node in NODES.values():
        with lab.check(f"{node.hostname}.{DOMAIN}, {node.hostname} and the way back"):
            for name in (f"{node.hostname}.{DOMAIN}", node.hostname):
                assert ask(name) == Answer("NOERROR", (node.address,)), (name, ask(name))
            back = ask(node.address, "PTR")
            assert back and f"{node.hostname}.{DOMAIN}" in back.values, back


def knows_the_wildcard(lab, ask: Callable[..., Answer]) -> None:
    """Every name of the ingress, once something answers there (`pihole.ingress_answers`)."""
    names = (f"grafana.apps.{DOMAIN}", f"a.b.apps.{DOMAIN}", f"apps.{DOMAIN}")
    with lab.check(f"every name below apps.{DOMAIN} is {INGRESS}, apps.{DOMAIN} itself as well"):
        for name in names:
            assert ask(name) == Answer("NOERROR", (INGRESS,)), (name, ask(name))
    with lab.check("they exist for whoever asks for another type as well, as musl does"):
        for name in names:
            for kind in ("AAAA", "HTTPS", "TXT", "MX"):
                assert ask(name, kind) == Answer("NOERROR"), (name, kind, ask(name, kind))


def has_no_wildcard(lab, ask: Callable[..., Answer]) -> None:
    """As long as nobody answers at the ingress, nobody is sent there."""
    with lab.check(f"no name below apps.{DOMAIN} exists"):
        for name in (f"grafana.apps.{DOMAIN}", f"apps.{DOMAIN}"):
            assert ask(name) == Answer("NXDOMAIN"), (name, ask(name))
