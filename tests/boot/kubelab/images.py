"""Container images made here, under the names that the cluster's manifests ask for."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import re
import subprocess
import tarfile
from collections.abc import Iterable


@dataclasses.dataclass
class Image:
    """One layer: files by their path, links by theirs."""

    name: str
    files: dict[str, bytes]
    entrypoint: list[str]
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    command: list[str] = dataclasses.field(default_factory=list)

    def layer(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            folders = {parent for path in (*self.files, *self.links, "/tmp/x", "/etc/x") for parent in pathlib.PurePath(path).parents}
            for folder in sorted(map(str, folders)):
                if folder != "/":
                    info = tarfile.TarInfo(folder.lstrip("/"))
                    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "/tmp" else 0o755
                    tar.addfile(info)
            for path, data in self.files.items():
                info = tarfile.TarInfo(path.lstrip("/"))
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
            for path, target in self.links.items():
                info = tarfile.TarInfo(path.lstrip("/"))
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                tar.addfile(info)
        return out.getvalue()


def archive(images: Iterable[Image], path: pathlib.Path, architecture: str) -> pathlib.Path:
    """A docker archive, as `docker save` makes it."""
    manifest = []
    with tarfile.open(path, "w") as tar:
        for image in images:
            layer = image.layer()
            digest = hashlib.sha256(layer).hexdigest()
            config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Entrypoint": image.entrypoint, "Cmd": image.command},
                                 "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}).encode()
            _add(tar, name := f"{hashlib.sha256(config).hexdigest()}.json", config)
            _add(tar, f"{digest}/layer.tar", layer)
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}/layer.tar"]})
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return path


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def program(name: str, file: pathlib.Path, path: str, command: tuple[str, ...] = ()) -> Image:
    """An image with one program, and the libraries that it is linked to."""
    return Image(name, {path: file.read_bytes(), **libraries(file)}, [path], command=list(command))


def libraries(file: pathlib.Path) -> dict[str, bytes]:
    """The shared libraries of a program; none of a static one."""
    listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True).stdout
    return {library: pathlib.Path(library).read_bytes() for library in re.findall(r"(/\S+) \(0x", listed)}


def asker(name: str, file: pathlib.Path) -> Image:
    """busybox with `/ask`."""
    image = busybox(name)
    image.files |= {"/ask": file.read_bytes(), "/etc/nsswitch.conf": b"hosts: files dns\n", **libraries(file)}
    return image


def busybox(name: str) -> Image:
    """Debian's static busybox, with all of its names."""
    applets = subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    where = subprocess.run(["sh", "-c", "command -v busybox"], check=True, capture_output=True, text=True).stdout.strip()
    return Image(name, {"/bin/busybox": pathlib.Path(where).read_bytes()}, [], {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"},
                 ["sh"])
