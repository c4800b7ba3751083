"""Four nodes, against four times the peers' pipeline"""

from __future__ import annotations

import commands
from bases import Base, warm
from cases.image_xz import pipeline
from context import CONFIGURATION, XZ, Bench, checked
from measuring import Contestant, Row, Sample

NODES = 4
NOTE = """`imgbuild --all`: the default profiles, with programs that are stand-ins of some hundred bytes; the cache as for one node. The peers'
pipeline {how}."""


def ours(bench: Bench, base: Base, id: str, name: str, *options: str) -> Contestant:
    cache, out = bench.work / "cache", bench.work / f"out-{id}"
    command = bench.imgbuild.build(bench.node(), base.xz, out, XZ, *options)

    def after() -> int:
        images = list(out.glob(f"*.{XZ}"))
        checked(len(images) == NODES, f"{len(images)} images")
        return sum(i.stat().st_size for i in images)

    return bench.ours(id, name, command, cache, out, before=bench.cold(cache), after=after)


def peers(bench: Bench, base: Base) -> tuple[list[Contestant], list[Row]]:
    """The pipelines, or what the pipeline for one node has cost before."""
    one = bench.found(f"xz/{base.name}", "pipeline")
    name = f"4 × (unpack, patch, xz -T0 -{bench.settings.preset})"
    if one and not bench.settings.all_pipelines:
        return [], [Row("pipeline", name, False, one.command, [s.times(NODES) for s in one.samples])]
    contestant = pipeline(bench, base, CONFIGURATION)
    contestant.name = name
    if bench.settings.all_pipelines:
        contestant.command = " && ".join([str(contestant.command)] * NODES)
    else:
        contestant.factor = NODES
    return [contestant], []


def summed(rows: list[Row]) -> list[Row]:
    """What four nodes with digests may cost: the medians of one decode and of four hashes together."""
    parts = [r for r in rows if r.id in ("decode", "hashes") and r.samples]
    if len(parts) != 2:
        return []
    wall, cpu = (sum(r.median(what) or 0 for r in parts) for what in ("wall", "cpu"))
    return [Row("bound", "one decode and four hashes, added up", False, "", [Sample(wall, cpu, 0, 0)])]


def run(bench: Bench) -> None:
    for base in map(bench.base, bench.settings.bases):
        warm(base.xz)
        image, _ = bench.reference(base, CONFIGURATION)
        digest = ours(bench, base, "ours-digest", "imgbuild --all, with the raw images' digests", *commands.RAW_DIGEST)
        digest.skip = None if bench.imgbuild.has(commands.RAW_DIGEST) else commands.ABSENT
        slow, known = peers(bench, base)
        contestants = [
            ours(bench, base, "ours", "imgbuild --all", *bench.imgbuild.file_digest()),
            digest,
            Contestant("decode", "xz -T0 -dc alone", commands.unpack_to_nowhere(base.xz)),
            Contestant("hashes", "4 × openssl dgst -sha256", commands.sha256(image), factor=NODES),
            *slow,
        ]
        how = "is run four times" if bench.settings.all_pipelines else "is measured for one node (by the case `image_xz`) and multiplied by four"
        group = bench.compare("four", "four nodes' .img.xz", base, NOTE.format(how=how), contestants)
        group.rows += known + summed(group.rows)
