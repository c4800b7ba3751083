"""Files put into ext4, against debugfs"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import stat
import subprocess

import commands
from bases import Base, warm
from context import CONFIGURATION, RAW, Bench, Skip, checked, mounted, only
from measuring import Contestant, Row, Sample, wipe

NOTE = """Ours is all of `imgbuild --format img` from a raw base: profiles read, boot partition, root file system, copy, sync (and a
digest, where imgbuild cannot do without). The peer copies the base and puts the same files, folders and links into the root file system ({count} of them), with their owners and modes, and
syncs; it leaves the boot partition alone, checks nothing and has no digest. {where}"""
MORE = "The difference of the medians to those with the configuration only: what both sides have to do anyway is gone from it."
SHARED = "All on btrfs in a loop device, where the copy costs next to nothing: what is left is the work in the file system."
PLAIN = "btrfs is not to be had here, so most of it is the copy."


@dataclasses.dataclass(frozen=True)
class Insert:
    """Something that a node has and its base has not. `source` is a file or link with its owner and mode."""

    path: str
    source: pathlib.Path


def debugfs(image: pathlib.Path, offset: int, requests: list[str], work: pathlib.Path) -> str:
    (work / "requests").write_text("\n".join(requests) + "\n")
    done = subprocess.run(["debugfs", "-f", str(work / "requests"), f"{image}?offset={offset}"], capture_output=True, text=True,
                          errors="replace", check=True)
    return done.stdout


def existing(image: pathlib.Path, offset: int, paths: list[str], work: pathlib.Path) -> set[str]:
    """Which of the paths the file system has."""
    said = debugfs(image, offset, [f'stat "{p}"' for p in paths], work)
    answers = said.split("debugfs: stat ")[1:]
    return {path for path, answer in zip(paths, answers, strict=True) if "Inode:" in answer}


def inserts(bench: Bench, base: Base, variant: str, work: pathlib.Path) -> list[Insert]:
    """What differs in /etc, and what the plan writes elsewhere: taken out of the node's image."""
    image, _ = bench.reference(base, variant)
    offset = base.root_offset()
    old, new, rest = work / "old", work / "new", work / "rest"
    for folder in (old, new, rest):
        folder.mkdir()
    debugfs(base.raw, offset, [f"rdump /etc {old}"], work)
    debugfs(image, offset, [f"rdump /etc {new}"], work)
    found = [Insert("/" + str(p.relative_to(new)), p) for p in sorted(new.rglob("*"))
             if not same(old / p.relative_to(new), p) and (p.is_symlink() or p.is_file())]
    plan = subprocess.run(bench.imgbuild.plan(bench.variant(variant)), env={**os.environ, **bench.env(work)}, check=True,
                          capture_output=True).stdout
    edits = [e for e in json.loads(plan)[0]["edits"] if e["partition"] == "root" and not e["path"].startswith("/etc/")]
    files = [(e["path"], rest / str(n)) for n, e in enumerate(edits) if e["action"] == "write"]
    debugfs(image, offset, [f'dump -p "{path}" {target}' for path, target in files], work)
    for number, edit in enumerate(edits):
        if edit["action"] == "link":
            (rest / f"link-{number}").symlink_to(edit["detail"].removeprefix("→ "))
            files.append((edit["path"], rest / f"link-{number}"))
    return found + [Insert(path, target) for path, target in files if os.path.lexists(target)]


def same(old: pathlib.Path, new: pathlib.Path) -> bool:
    if new.is_symlink() or old.is_symlink():
        return new.is_symlink() and old.is_symlink() and os.readlink(old) == os.readlink(new)
    if not (old.is_file() and new.is_file()):
        return old.is_dir() and new.is_dir()
    return old.stat().st_mode == new.stat().st_mode and old.read_bytes() == new.read_bytes()


def requests(new: list[Insert], there: set[str]) -> list[str]:
    """What debugfs is told. `there`: which of the paths, and of the folders above them, the base has."""
    lines, made = [], set(there)
    for insert in new:
        parent, name = os.path.split(insert.path)
        for folder in reversed([str(p) for p in pathlib.PurePosixPath(insert.path).parents][:-1]):
            if folder not in made:
                lines.append(f'mkdir "{folder}"')
                made.add(folder)
        if insert.path in there:
            lines.append(f'rm "{insert.path}"')
        lines.append(f'cd "{parent}"')
        if insert.source.is_symlink():
            lines.append(f'symlink "{name}" "{os.readlink(insert.source)}"')
            continue
        info = insert.source.stat()
        lines.append(f'write "{insert.source}" "{name}"')
        lines.append(f'sif "{name}" mode 0{stat.S_IFREG | stat.S_IMODE(info.st_mode):o}')
        lines += [f'sif "{name}" uid {info.st_uid}', f'sif "{name}" gid {info.st_gid}']
    return lines


