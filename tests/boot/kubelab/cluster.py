"""The programs of a k3s server and of its agents, with the settings that k3s gives them, in spaces on the lab's wire.

k3s itself cannot be had where the tests run. What it is made of can: Kubernetes, kine and containerd, by their modules.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from harness.checks import GaveUp
from kubelab.authorities import Authorities
from kubelab.space import Space, until

PODS = "10.42.{}.0/24"
SERVICES = "10.43.0.0/16"
API_SERVICE = "10.43.0.1"
CLUSTER_DNS = "10.43.0.10"
PORT = 6443
CNI_PROGRAMS = "/usr/lib/cni"
PAUSE = "docker.io/rancher/mirrored-pause:3.6"
# The least that a machine with cgroup v1 and without CAP_SYS_RESOURCE, such as a container, is content with.
CONTAINERD = """
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "{snapshotter}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{cni}"]
conf_dir = "/run/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
"""


class Node(Space):
    """A node that runs pods: containerd, kubelet, kube-proxy, and a bridge for its pods."""

    def __init__(self, number: int, hostname: str, address: str, workdir: pathlib.Path, programs: pathlib.Path, resolvers: list[str]) -> None:
        super().__init__(hostname, address, workdir)
        self.number, self.programs = number, programs
        (workdir / "resolv.conf").write_text("".join(f"nameserver {server}\n" for server in resolvers))

    def path(self, name: str) -> pathlib.Path:
        return self.programs / "bin" / name

    def start_containers(self, archives: list[pathlib.Path]) -> None:
        """containerd, with the images of these archives."""
        self.shell("mkdir -p /run/cni /var/lib/kubelet; mount --bind /var/lib/kubelet /var/lib/kubelet; mount --make-rshared /var/lib/kubelet; "
                   "sysctl -qw net.ipv4.ip_forward=1")
        pods = {"type": "host-local", "ranges": [[{"subnet": PODS.format(self.number)}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": pods}
        self.shell("cat > /run/cni/10-lab.conflist", text=json.dumps({
            "cniVersion": "1.0.0", "name": "lab", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}))
        (self.workdir / "containerd.toml").write_text(CONTAINERD.format(pause=PAUSE, cni=CNI_PROGRAMS, snapshotter=self._snapshotter()))
        self.start("containerd", self.path("containerd"), "--config", self.workdir / "containerd.toml", env={"PATH": f"{self.programs}/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        until(lambda: self.ctr("version"), f"containerd of {self.hostname}")
        for archive in archives:
            self.ctr("images", "import", str(archive), timeout=240)

    def _snapshotter(self) -> str:
        """Copies of every layer take time and room, but not every file system can be the lower one of an overlay."""
        trial = "cd /var/lib; mkdir -p trial/lower trial/upper trial/work trial/at; mount -t overlay -o lowerdir=trial/lower,upperdir=trial/upper,workdir=trial/work x trial/at; umount trial/at"
        return "overlayfs" if self.run("sh", "-euc", trial, check=False).returncode == 0 else "native"

    def ctr(self, *words: str, **more: Any) -> str:
        """containerd's own client, in the kubelet's namespace of images."""
        return self.run(self.path("ctr"), "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", *words, **more).stdout

    def start_kubelet(self, authorities: Authorities, server: str) -> None:
        """kubelet and kube-proxy, with certificates as k3s hands them out to its nodes."""
        names = (f"IP:{self.address}", f"DNS:{self.hostname}")
        serving = authorities.leaf(f"serving-kubelet-{self.hostname}", f"/CN={self.hostname}", "server-ca", "serverAuth", names)
        client = authorities.kubeconfig(f"kubelet-{self.hostname}", f"/O=system:nodes/CN=system:node:{self.hostname}", server)
        proxy = authorities.kubeconfig(f"proxy-{self.hostname}", "/CN=system:kube-proxy", server)
        (self.workdir / "kubelet.yaml").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authorities.file("client-ca.crt"))},
                               "webhook": {"enabled": True}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": str(serving), "tlsPrivateKeyFile": str(serving.with_suffix(".key")),
            "cgroupDriver": "cgroupfs", "failCgroupV1": False, "failSwapOn": False, "cgroupsPerQOS": False, "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": False, "evictionHard": {"memory.available": "50Mi"}, "imageGCHighThresholdPercent": 100,
            "clusterDNS": [CLUSTER_DNS], "clusterDomain": "cluster.local", "resolvConf": str(self.workdir / "resolv.conf"),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock", "volumePluginDir": "/var/lib/kubelet/plugins-exec",
            "nodeStatusUpdateFrequency": "5s", "syncFrequency": "10s", "fileCheckFrequency": "60s"}))
        self.start("kubelet", self.path("kubelet"), f"--config={self.workdir}/kubelet.yaml", f"--kubeconfig={client}", f"--node-ip={self.address}",
                   f"--hostname-override={self.hostname}", "--root-dir=/var/lib/kubelet")
        (self.workdir / "proxy.yaml").write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables", "clusterCIDR": "10.42.0.0/16",
            "clientConnection": {"kubeconfig": str(proxy)}, "conntrack": {"maxPerCore": 0, "min": 0}, "healthzBindAddress": "127.0.0.1:10256"}))
        self.start("kube-proxy", self.path("kube-proxy"), f"--config={self.workdir}/proxy.yaml", f"--hostname-override={self.hostname}")

    def route_to(self, other: Node) -> None:
        """To the pods of another node, as flannel's host-gw does it."""
        self.run("ip", "route", "replace", PODS.format(other.number), "via", other.address)

    def close(self) -> None:
        """Switched off: its containers' processes are outside of its namespaces, and end first."""
        for name in ("kubelet", "kube-proxy"):
            if name in self.processes:
                self.stop(name)
        if "containerd" in self.processes:
            for container in self.ctr("tasks", "list", "--quiet").split():
                self.ctr("tasks", "kill", "--signal", "KILL", container, check=False)
        super().close()


