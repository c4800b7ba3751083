"""A node's .img, against unpacking alone and against a copy"""

from __future__ import annotations

import filecmp
import pathlib
import shutil
from collections.abc import Callable

import commands
from bases import Base, warm
from context import CONFIGURATION, RAW, Bench, Skip, checked, mounted, only
from measuring import Contestant, wipe

PLAIN = "imgbuild, without digests"
COLD = """The base is an .img.xz that was never unpacked; the peer patches nothing. imgbuild syncs what it has written to the disk before
it is done, a redirected xz does not: the last line is xz with a sync of the file. The MB are blocks on the disk."""
WARM = """The raw base is in imgbuild's cache ({how}); the peer patches nothing. imgbuild syncs, cp does not: the last line is cp with
a sync of the file."""
SHARED = """Cache, base and output on a new {kind} in a loop device. Files share their blocks there, so what is written is what is
different."""


def peer(bench: Bench, id: str, name: str, line: str) -> Contestant:
    return Contestant(id, name, line, makes=(bench.work / "peer.img",))


def ours(bench: Bench, base: Base, given: pathlib.Path, cache: pathlib.Path, folder: pathlib.Path,
         before: Callable[[], None] = lambda: None) -> list[Contestant]:
    """imgbuild as it is, and without digests where it can do without. `given`: what is its --base."""
    reference, _ = bench.reference(base, CONFIGURATION)
    out, contestants = folder / "out", []
    for id, name, options in (("ours", "imgbuild", bench.imgbuild.file_digest()), ("ours-plain", PLAIN, commands.NO_DIGEST)):
        if id != "ours" and not bench.imgbuild.has(options):
            continue
        command = bench.imgbuild.build(bench.variant(CONFIGURATION), given, out, RAW, *options)
        contestants.append(bench.ours(id, name, command, cache, out, before=before, after=lambda: same(out, reference)))
    return contestants


def cold(bench: Bench, base: Base) -> None:
    cache, copy = bench.work / "cache", bench.work / "peer.img"
    bench.compare("raw-cold", "a node's .img from an .img.xz", base, COLD, [
        *ours(bench, base, base.xz, cache, bench.work, bench.cold(cache)),
        peer(bench, "unpack", "xz -T0 -dc > file", commands.unpack(base.xz, copy)),
        peer(bench, "unpack-sync", "xz -T0 -dc > file, sync", commands.unpack(base.xz, copy, sync=True)),
    ])


def same(out: pathlib.Path, reference: pathlib.Path) -> int:
    image = only(out, f"*.{RAW}")
    checked(filecmp.cmp(image, reference, shallow=False), f"{image.name} is not the reference")
    return image.stat().st_blocks * 512


def warm_cache(bench: Bench, base: Base) -> None:
    cache, copy = bench.work / "warm-cache", bench.work / "peer.img"
    given = bench.warm_base(base, cache, bench.work / "out")
    how = "in `raw/`, unpacked by an earlier build" if given == base.xz else "given as a raw file, its digest known"
    # Both read the same file: one that was just written lies in the page cache in smaller pieces than one that was read.
    raw = next((cache / "raw").glob("*.img"), base.raw)
    bench.compare("raw-warm", "a node's .img from a raw base", base, WARM.format(how=how), [
        *ours(bench, base, given, cache, bench.work),
        peer(bench, "copy", "cp --sparse=always", commands.copy(raw, copy)),
        peer(bench, "copy-sync", "cp --sparse=always, sync", commands.copy(raw, copy, sync=True)),
    ])
    wipe(cache)


def shared(bench: Bench, base: Base, kind: str) -> None:
    title, note = f"a node's .img from a raw base, on {kind}", SHARED.format(kind=kind)
    bench.reference(base, CONFIGURATION)
    try:
        with mounted(kind, bench.work, 2 * base.bytes + (4 << 30)) as folder:
            here = Base(base.name, base.note, folder / "base.img", folder / "base.img.xz")
            shutil.copyfile(base.xz, here.xz)
            bench.once(commands.copy(base.raw, here.raw), folder)
            copy, cache = folder / "peer.img", folder / "cache"
            given = bench.warm_base(here, cache, folder / "out")
            bench.compare(f"raw-{kind}", title, base, note, [
                *ours(bench, base, given, cache, folder),
                Contestant("copy", "cp --reflink=always", commands.reflink(here.raw, copy), makes=(copy,)),
            ])
    except Skip as why:
        bench.compare(f"raw-{kind}", title, base, note, [Contestant("ours", "imgbuild", "", ours=True, skip=str(why))])


def run(bench: Bench) -> None:
    for base in map(bench.base, bench.settings.bases):
        warm(base.xz, base.raw)
        cold(bench, base)
        warm_cache(bench, base)
        for kind in ("btrfs", "xfs"):
            shared(bench, base, kind)
