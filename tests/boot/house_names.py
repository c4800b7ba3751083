"""The names of the house, whichever server is asked for them"""

from __future__ import annotations

from collections.abc import Callable

from dns_client import Answer
from expected import DOMAIN, INGRESS, NODES


def knows_the_house(lab, ask: Callable[..., Answer]) -> None:
    """Every node by its name and its address, and the ingress. `ask` takes a name and, unless it is "A", a type."""
    for node in NODES.values():
        with lab.check(f"{node.hostname}.{DOMAIN}, {node.hostname} and the way back"):
            for name in (f"{node.hostname}.{DOMAIN}", node.hostname):
                assert ask(name) == Answer("NOERROR", (node.address,)), (name, ask(name))
            back = ask(node.address, "PTR")
            assert back and f"{node.hostname}.{DOMAIN}" in back.values, back
    with lab.check(f"every name below apps.{DOMAIN} is {INGRESS}, apps.{DOMAIN} itself as well"):
        for name in (f"grafana.apps.{DOMAIN}", f"a.b.apps.{DOMAIN}", f"apps.{DOMAIN}"):
            assert ask(name) == Answer("NOERROR", (INGRESS,)), (name, ask(name))
