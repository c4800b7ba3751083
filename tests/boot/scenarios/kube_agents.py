"""Two agents join; one is flashed again and joins again under its name"""

from __future__ import annotations

from expected import NODES
from kubelab.house import BUSYBOX, NO_PODS
from scenarios.kube_manifests import ready

LAB = "kube"
AFTER = ["kube_manifests"]


def run(lab):
    house = lab.memory["house"]
    if not house.runs_pods:
        lab.skip("everything in it", NO_PODS)
        return
    server = house.server
    house.start_pods()
    for profile in ("worker-1", "worker-2"):
        with lab.check(f"{profile} starts, with the server, name and address of its card"):
            house.start_agent(profile)
        lab.wait(f"{NODES[profile].hostname} is a node and ready", lambda p=profile: ready(server, NODES[p].hostname), 60)
    if house.has("metallb"):
        lab.wait("MetalLB's speaker runs on all three", lambda: speakers(server) == 3, 90)
    moves(lab, house)
    again(lab, house)


def speakers(server):
    pods = server.get("pods", "--namespace=metallb-system", "--selector=component=speaker")["items"]
    return sum(status["ready"] for pod in pods for status in pod["status"].get("containerStatuses", []))


def moves(lab, house):
    """A pod on an agent, asked from the server's side of the wire."""
    house.server.apply(page("windrunner"), page("lightweaver"))
    for name in ("windrunner", "lightweaver"):
        if not lab.wait(f"a pod runs on {name}", lambda n=name: house.server.pod_runs("default", f"page={n}"), 60):
            lab.note(house.server.pods_now())
            continue
        address = house.server.get("pod", f"page-{name}", "--namespace=default")["status"]["podIP"]
        with lab.check(f"the server reaches it at {address}"):
            assert house.server.run("curl", "--silent", "--max-time", "5", f"http://{address}:8080/hostname").stdout.strip() == f"page-{name}"


def again(lab, house):
    before = house.server.get("node", "windrunner")["metadata"]["uid"]
    with lab.check("windrunner is switched off, and started from a new card"):
        house.agents.pop("worker-1").close()
        house.start_agent("worker-1")
    agent = house.agents["worker-1"]
    if not lab.wait("its pod runs again, in a container of the new card", lambda: BUSYBOX in agent.ctr("containers", "list")
                    and house.server.pod_runs("default", "page=windrunner"), 120):
        lab.note(house.server.pods_now())
    with lab.check("to the cluster it is the same node, and it is ready"):
        assert house.server.get("node", "windrunner")["metadata"]["uid"] == before and ready(house.server, "windrunner")
    lab.skip("k3s on the server accepts the node's password again", "k3s itself cannot be had here; `reflash` of the lab `cluster` has its recorder")


def page(node):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"page-{node}", "namespace": "default", "labels": {"page": node}},
            "spec": {"nodeName": node, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "restartPolicy": "Always",
                     "containers": [{"name": "page", "image": BUSYBOX, "imagePullPolicy": "Never",
                                     "command": ["/bin/sh", "-c", "hostname > /tmp/hostname; exec httpd -f -p 8080 -h /tmp"]}]}}
