"""What k3s brings to a cluster by itself, and what stands in for it here."""

from __future__ import annotations

from typing import Any

import yaml

from kubelab.cluster import CLUSTER_DNS

COREDNS = "docker.io/rancher/mirrored-coredns-coredns:lab"
INGRESS = "docker.io/rancher/mirrored-library-traefik:lab"
TRAEFIK_CONTROLLER = "traefik.io/ingress-controller"
# What k3s' CoreDNS does: names of the cluster, of the nodes, and all others by the kubelet's resolver file.
COREFILE = """.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
        ttl 60
        reload 15s
        fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    forward . /etc/resolv.conf
}
"""


def meta(name: str, namespace: str | None = "kube-system", **more: Any) -> dict[str, Any]:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


def account(name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A service account of kube-system that may do this in the whole cluster."""
    rbac = "rbac.authorization.k8s.io"
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name)},
            {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": meta(f"lab:{name}", None), "rules": rules},
            {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": meta(f"lab:{name}", None),
             "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": f"lab:{name}"},
             "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}]}]


def read(group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["get", "list", "watch"]}


def deployment(name: str, **pod: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(name, labels=labels),
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": name, "terminationGracePeriodSeconds": 1, **pod}}}}


def coredns(node_hosts: dict[str, str]) -> list[dict[str, Any]]:
    """CoreDNS as k3s sets it up. `node_hosts`: name -> address."""
    hosts = "".join(f"{address} {name}\n" for name, address in node_hosts.items())
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    return [*account("coredns", [read("", "endpoints", "services", "pods", "namespaces"), read("discovery.k8s.io", "endpointslices")]),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("coredns"), "data": {"Corefile": COREFILE, "NodeHosts": hosts}},
            deployment("coredns", dnsPolicy="Default", volumes=[{"name": "config", "configMap": {"name": "coredns"}}], containers=[{
                "name": "coredns", "image": COREDNS, "args": ["-conf", "/etc/coredns/Corefile"],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}]}]),
            {"apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns"),
             "spec": {"clusterIP": CLUSTER_DNS, "selector": {"app.kubernetes.io/name": "coredns"}, "ports": ports}}]


def local_path() -> dict[str, Any]:
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "rancher.io/local-path", "volumeBindingMode": "WaitForFirstConsumer",
            "metadata": meta("local-path", None, annotations={"storageclass.kubernetes.io/is-default-class": "true"})}


def ingress(values: dict[str, Any]) -> list[dict[str, Any]]:
    """What k3s' chart of Traefik makes of these values, as far as the role `ingress` sets them, with the stand-in as its
    program. A value that is not known here is an error: it would not be judged."""
    unknown = set(_leaves(values)) - {"ingressClass.enabled", "ingressClass.isDefaultClass", "service.annotations", "service.spec.externalTrafficPolicy",
                                      "tlsStore.default.defaultCertificate.secretName"}
    assert not unknown, f"values of the chart that the lab's stand-in does not know: {sorted(unknown)}"
    service = values.get("service", {})
    secret = values.get("tlsStore", {}).get("default", {}).get("defaultCertificate", {}).get("secretName", "")
    default = str(values.get("ingressClass", {}).get("isDefaultClass", True)).lower()
    return [*account("traefik", [read("", "services", "secrets"), read("networking.k8s.io", "ingresses", "ingressclasses")]),
            {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": TRAEFIK_CONTROLLER},
             "metadata": meta("traefik", None, annotations={"ingressclass.kubernetes.io/is-default-class": default})},
            deployment("traefik", containers=[{"name": "traefik", "image": INGRESS, "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 2},
                                               "args": [f"-controller={TRAEFIK_CONTROLLER}", f"-default-certificate=kube-system/{secret}"]}]),
            {"apiVersion": "v1", "kind": "Service", "metadata": meta("traefik", annotations=service.get("annotations", {})),
             "spec": {"type": "LoadBalancer", "selector": {"app.kubernetes.io/name": "traefik"}, **service.get("spec", {}),
                      "ports": [{"name": "web", "port": 80, "targetPort": 8000}, {"name": "websecure", "port": 443, "targetPort": 8443}]}}]


def chart_values(items: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The values that a HelmChartConfig among these objects has for a chart of k3s."""
    for item in items:
        if item["kind"] == "HelmChartConfig" and item["metadata"]["name"] == name:
            return yaml.safe_load(item["spec"].get("valuesContent", "")) or {}
    return None


def _leaves(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        here = f"{path}{key}"
        found += _leaves(value, f"{here}.") if isinstance(value, dict) and here != "service.annotations" else [here]
    return found