class Server(Node):
    """The node with the control plane."""

    authorities: Authorities

    @property
    def url(self) -> str:
        return f"https://{self.address}:{PORT}"

    @property
    def database(self) -> pathlib.Path:
        return self.root / "var/lib/rancher/k3s/server/db/state.db"

    @property
    def root(self) -> pathlib.Path:
        """What stands for `/` of the node, for programs of the card that take IMGBUILD_ROOT."""
        return self.workdir / "root"

    def use(self, authorities: Authorities) -> None:
        """These authorities are found at the first start."""
        self.authorities = authorities
        self.admin = authorities.kubeconfig("admin", "/O=system:masters/CN=system:admin", self.url)

    def start_datastore(self) -> None:
        self.database.parent.mkdir(exist_ok=True, parents=True, mode=0o700)
        self.start("kine", self.path("kine"), f"-database={self.database}", "-listen-address=127.0.0.1:2379")

    def start_api(self) -> None:
        """The API server, with the flags that k3s gives it where they matter for who may do what."""
        tls = self.authorities
        names = ("DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost", f"DNS:{self.hostname}",
                 "IP:127.0.0.1", f"IP:{self.address}", f"IP:{API_SERVICE}")
        serving = tls.leaf("serving-kube-apiserver", "/CN=kube-apiserver", "server-ca", "serverAuth", names)
        kubelet = tls.leaf("client-kube-apiserver", "/O=system:masters/CN=system:apiserver", "client-ca")
        proxy = tls.leaf("client-auth-proxy", "/CN=system:auth-proxy", "request-header-ca")
        key = tls.file("service.key")
        self.start("kube-apiserver", self.path("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", f"--secure-port={PORT}",
                   f"--advertise-address={self.address}", f"--tls-cert-file={serving}", f"--tls-private-key-file={serving.with_suffix('.key')}",
                   f"--client-ca-file={tls.file('client-ca.crt')}", f"--requestheader-client-ca-file={tls.file('request-header-ca.crt')}",
                   "--requestheader-allowed-names=system:auth-proxy", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                   "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
                   f"--proxy-client-cert-file={proxy}", f"--proxy-client-key-file={proxy.with_suffix('.key')}",
                   f"--kubelet-client-certificate={kubelet}", f"--kubelet-client-key={kubelet.with_suffix('.key')}",
                   f"--kubelet-certificate-authority={tls.file('server-ca.crt')}", f"--service-account-key-file={key}",
                   f"--service-account-signing-key-file={key}", "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                   f"--service-cluster-ip-range={SERVICES}", "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                   "--allow-privileged=true", "--anonymous-auth=false", "--profiling=false")

    def start_controllers(self) -> None:
        tls = self.authorities
        manager = tls.kubeconfig("controller-manager", "/CN=system:kube-controller-manager", self.url)
        scheduler = tls.kubeconfig("scheduler", "/CN=system:kube-scheduler", self.url)
        self.start("kube-controller-manager", self.path("kube-controller-manager"), f"--kubeconfig={manager}", "--use-service-account-credentials=true",
                   f"--service-account-private-key-file={tls.file('service.key')}", f"--root-ca-file={tls.file('server-ca.crt')}",
                   "--allocate-node-cidrs=false", "--leader-elect=false", "--node-monitor-grace-period=20s")
        self.start("kube-scheduler", self.path("kube-scheduler"), f"--kubeconfig={scheduler}", "--leader-elect=false")

    def stop_control_plane(self) -> None:
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "kine"):
            if name in self.processes:
                self.stop(name)

    def kubectl(self, *words: str | pathlib.Path, **more: Any) -> str:
        """kubectl as the admin that k3s makes at its first start."""
        return self.run(self.path("kubectl"), f"--kubeconfig={self.admin}", *words, **more).stdout

    def get(self, *words: str) -> Any:
        """Objects, as kubectl gets them."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def ready(self) -> bool:
        """Whether the API server answers that it is."""
        if dead := self.died():
            raise GaveUp(f"{self.hostname}: {dead}")
        return self.kubectl("get", "--raw=/readyz", timeout=10).strip() == "ok"

    def apply(self, *documents: Any) -> None:
        """Objects that k3s would bring by itself, or that stand in for something."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-",
                     text="\n---\n".join(one if isinstance(one, str) else json.dumps(one) for one in documents))

    def pod_runs(self, namespace: str, selector: str) -> bool:
        """Whether there is a pod of these labels, and all of them are ready."""
        pods = self.get("pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
        return bool(pods) and all(condition["status"] == "True" for pod in pods for condition in pod["status"].get("conditions", [])
                                  if condition["type"] == "Ready") and all(pod["status"]["phase"] == "Running" for pod in pods)

    def pods_now(self) -> str:
        """What is wrong with pods, for a report of a failure."""
        lines = []
        for pod in self.get("pods", "--all-namespaces")["items"]:
            for status in pod["status"].get("containerStatuses", []) or [{}]:
                state = status.get("state", {})
                lines.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}: {pod['status']['phase']} {json.dumps(state)[:300]}")
        return "\n".join(lines)

