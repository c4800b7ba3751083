"""A real dnsmasq on this computer that stands for Pi-hole, with what is baked into an image, or for a public resolver."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from dns_client import ask
from recorders import ftl_dnsmasq

LOOPBACK = "127.0.0.1"


def file_of(image: pathlib.Path, path: str) -> str:
    """A file of an image's root partition."""
    layout = subprocess.run(["sfdisk", "--json", str(image)], check=True, capture_output=True).stdout
    start = json.loads(layout)["partitiontable"]["partitions"][1]["start"] * 512
    done = subprocess.run(["debugfs", "-R", f"cat {path}", f"{image}?offset={start}"], check=True, capture_output=True, text=True)
    assert done.stdout, f"{path}: {done.stderr}"
    return done.stdout


def pihole(folder: pathlib.Path, toml: dict[str, Any], host: ftl_dnsmasq.Host, *, port: int, upstream: str, hosts: str = "",
           block_list: str = "", listen: tuple[str, ...] = (LOOPBACK,)) -> contextlib.AbstractContextManager[None]:
    """A dnsmasq with FTL's configuration: with another upstream, and `hosts` in place of this computer's /etc/hosts."""
    (folder / "hosts").mkdir(parents=True, exist_ok=True)
    (folder / "hosts" / "custom.list").write_text(ftl_dnsmasq.custom_list(toml))
    (folder / "etc-hosts").write_text(hosts)
    (folder / "blocked").write_text(ftl_dnsmasq.block_hosts(ftl_dnsmasq.blocked_names(block_list)))
    here = toml | {"dns": toml["dns"] | {"port": port, "upstreams": [upstream]}}
    conf = ftl_dnsmasq.dnsmasq_conf(here, host, str(folder), str(folder / "dnsmasq.log"))
    return running(folder, [*conf, "no-hosts", f"addn-hosts={folder}/etc-hosts", f"addn-hosts={folder}/blocked"], port, listen)


@contextlib.contextmanager
def running(folder: pathlib.Path, conf: list[str], port: int, listen: tuple[str, ...] = (LOOPBACK,)) -> Iterator[None]:
    """A dnsmasq with the lines of `conf` at the addresses of `listen`, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*conf, "user=root", "pid-file=", "bind-interfaces", *(f"listen-address={address}" for address in listen)]
    (folder / "dnsmasq.conf").write_text("\n".join(lines) + "\n")
    command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={folder}/dnsmasq.conf"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    try:
        for _ in range(100):
            assert process.poll() is None, f"dnsmasq ended: {process.stdout.read()}"
            if ask(listen[0], "localhost", port=port, timeout=0.2):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError("dnsmasq does not answer")
        yield
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port
