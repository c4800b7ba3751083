"""The demo's page over TLS, with the authority that lies beside the images"""

from __future__ import annotations

from expected import INGRESS
from kubelab import tls
from kubelab.house import NO_PODS

LAB = "kube"
AFTER = ["kube_load_balancer", "kube_names"]


def run(lab):
    house = lab.memory["house"]
    if not house.runs_pods:
        lab.skip("everything in it", NO_PODS)
        return
    if not (house.has("cert-manager") and house.has("ingress") and house.has("demo")):
        lab.skip("the page comes over TLS", "there are no roles `cert-manager`, `ingress` and `demo`")
        return
    with lab.check("every Certificate names an issuer whose Secret is there, and whose key fits its certificate"):
        tls.issue(house.server, house.kind("Certificate"), house.folder / "issued")
    lab.skip("cert-manager issues the certificate", "its commands are not served as Go modules; openssl signs what the Certificate asks for, with the Secret of the ClusterIssuer")
    host = house.demo_host()
    where = ["--resolve", f"{host}:443:{INGRESS}"]
    page = lab.wait(f"https://{host}/ comes, and curl accepts it with out/ca.crt", lambda: house.curl(f"https://{host}/", "--cacert", str(house.out / "ca.crt"), *where), 30) or ""
    with lab.check("the demo knows that it was asked over TLS"):
        assert "It works" in page and "scheme   https" in page, page
    with lab.check("without that authority curl refuses it"):
        done = house.laptop.run("curl", "--silent", "--max-time", "8", *where, f"https://{host}/", check=False)
        assert done.returncode == 60, done
