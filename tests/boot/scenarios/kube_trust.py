"""The kubeconfig and the authorities that were made at build time, before anything else is done to the API server"""

from __future__ import annotations

LAB = "kube"


def run(lab):
    house = lab.memory["house"]
    server = house.server
    if not house.baked_authorities:
        lab.skip("the kubeconfig beside the image works before the cluster ever ran", "the card has no authorities: k3s makes its own")
    else:
        kubeconfig = house.out / "kubeconfig"
        with lab.check("the kubeconfig beside the image is for its owner only"):
            assert kubeconfig.stat().st_mode & 0o777 == 0o600, oct(kubeconfig.stat().st_mode)
        with lab.check("with it kubectl on the laptop administers the cluster, before anything else was done"):
            told = house.laptop.run(server.path("kubectl"), f"--kubeconfig={kubeconfig}", "auth", "can-i", "*", "*", "--all-namespaces").stdout
            assert told.strip() == "yes", told
        with lab.check("no file of an agent's card holds an authority's key"):
            agents = house.authority_keys_on("worker-1")
            assert not agents, agents
    refused(lab, house)


def refused(lab, house):
    """What of the cluster's keys makes nobody an admin."""
    server, tls = house.server, house.authorities
    for authority in ("server-ca", "request-header-ca"):
        with lab.check(f"a certificate of system:masters by {authority} is not an admin"):
            kubeconfig = tls.kubeconfig(f"forged-{authority}", "/O=system:masters/CN=forged", server.url, authority)
            done = server.run(server.path("kubectl"), f"--kubeconfig={kubeconfig}", "get", "namespaces", check=False)
            assert done.returncode != 0 and ("nauthorized" in done.stderr or "must be logged in" in done.stderr), done.stdout + done.stderr
    for what, subject in (("an agent's", "/O=system:nodes/CN=system:node:windrunner"), ("a server's serving", "/CN=kube-apiserver"), ("kube-proxy's", "/CN=system:kube-proxy")):
        with lab.check(f"{what} certificate is not an admin and reads no Secret"):
            kubeconfig = tls.kubeconfig(f"as-{subject.rsplit(':', 1)[-1].strip('/=')}", subject, server.url)
            for question in (("*", "*"), ("get", "secrets", "--namespace=kube-system")):
                done = server.run(server.path("kubectl"), f"--kubeconfig={kubeconfig}", "auth", "can-i", *question, check=False)
                assert done.stdout.strip().startswith("no"), f"{question}: {done.stdout}{done.stderr}"
