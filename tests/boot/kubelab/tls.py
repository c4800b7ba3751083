"""What cert-manager's issuer of kind CA does: signs what a Certificate asks for with the Secret of its issuer."""

from __future__ import annotations

import base64
import pathlib
from typing import Any

from kubelab.authorities import openssl


def issue(server: Any, certificates: list[dict[str, Any]], folder: pathlib.Path) -> None:
    """Signs every Certificate and puts the result into the Secret that it names. What is asked for and by whom it is to
    be signed comes from the API server."""
    folder.mkdir(exist_ok=True)
    for certificate in certificates:
        name, namespace, spec = certificate["metadata"]["name"], certificate["metadata"]["namespace"], certificate["spec"]
        issuer = server.get("clusterissuer", spec["issuerRef"]["name"])
        secret = server.get("secret", issuer["spec"]["ca"]["secretName"], "--namespace=cert-manager")
        authority, key = folder / f"{name}-ca.crt", folder / f"{name}-ca.key"
        for path, entry in ((authority, "tls.crt"), (key, "tls.key")):
            path.write_bytes(base64.b64decode(secret["data"][entry]))
        assert openssl("x509", "-in", authority, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout"), "the key is not that of the certificate"
        leaf = _sign(folder / name, authority, key, spec["dnsNames"])
        server.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": spec["secretName"], "namespace": namespace},
                      "stringData": {"tls.crt": leaf.read_text(), "tls.key": leaf.with_suffix(".key").read_text(), "ca.crt": authority.read_text()}})


def _sign(leaf: pathlib.Path, authority: pathlib.Path, key: pathlib.Path, names: list[str]) -> pathlib.Path:
    own, request, extensions, certificate = (leaf.with_suffix(end) for end in (".key", ".csr", ".ext", ".crt"))
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", own)
    openssl("req", "-new", "-key", own, "-subj", "/", "-out", request)
    extensions.write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
                          f"subjectAltName=critical,{','.join(f'DNS:{name}' for name in names)}\n")
    openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-set_serial", "0x11", "-days", "90", "-extfile", extensions, "-out", certificate)
    return certificate
