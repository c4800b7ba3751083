"""A node's .img.xz, against unpacking, patching and packing again"""

from __future__ import annotations

import commands
from bases import Base, decodes_to, warm
from context import CONFIGURATION, XZ, Bench, checked, only
from measuring import Contestant

NOTE = """Ours: the base was never unpacked. From its first build on, imgbuild keeps the pages of the base that it had to look at, which is
what the first line of imgbuild makes use of. Peer: the same image comes out of it, byte for byte: its patch step puts in the pages that differ, and
hands on the others without looking at them."""


def ours(bench: Bench, base: Base, variant: str, id: str, name: str, *options: str, first: bool = False) -> Contestant:
    """imgbuild with a cold cache, which for the `first` build does not even know where the base's metadata is; what it makes
    must be what it makes as a raw image."""
    cache, out = bench.work / "cache", bench.work / f"out-{id}"
    command = bench.imgbuild.build(bench.variant(variant), base.xz, out, XZ, *options)
    reference, _ = bench.reference(base, variant)

    def after() -> int:
        image = only(out, f"*.{XZ}")
        checked(decodes_to(image, reference), f"{image.name} does not decode to the raw image")
        return image.stat().st_size

    return bench.ours(id, name, command, cache, out, before=bench.cold(cache, first), after=after)


def pipeline(bench: Bench, base: Base, variant: str) -> Contestant:
    reference, patch = bench.reference(base, variant)
    out = bench.work / "peer.img.xz"

    def after() -> int:
        checked(decodes_to(out, reference), "the peer's image is not the same")
        return out.stat().st_size

    preset = bench.settings.preset
    line = commands.unpack_patch_pack(base.xz, patch, out, preset)
    return Contestant("pipeline", f"unpack, patch, xz -T0 -{preset}", line, makes=(out,), after=after,
                      limit=bench.settings.pipeline_runs)


def configuration(bench: Bench, base: Base) -> list[Contestant]:
    plain = bench.imgbuild.file_digest()
    digest = ours(bench, base, CONFIGURATION, "ours-digest", "imgbuild, with the raw image's digest", *commands.RAW_DIGEST)
    digest.skip = None if bench.imgbuild.has(commands.RAW_DIGEST) else commands.ABSENT
    return [
        ours(bench, base, CONFIGURATION, "ours", "imgbuild", *plain),
        ours(bench, base, CONFIGURATION, "ours-first", "imgbuild, its first build from this base", *plain, first=True),
        digest,
        ours(bench, base, CONFIGURATION, "ours-best", "imgbuild --compress best", *plain, "--compress", "best"),
        Contestant("decode", "xz -T0 -dc alone", commands.unpack_to_nowhere(base.xz)),
    ]


def run(bench: Bench) -> None:
    for base in map(bench.base, bench.settings.bases):
        warm(base.xz)
        bench.compare("xz", "a node's .img.xz, configuration only", base, NOTE,
                      [*configuration(bench, base), pipeline(bench, base, CONFIGURATION)])
        for size in bench.settings.payloads:
            variant = f"{size} MB"
            plain = bench.imgbuild.file_digest()
            bench.compare(f"xz-{size}", f"a node's .img.xz, with {size} MB that cannot be compressed", base, NOTE,
                          [ours(bench, base, variant, "ours", "imgbuild", *plain), pipeline(bench, base, variant)])
