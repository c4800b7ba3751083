"""A real cluster in namespaces: what the server's image has for k3s, given to Kubernetes, MetalLB and CoreDNS"""

from kubelab import house

GUESTS = 2  # of the processors; no machine is emulated
QUICK = False  # its build from nothing has not been measured undisturbed
SCENARIOS = ["kube_trust", "kube_manifests", "kube_load_balancer", "kube_names", "kube_tls", "kube_agents", "kube_datastore"]


def run(lab):
    if why := house.missing(lab):
        for scenario in SCENARIOS:
            lab.checks.scenario = scenario
            lab.skip("everything in it", why)
        return
    with house.House(lab) as lab.memory["house"]:
        lab.play(*SCENARIOS)
