"""What a node's image holds, read without booting it."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import yaml

MANIFESTS = "/var/lib/rancher/k3s/server/manifests"


class Card:
    """The root partition of an image."""

    def __init__(self, image: pathlib.Path) -> None:
        layout = subprocess.run(["sfdisk", "--json", str(image)], check=True, capture_output=True).stdout
        start = json.loads(layout)["partitiontable"]["partitions"][1]["start"] * 512
        self.where = f"{image}?offset={start}"

    def read(self, path: str) -> bytes:
        """A file; nothing when there is none."""
        return subprocess.run(["debugfs", "-R", f'cat "{path}"', self.where], check=True, capture_output=True).stdout

    def names(self, folder: str) -> list[str]:
        """What is in a folder; nothing when there is none."""
        listed = subprocess.run(["debugfs", "-R", f'ls -p "{folder}"', self.where], check=True, capture_output=True, text=True).stdout
        names = [line.split("/")[5] for line in listed.splitlines() if line.startswith("/")]
        return sorted(name for name in names if name not in (".", ".."))

    def copy(self, folder: str, to: pathlib.Path) -> pathlib.Path:
        """A folder with all that is in it, as `to`."""
        to.mkdir(parents=True)
        for name in self.names(folder):
            subprocess.run(["debugfs", "-R", f'rdump "{folder}/{name}" "{to}"', self.where], check=True, capture_output=True)
        return to


def objects(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a folder of manifests, in the order of the files."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".yaml", ".yml", ".json"):
            found += [item for item in yaml.load_all(file.read_bytes(), yaml.CSafeLoader) if item]
    return found


def images(items: list[dict[str, Any]]) -> set[str]:
    """The images that pods of these objects ask for."""
    return {container["image"] for item in items for container in _containers(item)}


def _containers(item: Any) -> list[dict[str, Any]]:
    if isinstance(item, list):
        return [found for one in item for found in _containers(one)]
    if not isinstance(item, dict):
        return []
    here = [one for key in ("containers", "initContainers") for one in item.get(key) or [] if isinstance(one, dict) and "image" in one]
    return here + [found for value in item.values() for found in _containers(value)]
