"""The lab's house: a server whose card imgbuild has made, agents, Pi-hole, and a laptop, all on one wire."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tomllib
from typing import Any

import real_dnsmasq
from expected import DOMAIN, INGRESS, NODES
from harness.network import BRIDGE, ip
from kubelab import k3s_objects
from kubelab.authorities import FOLDER, Authorities
from kubelab.card import MANIFESTS, Card, images, objects
from kubelab.cluster import PAUSE, Node, Server
from kubelab.images import Image, archive, asker, busybox, program
from kubelab.space import Space, until
from nodes import SECRETS
from recorders import ftl_dnsmasq, k3s_config

LAPTOP = "10.100.0.20"
PUBLIC = "1.1.1.1"
SERVER, GATEWAY = NODES["master"], NODES["gateway"]
NO_PODS = "the programs of a node were not built"
NO_GO = "there is no Go on this machine to build Kubernetes with"
NO_ROOT = "containers of a cluster need root, and not that of a user namespace"
BUSYBOX = "docker.io/library/lab-busybox:1"
ASKERS = {library: f"docker.io/library/lab-ask-{library}:1" for library in ("glibc", "musl")}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def missing(lab: Any) -> str:
    """Why this lab cannot be had here; nothing when it can."""
    if not lab.setup.get("kube"):
        return NO_GO
    ids = pathlib.Path("/proc/self/uid_map").read_text().split()
    return "" if ids[:2] == ["0", "0"] and int(ids[2]) > 65536 else NO_ROOT


class House:
    """Everything that the scenarios ask. The server's API answers once it is made."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.programs = pathlib.Path(lab.setup["kube"])
        self.folder = lab.workdir / "kube"
        self.folder.mkdir()
        # Without them the API server judges the objects alone.
        self.runs_pods = (self.programs / "bin" / "kubelet").exists()
        self.stack = contextlib.ExitStack()
        self.agents: dict[str, Node] = {}
        self.started = False
        image = lab.image("master", **SECRETS, **roles(lab))
        self.out = image.parent
        self.card = Card(image)
        self.manifests = self.card.copy(MANIFESTS, self.folder / "manifests")
        self.objects = objects(self.manifests)
        self.authorities = Authorities(self.card.copy(FOLDER, self.folder / "tls"), self.folder / "leaves")
        self.baked_authorities = self.authorities.complete
        if not self.baked_authorities:
            shutil.rmtree(self.authorities.folder)
            self.authorities.found()
        self.start()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *error: object) -> None:
        for space in (*self.agents.values(), self.server, self.laptop):
            with contextlib.suppress(Exception):
                space.close()
        self.stack.close()

    # ------------------------------------------------------------------ starting

    def start(self) -> None:
        config = k3s_config.parse(self.card.read(k3s_config.CONFIG).decode())
        resolvers = nameservers(self.card.read(config["resolv-conf"]).decode()) if "resolv-conf" in config else [GATEWAY.address]
        self.laptop = Space("laptop", LAPTOP, self.folder / "laptop")
        self.server = Server(0, config["node-name"], config["node-ip"], self.folder / "server", self.programs, resolvers)
        self.server.use(self.authorities)
        self.server.start_datastore()
        self.server.start_api()
        self.lab.wait("the API server is ready, with the authorities of the card" if self.baked_authorities
                      else "the API server is ready, with authorities of the lab's own", self.server.ready, 90, must=True)

    def start_pods(self) -> None:
        """The rest of the node, and what k3s brings by itself."""
        if self.started:
            return
        self.started = True
        if self.runs_pods:
            self.server.start_containers([self.images()])
            self.server.start_kubelet(self.authorities, self.server.url)
            self.server.start_controllers()
        names = {node.hostname: node.address for node in NODES.values() if node is not GATEWAY}
        self.server.apply(*[path.read_text() for path in sorted((self.programs / "k3s").glob("*.yaml"))],
                          k3s_objects.local_path(), *k3s_objects.coredns(names))
        if not self.runs_pods:
            return
        until(lambda: self.server.get("node", self.server.hostname), "the node registers", 60)
        self.server.kubectl("label", "--overwrite", "node", self.server.hostname, "node-role.kubernetes.io/control-plane=true")

    def images(self) -> pathlib.Path:
        """The archive of images that pods of the lab get, under the names that the manifests have for them."""
        path = self.folder / "images.tar"
        if not path.exists():
            pods = self.programs / "bin"
            made = [program(PAUSE, pods / "pods", "/pause"), program(k3s_objects.COREDNS, pods / "coredns", "/coredns"),
                    program(k3s_objects.INGRESS, pods / "pods", "/ingress")]
            made += [busybox(BUSYBOX), *(asker(name, self.programs / "ask" / library) for library, name in ASKERS.items())]
            made += [image for name in sorted(images(self.objects)) if (image := self.stand_in(name))]
            archive(made, path, ARCHITECTURES[os.uname().machine])
        return path

    def stand_in(self, name: str) -> Image | None:
        """The lab's own image for a name in the manifests: the same program, built here. None where there is none."""
        pods = self.programs / "bin"
        match name.rsplit(":")[0].rsplit("/", 1)[-1]:
            case "controller" if "metallb" in name:
                return program(name, pods / "controller", "/controller")
            case "speaker" if "metallb" in name:
                return program(name, pods / "speaker", "/speaker")
            case "busybox":
                return busybox(name)
        return None

    def start_agent(self, profile: str) -> Node:
        """An agent with what its card says."""
        card = Card(self.lab.image(profile, **SECRETS))
        config = k3s_config.parse(card.read(k3s_config.CONFIG).decode())
        assert config["server"] == self.server.url, config["server"]
        number = list(NODES).index(profile)
        again = self.lab.memory.setdefault("agents started", {})
        again[profile] = again.get(profile, 0) + 1
        resolvers = nameservers(card.read(config["resolv-conf"]).decode()) if "resolv-conf" in config else [GATEWAY.address]
        agent = Node(number, config["node-name"], config["node-ip"], self.folder / f"{profile}-{again[profile]}", self.programs, resolvers)
        self.agents[profile] = agent
        agent.start_containers([self.images()])
        agent.start_kubelet(self.authorities, self.server.url)
        for one in (self.server, *self.agents.values()):
            for other in (self.server, *self.agents.values()):
                if one is not other:
                    one.route_to(other)
        return agent

    def start_pihole(self) -> None:
        """dnsmasq with what FTL makes of the gateway's pihole.toml, at the gateway's address."""
        if "pihole" in self.lab.memory:
            return
        image = self.lab.image("gateway", pihole__ingress_answers=True, **SECRETS)
        toml = tomllib.loads(real_dnsmasq.file_of(image, "/etc/pihole/pihole.toml"))
        ip("addr", "add", f"{GATEWAY.address}/24", "dev", BRIDGE)
        outside = ["no-resolv", "no-hosts", f"local=/{DOMAIN}/", "address=/outside.example/203.0.113.80"]
        self.stack.enter_context(real_dnsmasq.running(self.folder / "public", outside, 53, (PUBLIC,)))
        host = ftl_dnsmasq.Host(GATEWAY.hostname, {"lo": (real_dnsmasq.LOOPBACK,), BRIDGE: (GATEWAY.address,)})
        self.stack.enter_context(real_dnsmasq.pihole(self.folder / "pihole", toml, host, port=53, upstream=PUBLIC, listen=(GATEWAY.address,)))
        self.lab.memory["pihole"] = True

    def restart_nodes(self) -> None:
        """kubelet and kube-proxy, which are in one process with the rest of k3s; pods go on."""
        for node in (self.server, *self.agents.values()):
            for name in ("kubelet", "kube-proxy"):
                node.stop(name)
            node.start_kubelet(self.authorities, self.server.url)

    # ------------------------------------------------------------------ asking

    def kind(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind in the card's manifests."""
        return [item for item in self.objects if item["kind"] == kind]

    def has(self, role: str) -> bool:
        return role in roles(self.lab).get("roles", [])

    def address_of(self, namespace: str, service: str) -> str:
        """What a load balancer has given to a Service; nothing yet."""
        found = self.server.get("service", service, f"--namespace={namespace}")["status"]["loadBalancer"].get("ingress", [])
        return found[0]["ip"] if found else ""

    def authority_keys_on(self, profile: str) -> list[str]:
        """The authorities' private keys on another node's card."""
        card = Card(self.lab.image(profile, **SECRETS))
        return [name for folder in (FOLDER, f"{FOLDER}/etcd") for name in card.names(folder) if name.endswith(".key")]

    def curl(self, url: str, *words: str, check: bool = True) -> str:
        """What the laptop gets."""
        done = self.laptop.run("curl", "--silent", "--show-error", "--max-time", "8", "--noproxy", "*", *words, url, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"curl {url}: {done.stderr.strip()}")
        return done.stdout

    def demo_host(self) -> str:
        return str(next(item["spec"]["rules"][0]["host"] for item in self.kind("Ingress") if item["metadata"]["name"] == "demo"))

    def demo_answers(self) -> str:
        """The demo's page by the ingress, over plain HTTP."""
        text = self.curl(f"http://{self.demo_host()}/", "--resolve", f"{self.demo_host()}:80:{INGRESS}")
        return text if "It works" in text else ""


def roles(lab: Any) -> dict[str, Any]:
    """The roles of the server in this lab, and local copies of what they would download."""
    return lab.setup["kube_settings"]


def nameservers(text: str) -> list[str]:
    return [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"]]
