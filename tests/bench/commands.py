"""All command lines in one place: imgbuild's, whose options still move, and the peers'."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
import subprocess

PATCH_STREAM = pathlib.Path(__file__).resolve().parent / "patch_stream.py"

# Options of imgbuild that not every version has. What its help does not know is left out, or what needs it is skipped.
RAW_DIGEST = ["--checksums", "all"]
FILE_DIGEST = ["--checksums", "files"]
NO_DIGEST = ["--checksums", "none"]
BMAP = ["--bmap"]
NO_VERIFY = ["--no-verify"]

ABSENT = "this imgbuild has no option for it"

XZ, RAW = "img.xz", "img"


@dataclasses.dataclass(frozen=True)
class Node:
    """What is built: profiles (none: all four) and what is set in them."""

    profiles: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]

    def words(self) -> list[str]:
        which = [w for name in self.profiles for w in ("--profile", name)] or ["--all"]
        return which + [w for key, value in self.settings for w in ("--set", f"{key}={value}")]


class Imgbuild:
    """The program under test and what it can do."""

    def __init__(self, binary: pathlib.Path, project: pathlib.Path) -> None:
        self.binary, self.project = str(binary), str(project)
        self.help = self._says("--help")
        flash = self._says("flash", "--help")
        self.flash_help = flash if "flash" in flash else ""

    def _says(self, *words: str) -> str:
        done = subprocess.run([self.binary, *words], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def version(self) -> str:
        return self._says("--version").strip()

    def has(self, option: list[str]) -> bool:
        return knows(self.help, option[0])

    def file_digest(self) -> list[str]:
        """How an .img.xz is made with the digest of the file and without that of the raw image."""
        return FILE_DIGEST if self.has(FILE_DIGEST) else []

    def build(self, node: Node, base: pathlib.Path, out: pathlib.Path, format: str, *more: str) -> list[str]:
        return [self.binary, "--offline", "-C", self.project, *node.words(), "--base", str(base), "--format", format,
                "--out", str(out), *more]

    def plan(self, node: Node) -> list[str]:
        return [self.binary, "plan", "-C", self.project, *node.words(), "--json"]

    def check(self, project: pathlib.Path) -> list[str]:
        return [self.binary, "check", "-C", str(project)]

    def init(self) -> list[str]:
        return [self.binary, "init", self.project]

    def flash(self, image: pathlib.Path, device: str, *more: str) -> list[str]:
        return [self.binary, "flash", str(image), *self.unasked(), "--to", device, *more]

    def flash_node(self, node: Node, base: pathlib.Path, device: str, *more: str) -> list[str]:
        return [self.binary, "flash", "-C", self.project, *node.words(), "--base", str(base), *self.unasked(), "--to", device,
                *more]

    def unasked(self) -> list[str]:
        """What keeps newer ones from asking before they overwrite a disk."""
        return ["--yes"] if knows(self.flash_help, "--yes") else []


def knows(text: str, option: str) -> bool:
    """Whether a help text has an option, and not only one that begins like it."""
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


# ------------------------------------------------------------------ peers


def quoted(*paths: pathlib.Path | str) -> tuple[str, ...]:
    return tuple(shlex.quote(str(path)) for path in paths)


def unpack_patch_pack(base: pathlib.Path, patch: pathlib.Path, out: pathlib.Path, preset: int) -> str:
    """The peers' way to a node's .img.xz. Preset 6 is what Raspberry Pi OS is packed with."""
    b, p, o, tool = quoted(base, patch, out, PATCH_STREAM)
    return f"xz -T0 -dc {b} | python3 -S -B {tool} {p} | xz -T0 -{preset} > {o}"


def unpack_to_nowhere(base: pathlib.Path) -> str:
    return "xz -T0 -dc {} > /dev/null".format(*quoted(base))


def unpack(base: pathlib.Path, out: pathlib.Path, sync: bool = False) -> str:
    line = "xz -T0 -dc {} > {}".format(*quoted(base, out))
    return f"{line} && sync {quoted(out)[0]}" if sync else line


def copy(base: pathlib.Path, out: pathlib.Path, sync: bool = False) -> str:
    line = "cp --sparse=always {} {}".format(*quoted(base, out))
    return f"{line} && sync {quoted(out)[0]}" if sync else line


def reflink(base: pathlib.Path, out: pathlib.Path) -> str:
    return "cp --reflink=always {} {}".format(*quoted(base, out))


def copy_and_debugfs(copying: str, image: pathlib.Path, offset: int, requests: pathlib.Path) -> str:
    """`requests`: what debugfs is to do in the ext4 file system that begins at byte `offset`."""
    i, r = quoted(image, requests)
    return f"{copying} && debugfs -w -f {r} {i}?offset={offset} && sync {i}"


def sha256(image: pathlib.Path) -> list[str]:
    return ["openssl", "dgst", "-sha256", str(image)]


def bmap_create(image: pathlib.Path, bmap: pathlib.Path) -> list[str]:
    return ["bmaptool", "create", str(image), "-o", str(bmap)]


def bmap_copy(image: pathlib.Path, bmap: pathlib.Path, device: str) -> list[str]:
    return ["bmaptool", "copy", "--bmap", str(bmap), str(image), device]


def dd(image: pathlib.Path, device: str, *more: str) -> list[str]:
    return ["dd", f"if={image}", f"of={device}", "bs=4M", *more]


VERSIONS = {
    "xz": ["xz", "--version"], "cp": ["cp", "--version"], "bmaptool": ["bmaptool", "--version"],
    "debugfs": ["debugfs", "-V"], "openssl": ["openssl", "version"],
}