def clean(image: pathlib.Path, offset: int) -> None:
    done = subprocess.run(["e2fsck", "-fn", f"{image}?offset={offset}"], capture_output=True, text=True)
    checked(done.returncode == 0, f"e2fsck on {image.name}: {done.stdout[-300:]}")


def one(bench: Bench, base: Base, variant: str, here: Base, folder: pathlib.Path, copying: str, where: str) -> None:
    """`here`: the base on the file system in `folder`; `copying`: how the peer copies it."""
    work = bench.work / "inserts"
    wipe(work)
    work.mkdir()
    new = inserts(bench, base, variant, work)
    paths = sorted({p for i in new for p in (i.path, *map(str, pathlib.PurePosixPath(i.path).parents))} - {"/"})
    offset = base.root_offset()
    script = work / "debugfs"
    script.write_text("\n".join(requests(new, existing(base.raw, offset, paths, work))) + "\n")
    cache, out, copy = folder / "insert-cache", folder / "insert-out", folder / "peer.img"
    options = commands.NO_DIGEST if bench.imgbuild.has(commands.NO_DIGEST) else []
    command = bench.imgbuild.build(bench.variant(variant), bench.warm_base(here, cache, out), out, RAW, *options)

    def all_there() -> None:
        clean(copy, offset)
        missing = {i.path for i in new} - existing(copy, offset, [i.path for i in new], work)
        checked(not missing, f"debugfs has not made {sorted(missing)[:3]}")

    title = {CONFIGURATION: "a node's files into ext4", "files": f"and {bench.settings.files} files more"}.get(variant, f"and {variant} in one file")
    bench.compare(f"inserts-{variant.replace(' ', '')}", title, base, NOTE.format(count=len(new), where=where), [
        bench.ours("ours", "imgbuild --format img", command, cache, out, after=lambda: clean(only(out, "*.img"), offset)),
        Contestant("debugfs", "cp, debugfs -w", commands.copy_and_debugfs(copying, copy, offset, script), makes=(copy,),
                   after=all_there),
    ])
    wipe(cache, out, work)


def more(bench: Bench, base: Base, variant: str) -> None:
    """What a variant costs more than the configuration alone."""
    id, rows = f"inserts-{variant.replace(' ', '')}", []
    for row, name in (("ours", "imgbuild"), ("debugfs", "debugfs -w")):
        little, much = bench.found(f"inserts-{CONFIGURATION}/{base.name}", row), bench.found(f"{id}/{base.name}", row)
        if little and much:
            wall, cpu = (much.median(w) - little.median(w) for w in ("wall", "cpu"))  # type: ignore[operator]
            samples = [Sample(max(wall, 0), cpu, 0, 0)] if cpu > 0 else []
            rows.append(Row(row, name, row == "ours", "", samples, skipped=None if samples else "less than the runs differ by"))
    what = f"{bench.settings.files} files" if variant == "files" else f"{variant} in one file"
    group = bench.compare(f"{id}-more", f"what {what} cost more", base, MORE, [])
    group.rows += rows


def run(bench: Bench) -> None:
    variants = [CONFIGURATION, f"{bench.settings.payloads[0]} MB", "files"]
    for base in map(bench.base, bench.settings.bases):
        warm(base.raw)
        for variant in variants:
            bench.reference(base, variant)
        try:
            with mounted("btrfs", bench.work, 3 * base.bytes + (4 << 30)) as folder:
                here = Base(base.name, base.note, folder / "base.img", folder / "base.img.xz")
                shutil.copyfile(base.xz, here.xz)
                bench.once(commands.copy(base.raw, here.raw), folder)
                for variant in variants:
                    one(bench, base, variant, here, folder, commands.reflink(here.raw, folder / "peer.img"), SHARED)
        except Skip:
            for variant in variants:
                one(bench, base, variant, base, bench.work, commands.copy(base.raw, bench.work / "peer.img"), PLAIN)
        for variant in variants[1:]:
            more(bench, base, variant)
