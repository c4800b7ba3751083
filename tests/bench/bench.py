"""bench [CASE…] [--list] [--runs N] [--quick | --full | --try] [--imgbuild PATH] [--write]

Measures imgbuild side by side with what people do without it, and says which marks are reached.

  (nothing)   all cases, and docs/performance.md is not touched
  CASE        only these; what earlier runs have measured of the others is kept in target/bench/results.json
  --list      the cases
  --runs N    how often every side runs (3); the slow pipeline of the peers runs once
  --quick     one base, one payload, few steps
  --full      the peers' slow pipeline as often as everything, four times for four nodes, and for every payload
  --try       on a tiny image, once: shows that this program works. The figures mean nothing
  --imgbuild  the program to measure, instead of building the one in this checkout
  --write     also writes docs/performance.md and its plot, from all that is in target/bench/results.json (with --quick
              and --try into target/bench). With --list: writes them and measures nothing

Started by scripts/bench, which installs what it needs. Tables go to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import report
from bases import Base
from context import QUICK, TRY, Bench, Settings
from marks import verdicts
from measuring import Failed, say, wipe
from plot import svg

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
TARGET = REPO / "target" / "bench"
PICTURE = "performance.svg"
# In the order in which they are run: scaling takes over what image_xz has measured of the peers.
CASES = ("image_xz", "image_raw", "four_nodes", "flash", "inserts", "scaling", "checking")


def fail(what: str, hint: str) -> None:
    sys.exit(f"bench: error: {what}\n  hint: {hint}")


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", usage=(__doc__ or "").splitlines()[0], add_help=False)
    parser.add_argument("cases", nargs="*")
    for flag in ("--list", "--write", "-h", "--help"):
        parser.add_argument(flag, action="store_true")
    size = parser.add_mutually_exclusive_group()
    for flag in ("--quick", "--full", "--try"):
        size.add_argument(flag, action="store_true", dest=flag.strip("-") + "_")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--imgbuild", type=pathlib.Path)
    chosen = parser.parse_args(words)
    for case in chosen.cases:
        if case not in CASES:
            fail(f"there is no case “{case}”", "bench --list shows them")
    if chosen.runs is not None and chosen.runs < 1:
        fail(f"{chosen.runs} runs are none", "--runs 1 is the least")
    return chosen


def settings(chosen: argparse.Namespace) -> Settings:
    found = QUICK if chosen.quick_ else TRY if chosen.try_ else Settings()
    if chosen.runs:
        found = dataclasses.replace(found, runs=chosen.runs)
    if chosen.full_:
        found = dataclasses.replace(found, pipeline_runs=found.runs, all_pipelines=True)
    return found


def titles() -> dict[str, str]:
    return {case: (importlib.import_module(f"cases.{case}").__doc__ or case).splitlines()[0] for case in CASES}


def binary(given: pathlib.Path | None) -> pathlib.Path:
    if given:
        if not given.is_file():
            fail(f"there is no {given}", "--imgbuild wants the path of a built imgbuild")
        return given.resolve()
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPO, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "release" / "imgbuild"


def measure(bench: Bench, cases: list[str], path: pathlib.Path) -> int:
    """Runs cases, prints their tables and keeps their results as they come. Returns how many did not come to their end."""
    failed = 0
    for case in cases:
        bench.case, before = case, len(bench.groups)
        try:
            importlib.import_module(f"cases.{case}").run(bench)
        except (Failed, OSError, subprocess.CalledProcessError) as error:
            failed += 1
            say(f"bench: {case} did not come to its end: {error}")
        for group in bench.groups[before:]:
            print(f"\n{group.title}, {group.base}\n{report.plain(report.group_table(group))}", flush=True)
        save(bench, path)
    return failed


def load(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {"groups": [], "bases": {}}


def base_note(base: Base) -> str:
    return f"{base.note}; {base.bytes / 1e9:.2f} GB, as .img.xz {base.xz.stat().st_size / 1e6:.0f} MB"


def save(bench: Bench, path: pathlib.Path) -> None:
    """Adds what was measured to the results."""
    results = load(path)
    groups = report.merged([report.from_json(g) for g in results["groups"]], bench.groups)
    groups.sort(key=lambda g: CASES.index(g.case))
    results |= {
        "imgbuild": f"{bench.imgbuild.version()} (sha256 {bench.digest[:12]}…)", "machine": report.machine(), "titles": titles(), "repo": str(REPO),
        "bases": results["bases"] | {name: base_note(base) for name, base in bench.bases.items()},
        "groups": [report.to_json(g) for g in groups],
    }
    results["marks"] = [dataclasses.asdict(v) for v in judged(results)]
    path.write_text(json.dumps(results, indent=1) + "\n")


def judged(results: dict[str, Any]) -> list[report.Verdict]:
    groups = [report.from_json(g) for g in results["groups"]]
    bases = list(dict.fromkeys(g.base for g in groups if g.id.partition("/")[0] in ("xz", "raw-cold", "four", "flash", "bmap")))
    return verdicts(groups, bases)


def write_page(results: dict[str, Any], folder: pathlib.Path) -> None:
    groups = [report.from_json(g) for g in results["groups"]]
    (folder / "performance.md").write_text(report.page(results, groups, judged(results), PICTURE))
    (folder / PICTURE).write_text(svg(report.panels(groups)))
    say(f"bench: wrote {folder / 'performance.md'}")


def main(words: list[str]) -> int:
    chosen = arguments(words)
    if chosen.h or chosen.help:
        print(__doc__)
        return 0
    # A case that is stopped unmounts and detaches what it has mounted and attached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # What --try and --quick measure must not stand among the others' figures.
    path = TARGET / ("try.json" if chosen.try_ else "quick.json" if chosen.quick_ else "results.json")
    # Nor on the page.
    folder = TARGET if chosen.try_ or chosen.quick_ else REPO / "docs"
    if chosen.list:
        print("\n".join(f"{case:12} {title}" for case, title in titles().items()))
        if chosen.write and path.exists():
            write_page(load(path), folder)
        return 0
    cases = [case for case in CASES if case in chosen.cases or not chosen.cases]
    TARGET.mkdir(parents=True, exist_ok=True)
    lock = (TARGET / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail("another bench is running", "two at a time would measure each other: wait until it is done")
    bench = Bench(settings(chosen), binary(chosen.imgbuild), TARGET)
    bench.earlier = [report.from_json(g) for g in load(path)["groups"]]
    bench.command = " ".join(["scripts/bench", *(w for w in words if w != "--write")])
    try:
        failed = measure(bench, cases, path)
    finally:
        wipe(bench.work)
    results = load(path)
    print(f"\nmarks\n{report.plain(report.marks_table(judged(results)), texts=2)}")
    print(path)
    if chosen.write:
        write_page(results, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
