"""Results as text: tables for the terminal and for docs/performance.md, the plot's lines, JSON."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import re
import subprocess
from typing import Any

from commands import VERSIONS
from context import Group
from marks import Verdict
from measuring import Row, Sample, ratio
from plot import Line, Panel

Table = list[list[str]]

HEAD = """# Performance

Made by `scripts/bench` from what it measured; do not edit. All of it again: `scripts/bench --write`. These figures are from:

```sh
{commands}
```

{machine}

How it is measured:

- Every comparison runs its sides in turn (A, B, A, B, …); tables have the medians, and the range where there was more than
  one run. CPU is user plus system time of all processes, pipes included (`wait4` on a shell that has waited for them).
- Memory is the largest sum, over the processes of a side, of their peaks so far, looked at every 20 ms; a single process'
  peak is the kernel's own figure. Memory that two processes share counts twice.
- What is read is in the page cache for everybody. Nothing is dropped from it, and no result depends on a disk being fast:
  compare CPU times first. Before every run, what earlier ones have written is synced.
- A line with one run took so long that more would not change what it says; `--full` runs all of them as often.
- imgbuild has a cache of its own here (`target/bench/work`). *Cold* means: digests of base and payload are known from an
  earlier run, as after a download, and the base was never unpacked (`raw/` is empty before every run). Where the base's
  metadata is, is known from that run, too (`blocks/`): lines that say *first build* do without.
- What was made is checked, outside of the time: our `.img.xz` and the peer's decode to the same bytes as our `.img`.
- “ours / this” is our median divided by that line's: below 1 we are cheaper.
"""


# ------------------------------------------------------------------ numbers


def seconds(value: float) -> str:
    """Three digits or so."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def with_range(row: Row, what: str) -> str:
    value = row.median(what)
    if value is None:
        return ""
    if len(row.samples) == 1:
        return seconds(value)
    low, high = row.spread(what)
    return f"{seconds(value)} ({seconds(low)}–{seconds(high)})"


def share(ours: float | None, theirs: float | None) -> str:
    value = ratio(ours, theirs)
    if value is None:
        return ""
    return f"1/{1 / value:.0f}" if 0 < value < 0.05 else f"{value:.2f}"


def size(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f}".replace(",", " ")


# ------------------------------------------------------------------ tables


def group_table(group: Group) -> Table:
    """A line for every contestant. The first of ours is what all are compared to."""
    ours = next((r for r in group.rows if r.ours), None)
    timed, sized = any(r.samples for r in group.rows), any(r.size for r in group.rows)
    head = ["", *(["CPU s", "wall s", "memory MB", "runs", "CPU: ours / this", "wall: ours / this"] if timed else []), *(["MB"] if sized else [])]
    table = [head]
    for row in group.rows:
        if row.skipped:
            table.append([row.name, f"*{one_line(row.skipped)}*", *[""] * (len(head) - 2)])
            continue
        cells = [row.name]
        if timed:
            memory = row.median("memory")
            cells += [with_range(row, "cpu"), with_range(row, "wall"), f"{memory / 1e6:.0f}" if memory else "", str(len(row.samples) or "")]
            same = ours is None or row is ours or "@" in row.id
            cells += ["", ""] if same else [share(ours.median(what), row.median(what)) for what in ("cpu", "wall")]
        table.append(cells + ([size(row.size)] if sized else []))
    return without_empty_columns(table)


def without_empty_columns(table: Table) -> Table:
    keep = [n for n in range(len(table[0])) if n == 0 or any(row[n] for row in table[1:])]
    return [[row[n] for n in keep] for row in table]


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")[:200]


def marks_table(verdicts: list[Verdict]) -> Table:
    """A line for every mark, a column for every base."""
    bases = list(dict.fromkeys(v.base for v in verdicts))
    table = [["work", "mark", *bases]]
    for work, mark in dict.fromkeys((v.work, v.mark) for v in verdicts):
        found = {v.base: v for v in verdicts if (v.work, v.mark) == (work, mark)}
        table.append([work, mark, *(cell(found[base]) for base in bases)])
    return table


def floors(verdicts: list[Verdict]) -> list[str]:
    """Of the marks that were missed, what sets the figure."""
    lines = dict.fromkeys(f"- {v.work}: {v.floor}." for v in verdicts if v.floor)
    return ["What sets the figures that miss a mark:\n", *lines, ""] if lines else []


def cell(verdict: Verdict) -> str:
    return f"{one_line(verdict.measured)}, **{verdict.verdict}**" if verdict.verdict != "not measured" else f"*{one_line(verdict.measured)}*"


