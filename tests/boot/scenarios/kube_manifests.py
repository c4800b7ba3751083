"""Every object that imgbuild renders, applied in k3s' way to a real API server until none fails"""

from __future__ import annotations

import json

from kubelab import k3s_objects
from kubelab.house import NO_PODS

LAB = "kube"
# Webhooks of programs that cannot be built here: with nobody to answer, they would refuse every object.
NOBODY_ANSWERS = ("cert-manager-webhook",)


def run(lab):
    house = lab.memory["house"]
    server = house.server
    house.start_pods()
    if house.runs_pods:
        lab.wait("the server's node is ready", lambda: ready(server, server.hostname), 90, must=True)
    files = sorted(file.name for file in house.manifests.iterdir())
    with lab.check(f"the card has manifests for k3s: {', '.join(files)}"):
        assert house.objects, "none"
    applied(lab, house)
    strict(lab, house)
    if (values := k3s_objects.chart_values(house.objects, "traefik")) is not None:
        with lab.check("the values for k3s' Traefik are known to the stand-in, which takes them over"):
            server.apply(*k3s_objects.ingress(values))
    volumes(lab, house)


def ready(server, name):
    conditions = server.get("node", name)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def applied(lab, house):
    left_out = [f"{item['kind']}/{item['metadata']['name']}" for item in house.objects
                if item["kind"].endswith("WebhookConfiguration") and (item["metadata"]["name"] in NOBODY_ANSWERS or not house.runs_pods)]
    for name in sorted({one.split("/")[1] for one in left_out}):
        lab.skip(f"{name} is asked about objects", "its program cannot be had as a Go module; its definitions judge them all the same" if house.runs_pods else NO_PODS)
    with lab.check(f"{len(house.objects) - len(left_out)} objects, applied with k3s' own library in the order of its files, again and again until no file fails"):
        done = house.server.run(house.server.path("deploy"), f"--kubeconfig={house.server.admin}", f"--without={','.join(left_out)}", "--patience=150s",
                                house.manifests, check=False, timeout=240)
        passes = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, f"{json.dumps(passes[-1]['errors'], indent=1) if passes else done.stderr}\n{house.server.pods_now()}"
    for number, one in enumerate(passes, 1):
        if one["errors"]:
            lab.note(f"pass {number} of {len(passes)}: to be tried again: {', '.join(one['errors'])}")


def strict(lab, house):
    with lab.check("none of them has a field that the API server does not know"):
        told = house.server.run(house.server.path("kubectl"), f"--kubeconfig={house.server.admin}", "apply", "--server-side", "--force-conflicts", "--dry-run=server",
                                "--validate=strict", "--recursive", f"--filename={house.manifests}", check=False, timeout=120)
        wrong = [line for line in told.stderr.splitlines() if "nknown field" in line or "uplicate field" in line or "error validating" in line]
        assert not wrong and told.returncode == 0, told.stderr[-3000:]


    with lab.check("the judge would find one"):
        wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wrong", "namespace": "default"}, "spec": {"ports": [{"port": 80}], "extrenalIPs": []}}
        told = house.server.run(house.server.path("kubectl"), f"--kubeconfig={house.server.admin}", "apply", "--server-side", "--dry-run=server",
                                "--validate=strict", "--filename=-", check=False, text=json.dumps(wrong))
        assert told.returncode != 0 and "extrenalIPs" in told.stderr, told


def volumes(lab, house):
    """csi-driver-smb is not served as a module: a folder of the node stands in for a volume on the share."""
    claims = house.kind("PersistentVolumeClaim")
    for claim in claims:
        name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
        folder = f"/var/lib/volumes/{namespace}-{name}"
        house.server.shell(f"mkdir -p {folder} && chmod 777 {folder}")
        house.server.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"stand-in-{namespace}-{name}"}, "spec": {
            "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"], "hostPath": {"path": folder},
            "storageClassName": claim["spec"].get("storageClassName", ""), "claimRef": {"namespace": namespace, "name": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [house.server.hostname]}]}]}}}})
        lab.skip(f"csi-driver-smb provides the volume of {namespace}/{name}", "it is not served as a Go module; a folder of the node stands in")
