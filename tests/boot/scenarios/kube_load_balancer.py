"""MetalLB gives the ingress its address, which a laptop reaches by real ARP; the demo's page comes"""

from __future__ import annotations

import ipaddress

from expected import INGRESS
from kubelab.house import LAPTOP, NO_PODS

LAB = "kube"
AFTER = ["kube_manifests"]
POOL = ("10.100.0.50", "10.100.0.75")
GREEDY = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "greedy", "namespace": "default", "annotations": {"metallb.io/loadBalancerIPs": INGRESS}},
          "spec": {"type": "LoadBalancer", "selector": {"app": "nobody"}, "ports": [{"port": 80}]}}


def run(lab):
    house = lab.memory["house"]
    if not house.runs_pods:
        lab.skip("everything in it", NO_PODS)
        return
    server = house.server
    if not house.has("metallb"):
        lab.skip("MetalLB gives the ingress its address", "there is no role `metallb`")
        return
    for component in ("controller", "speaker"):
        if not lab.wait(f"MetalLB's {component} runs as a pod of its rendered manifest, without a registry",
                        lambda c=component: server.pod_runs("metallb-system", f"component={c}"), 120):
            lab.note(server.pods_now())
    if house.has("ingress"):
        lab.wait(f"the ingress gets {INGRESS}", lambda: house.address_of("kube-system", "traefik") == INGRESS, 60)
        lab.wait("the laptop reaches it: its ARP question is answered with the node's own hardware address", lambda: arp(house, INGRESS), 30)
    with lab.check("another service that asks for the ingress' address does not get it"):
        server.apply(GREEDY)
        lab.memory["greedy"] = True
        assert not house.address_of("default", "greedy")
    if house.has("demo"):
        demo(lab, house)
    with lab.check("and it still has not got it"):
        assert not house.address_of("default", "greedy")
        server.kubectl("delete", "service", "greedy", "--namespace=default", "--wait=false")


def arp(house, address):
    """Whether the laptop's neighbour of this address is the server's network card."""
    house.laptop.run("ping", "-c", "1", "-W", "1", address, check=False)
    house.curl(f"http://{address}/", check=False)
    neighbour = house.laptop.run("ip", "neigh", "show", address).stdout
    # /sys shows the network of whoever mounted it.
    card = house.server.run("ip", "-o", "link", "show", "eth0").stdout.split("link/ether ")[1].split()[0]
    return card in neighbour


def demo(lab, house):
    server = house.server
    if not lab.wait("the demo's pod runs", lambda: server.pod_runs("demo", "app=demo"), 120):
        lab.note(server.pods_now())
    page = lab.wait("the ingress brings its page by the name", house.demo_answers, 60) or ""
    with lab.check("the page has the laptop's own address, and not a node's"):
        assert f"client   {LAPTOP}" in page, page
    direct = lab.wait("its second service gets an address of the pool", lambda: house.address_of("demo", "demo-direct"), 30) or ""
    with lab.check("that address is another one, and answers the laptop as well"):
        low, high = map(ipaddress.ip_address, POOL)
        assert low <= ipaddress.ip_address(direct) <= high and direct != INGRESS, direct
        assert "It works" in house.curl(f"http://{direct}/")
        assert LAPTOP in house.curl(f"http://{direct}/")
