"""The demo's name, asked of Pi-hole by the laptop and of CoreDNS by pods with glibc and with musl, leads to the ingress"""

from __future__ import annotations

import pathlib
import sys

from expected import DOMAIN, INGRESS, NODES
from kubelab.house import ASKERS, GATEWAY, NO_PODS

LAB = "kube"
AFTER = ["kube_manifests"]
ASK = "import sys; sys.path.insert(0, sys.argv[1]); from dns_client import ask; print(*ask(sys.argv[2], sys.argv[3]).values)"
HERE = pathlib.Path(__file__).parent.parent


def run(lab):
    house = lab.memory["house"]
    if not house.runs_pods:
        lab.skip("everything in it", NO_PODS)
        return
    house.start_pihole()
    house.start_pods()
    name = house.demo_host() if house.has("demo") else f"anything.apps.{DOMAIN}"
    with lab.check(f"the laptop asks Pi-hole for {name} and gets {INGRESS}"):
        told = house.laptop.run(sys.executable, "-c", ASK, HERE, GATEWAY.address, name).stdout.split()
        assert told == [INGRESS], told
    lab.wait("CoreDNS runs", lambda: house.server.pod_runs("kube-system", "app.kubernetes.io/name=coredns"), 90)
    house.server.apply(*(pod(library, image) for library, image in ASKERS.items()))
    for library in ASKERS:
        if not lab.wait(f"a pod with {library} runs", lambda lib=library: house.server.pod_runs("default", f"ask={lib}"), 60):
            lab.note(house.server.pods_now())
            continue
        for question, answer in ((name, INGRESS), (f"{NODES['worker-1'].hostname}.{DOMAIN}", NODES["worker-1"].address),
                                 ("kubernetes.default.svc.cluster.local", "10.43.0.1"), ("kubernetes.default", "10.43.0.1")):
            with lab.check(f"{library} in a pod: {question} is {answer}"):
                told = house.server.kubectl("exec", f"ask-{library}", "--namespace=default", "--", "/ask", question).split()
                assert told == [answer], told


def pod(library, image):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"ask-{library}", "namespace": "default", "labels": {"ask": library}},
            "spec": {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
                     "containers": [{"name": "ask", "image": image, "command": ["/bin/sleep", "100000"]}]}}
