"""What the number of nodes, the payload and the base cost"""

from __future__ import annotations

import pathlib
import subprocess

import commands
from bases import Base, warm
from cases.image_xz import ours as one_node
from cases.image_xz import pipeline
from context import CONFIGURATION, RAW, XZ, Bench, checked
from measuring import Contestant, Failed, Row, say

NODES_NOTE = """Agents with a stand-in for k3s, built in one run, from an .img.xz that was never unpacked. The peers' pipeline is measured for one
node (by the case `image_xz`) and multiplied."""
PAYLOAD_NOTE = "One node with a program of that size, which cannot be compressed; where the root file system has no room, it grows."
BASE_NOTE = """One node, configuration only, from a cold cache. What a base has is said at the top."""
# Few runs of what takes long.
LARGE = 8
AGENT = 'extends = "worker-1"\nhostname = "bench-{number:02}"\naddress = "10.100.0.{address}"\n'
FIRST_ADDRESS = 110


def peer(row: Row | None, factor: int, id: str) -> list[Row]:
    """A peer's row for the plot, from what was measured for one node."""
    return [Row(id, f"peers' pipeline × {factor}", False, row.command, [s.times(factor) for s in row.samples])] if row else []


def agents(bench: Bench, count: int) -> list[str]:
    """Profiles for `count` nodes of one template."""
    names = []
    for number in range(count):
        names.append(f"bench-{number:02}")
        profile = pathlib.Path(bench.imgbuild.project) / "profiles" / f"{names[-1]}.toml"
        profile.write_text(AGENT.format(number=number, address=FIRST_ADDRESS + number))
    return names


def forget_agents(bench: Bench) -> None:
    for profile in (pathlib.Path(bench.imgbuild.project) / "profiles").glob("bench-*.toml"):
        profile.unlink()


def nodes(bench: Bench, base: Base) -> None:
    cache, plain = bench.work / "cache", bench.imgbuild.file_digest()
    contestants = []
    for count in bench.settings.nodes:
        out = bench.work / f"out-{count}"
        command = bench.imgbuild.build(bench.node(*agents(bench, count)), base.xz, out, XZ, *plain)

        def after(out: pathlib.Path = out, count: int = count) -> int:
            images = list(out.glob(f"*.{XZ}"))
            checked(len(images) == count, f"{len(images)} images")
            return sum(i.stat().st_size for i in images)

        mine = bench.ours(f"ours@{count}", f"imgbuild, {count} node{'s' if count > 1 else ''}", command, cache, out,
                          before=bench.cold(cache), after=after, limit=1 if count > LARGE else None)
        if contestants:
            # One node's run has told the cache all it needs.
            mine.prepare = lambda: None
        contestants.append(mine)
    group = bench.compare("nodes", "nodes built at a time", base, NODES_NOTE, contestants)
    for count in bench.settings.nodes:
        group.rows += peer(bench.found(f"xz/{base.name}", "pipeline"), count, f"pipeline@{count}")
    forget_agents(bench)


def payload(bench: Bench, base: Base) -> None:
    plain, contestants, known = bench.imgbuild.file_digest(), [], []
    for size in bench.settings.payload_scale:
        variant = f"{size} MB" if size else CONFIGURATION
        mine = one_node(bench, base, variant, f"ours@{size}", f"imgbuild, {size} MB", *plain)
        contestants.append(mine)
        if row := bench.found(f"xz-{size}/{base.name}" if size else f"xz/{base.name}", "pipeline"):
            known.append(Row(f"pipeline@{size}", f"peers' pipeline, {size} MB", False, row.command, row.samples))
        elif bench.settings.all_pipelines:
            slow = pipeline(bench, base, variant)
            slow.id, slow.name = f"pipeline@{size}", f"peers' pipeline, {size} MB"
            contestants.append(slow)
    bench.compare("payload", "a payload", base, PAYLOAD_NOTE, contestants).rows.extend(known)


def available(bench: Bench) -> list[Base]:
    """The bases that can be made here: large ones want room."""
    found = []
    for name in bench.settings.base_scale:
        try:
            found.append(bench.base(name))
        except (Failed, subprocess.CalledProcessError) as error:
            say(f"bench: without the base {name}: {error}")
    return found


def sizes(bench: Bench) -> None:
    contestants, cache = [], bench.work / "cache"
    plain = bench.imgbuild.file_digest()
    bases = available(bench)
    for base in bases:
        warm(base.xz)
        at, node = f"@{base.bytes / 1e9:.1f}", bench.variant(CONFIGURATION)
        for id, name, format in (("ours", ".img.xz", XZ), ("ours-raw", ".img", RAW)):
            out = bench.work / f"out-{id}{at}"
            command = bench.imgbuild.build(node, base.xz, out, format, *plain)
            contestants.append(bench.ours(id + at, f"imgbuild, {name}, {base.bytes / 1e9:.1f} GB", command, cache, out,
                                          before=bench.cold(cache)))
        contestants.append(Contestant("decode" + at, f"xz -T0 -dc alone, {base.bytes / 1e9:.1f} GB", commands.unpack_to_nowhere(base.xz)))
    group = bench.compare("size", "the size of the base", bases[-1], BASE_NOTE, contestants)
    for base in bases:
        if row := bench.found(f"xz/{base.name}", "pipeline"):
            group.rows.append(Row(f"pipeline@{base.bytes / 1e9:.1f}", f"peers' pipeline, {base.bytes / 1e9:.1f} GB", False, row.command,
                                  row.samples))


def run(bench: Bench) -> None:
    base = bench.base(bench.settings.bases[0])
    warm(base.xz)
    nodes(bench, base)
    payload(bench, base)
    sizes(bench)