def markdown(table: Table, texts: int = 1) -> str:
    """The first `texts` columns are text, and flush left."""
    head, *rows = table
    lines = ["| " + " | ".join(head) + " |", "|---" * texts + "|---:" * (len(head) - texts) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def plain(table: Table, texts: int = 1) -> str:
    """For the terminal. The first `texts` columns are text, and flush left."""
    rows = [[re.sub(r"\*\*|[*`]", "", c) for c in row] for row in table]
    # A reason in the place of figures does not make its column wide.
    widths = [max([len(rows[0][n]), *(len(r[n]) for r, marked in zip(rows, table, strict=True) if not marked[n].startswith("*"))])
              for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if n < texts else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ machine


def machine() -> dict[str, Any]:
    """What it was measured on, and with which peers."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": model.group(1).strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / (1 << 20)) if memory else None,
        "kernel": platform.release(),
        "system": system_name(),
        "python": platform.python_version(),
        "peers": {name: first_version(words) for name, words in VERSIONS.items()},
    }


def system_name() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.system()


def first_version(words: list[str]) -> str:
    """The first number with a dot in what a program says of itself."""
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError:
        return "not here"
    found = re.search(r"\d+\.\d[\w.]*", done.stdout + done.stderr)
    return found.group(0) if found else "unknown"


def machine_text(about: dict[str, Any], imgbuild: str, bases: dict[str, str], loads: list[float]) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    lines = [
        f"- Machine: {about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}, Linux {about['kernel']}.",
        f"- {imgbuild}. Peers: {peers}.",
    ]
    if loads:
        lines.append(f"- Load before the comparisons: {min(loads):.1f} to {max(loads):.1f}, what the one before has left included.")
    return "\n".join(lines + [f"- Base `{name}`: {note}." for name, note in bases.items()])


# ------------------------------------------------------------------ scaling


def points(group: Group | None, id: str) -> tuple[tuple[float, float], ...]:
    """x and processor time of the rows `id`@x."""
    rows = [(r.id.partition("@"), r.median("cpu")) for r in (group.rows if group else [])]
    return tuple((float(x), cpu) for (name, _, x), cpu in rows if name == id and cpu is not None)


OURS, PEERS, DECODE, OURS_RAW = "imgbuild, .img.xz", "unpack, patch, xz -T0 -6", "xz -T0 -dc alone", "imgbuild, .img"


def panels(groups: list[Group]) -> list[Panel]:
    by_kind = {g.id.partition("/")[0]: g for g in groups}

    def line(kind: str, id: str, name: str, dashed: bool = False) -> Line:
        return Line(name, points(by_kind.get(kind), id), dashed)

    y = "CPU seconds"
    return [
        Panel("nodes", "nodes built at a time", y, (line("nodes", "ours", OURS), line("nodes", "pipeline", PEERS, True))),
        Panel("payload", "MB that cannot be compressed", y, (line("payload", "ours", OURS), line("payload", "pipeline", PEERS, True))),
        Panel("base", "GB of the raw base", y, (line("size", "ours", OURS), line("size", "pipeline", PEERS, True),
                                                line("size", "ours-raw", OURS_RAW), line("size", "decode", DECODE))),
    ]


# ------------------------------------------------------------------ the page


def page(results: dict[str, Any], groups: list[Group], verdicts: list[Verdict], picture: str) -> str:
    loads = [g.load for g in groups]
    machine_lines = machine_text(results["machine"], results["imgbuild"], results["bases"], loads)
    commands = "\n".join(dict.fromkeys(g.command for g in groups if g.command))
    out = [HEAD.format(commands=commands, machine=machine_lines)]
    if len({g.imgbuild for g in groups}) > 1:
        out.append("**The comparisons were not all made with the same imgbuild.**\n")
    out += ["## Marks\n", markdown(marks_table(verdicts), texts=2), *floors(verdicts)]
    case = None
    for group in groups:
        if group.case != case:
            case = group.case
            out.append(f"## {results['titles'].get(case, case)}\n")
            if case == "scaling":
                out.append(f"![processor time by nodes, payload and base]({picture})\n\nDashed: worked out from runs with one node, or "
                           "taken over from the comparisons above.\n")
        out += [f"### {group.title[0].upper()}{group.title[1:]}, {group.base}\n", group.note.strip() + "\n", markdown(group_table(group))]
        if shown := [f"- {r.name}: `{shortened(r.command, results['repo'])}`" for r in group.rows if r.command and "@" not in r.id]:
            out.append("<details><summary>commands</summary>\n\n" + "\n".join(shown) + "\n\n</details>\n")
    return "\n".join(out)


def shortened(command: str, repo: str) -> str:
    """A command without what is only this machine's."""
    command = re.sub(r" --set (\S+='[^']*'|'[^']*'|\S+)", "", command)
    command = command.replace(repo + "/", "").replace(str(pathlib.Path.home()), "~")
    return re.sub(r"\s+", " ", command)


# ------------------------------------------------------------------ JSON


def to_json(group: Group) -> dict[str, Any]:
    return dataclasses.asdict(group)


def from_json(data: dict[str, Any]) -> Group:
    rows = [Row(**{**row, "samples": [Sample(**s) for s in row["samples"]]}) for row in data["rows"]]
    return Group(**{**data, "rows": rows})


def merged(before: list[Group], now: list[Group]) -> list[Group]:
    """What was measured now in the place of what was measured before."""
    cases = {g.case for g in now}
    return [g for g in before if g.case not in cases] + now
