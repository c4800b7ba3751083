"""Certificates as k3s makes them when it starts, signed by the authorities that a card has for it."""

from __future__ import annotations

import json
import pathlib
import subprocess

FOLDER = "/var/lib/rancher/k3s/server/tls"
NAMES = ("server-ca", "client-ca", "request-header-ca")


class Authorities:
    """A folder with k3s' names: server-ca.crt and .key, client-ca, request-header-ca, service.key."""

    def __init__(self, folder: pathlib.Path, leaves: pathlib.Path) -> None:
        self.folder, self.leaves = folder, leaves
        leaves.mkdir(parents=True, exist_ok=True)

    @property
    def complete(self) -> bool:
        return all((self.folder / f"{name}.{kind}").exists() for name in NAMES for kind in ("crt", "key"))

    def found(self) -> None:
        """Makes all of them, as k3s does when it finds none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            key = self._key(self.folder / f"{name}.key")
            openssl("req", "-x509", "-new", "-key", key, "-subj", f"/CN=k3s-{name}@lab", "-days", "3650", "-out", self.folder / f"{name}.crt",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment")
        self._key(self.folder / "service.key")

    def file(self, name: str) -> pathlib.Path:
        return self.folder / name

    def leaf(self, name: str, subject: str, by: str, usage: str = "clientAuth", names: tuple[str, ...] = ()) -> pathlib.Path:
        """A certificate and its key in the folder `leaves`; returns the certificate's path. `names`: DNS:… and IP:…."""
        key, request, certificate = (self.leaves / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.leaves / f"{name}.ext"
        self._key(key)
        openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        extensions.write_text(f"keyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n"
                              + (f"subjectAltName={','.join(names)}\n" if names else ""))
        authority = self.folder / by
        openssl("x509", "-req", "-in", request, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-set_serial", hex(len(list(self.leaves.iterdir())) + 2),
                "-days", "30", "-extfile", extensions, "-out", certificate)
        # The chain, as the server of k3s sends it.
        certificate.write_text(certificate.read_text() + pathlib.Path(f"{authority}.crt").read_text())
        return certificate

    def kubeconfig(self, name: str, subject: str, server: str, by: str = "client-ca") -> pathlib.Path:
        """A kubeconfig for a client of this subject."""
        certificate = self.leaf(name, subject, by)
        path = self.leaves / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": str(self.file("server-ca.crt"))}}],
            "users": [{"name": "lab", "user": {"client-certificate": str(certificate), "client-key": str(certificate.with_suffix(".key"))}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}]}))
        return path

    @staticmethod
    def _key(path: pathlib.Path) -> pathlib.Path:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
        return path


def openssl(*words: str | pathlib.Path) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout
