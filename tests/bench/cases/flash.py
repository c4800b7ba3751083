"""A node onto a card (a loop device), against bmaptool and dd; and what a block map leaves out"""

from __future__ import annotations

import pathlib
import re
import subprocess

import commands
from bases import Base, there_where_not_zero, warm
from commands import knows
from context import CONFIGURATION, RAW, Bench, Skip, checked, loop_device, only
from measuring import Contestant, Row, wipe

NOTE = """The device is a loop device over a file that was written to before, in the page cache: it shows what the program costs, not what a card
does. bmaptool has a .bmap made by itself, checks its digests while reading, and does not read back; `--no-verify` is the same work.
After the last run every page of the image that is not zero is looked for on the device."""
MAPPED = """Bytes that a card is written with, by block map. bmaptool leaves out what is a hole in the file, also where zeros are needed: with its
map on a device full of 0xFF, `fsck.vfat -n` finds a FAT without a free cluster (\"FATs differ\", \"Reclaimed 933888 unused clusters\");
with ours nothing."""
ABSENT = "this imgbuild has no `flash`"


def mapped_bytes(bmap: str) -> int:
    """Bytes of the blocks that a .bmap lists."""
    def number(tag: str) -> int:
        found = re.search(rf"<{tag}>\s*(\d+)\s*</{tag}>", bmap)
        if found is None:
            raise ValueError(f"no {tag} in the block map")
        return int(found.group(1))
    return number("MappedBlocksCount") * number("BlockSize")


def flashing(bench: Bench, base: Base, image: pathlib.Path, bmap: pathlib.Path, device: str) -> list[Contestant]:
    program, cache = bench.imgbuild, bench.work / "cache"
    skip = None if program.flash_help else ABSENT
    quick = commands.NO_VERIFY if knows(program.flash_help, commands.NO_VERIFY[0]) else []

    def there() -> None:
        checked(there_where_not_zero(image, device), f"{device} has not what is in the image")

    def ours(id: str, name: str, command: list[str]) -> Contestant:
        return bench.ours(id, name, command, cache, None, after=there, skip=skip)

    node = bench.variant(CONFIGURATION)
    return [
        ours("ours", "imgbuild flash IMAGE --no-verify", program.flash(image, device, *quick)),
        ours("ours-verify", "imgbuild flash IMAGE, read back", program.flash(image, device)),
        ours("ours-node", "imgbuild flash --profile, from the raw base, --no-verify", program.flash_node(node, base.raw, device, *quick)),
        Contestant("bmaptool", "bmaptool copy", commands.bmap_copy(image, bmap, device), after=there),
        Contestant("dd-direct", "dd bs=4M oflag=direct", commands.dd(image, device, "oflag=direct", "conv=fsync"), after=there),
        Contestant("dd", "dd bs=4M conv=fsync", commands.dd(image, device, "conv=fsync"), after=there),
    ]


def maps(bench: Bench, base: Base, image: pathlib.Path, bmap: pathlib.Path) -> None:
    """Sizes only: nothing is timed."""
    out = bench.work / "out-bmap"
    rows = [Row("bmaptool", "bmaptool create", False, "bmaptool create", [], mapped_bytes(bmap.read_text()))]
    if not bench.imgbuild.has(commands.BMAP):
        rows.insert(0, Row("ours", "imgbuild", True, "", [], skipped="this imgbuild writes no block map"))
    else:
        command = bench.imgbuild.build(bench.variant(CONFIGURATION), base.raw, out, RAW, *commands.BMAP)
        bench.once(command, bench.work / "cache")
        ours = mapped_bytes(only(out, "*.bmap").read_text())
        rows.insert(0, Row("ours", "imgbuild --bmap", True, " ".join(command), [], ours))
    group = bench.compare("bmap", "bytes that a block map lists", base, MAPPED, [])
    group.rows += rows
    wipe(out)


def run(bench: Bench) -> None:
    for base in map(bench.base, bench.settings.bases):
        image, _ = bench.reference(base, CONFIGURATION)
        bmap = bench.work / "peer.bmap"
        warm(image, base.raw)
        subprocess.run(commands.bmap_create(image, bmap), check=True, capture_output=True)
        maps(bench, base, image, bmap)
        title = "a node onto a loop device"
        try:
            with loop_device(bench.work / "card", image.stat().st_size + (8 << 20)) as device:
                bench.compare("flash", title, base, NOTE, flashing(bench, base, image, bmap, device))
        except Skip as why:
            bench.compare("flash", title, base, NOTE, [Contestant("ours", "imgbuild flash", "", ours=True, skip=str(why))])
