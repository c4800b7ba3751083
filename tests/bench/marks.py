"""The marks to reach, and how they are taken from what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from context import Group
from measuring import Row, ratio

MEMORY_LIMIT = 400_000_000
REACHED, MISSED, UNKNOWN = "reached", "missed", "not measured"


class Found:
    """What was measured, as seen from one base."""

    def __init__(self, groups: list[Group], base: str) -> None:
        self.groups = {g.id: g for g in groups}
        self.base = base

    def row(self, group: str, row: str) -> Row | None:
        found = self.groups.get(f"{group}/{self.base}")
        return next((r for r in found.rows if r.id == row), None) if found else None

    def median(self, group: str, row: str, what: str) -> float | None:
        found = self.row(group, row)
        return found.median(what) if found else None

    def cpu(self, group: str, row: str) -> float | None:
        return self.median(group, row, "cpu")

    def size(self, group: str, row: str) -> int | None:
        found = self.row(group, row)
        return found.size if found else None

    def why(self, group: str, row: str) -> str:
        found = self.row(group, row)
        return (found.skipped if found else None) or "the case was not run"


@dataclasses.dataclass(frozen=True)
class Mark:
    """`measure` gives the number that must not be above `limit`, and `show` says it in words. `of` is the row without which
    there is nothing to say, and names the reason then. `floor`: what sets the figure, where the mark can be missed."""

    work: str
    mark: str
    limit: float
    measure: Callable[[Found], float | None]
    show: Callable[[float], str]
    of: tuple[str, str]
    strict: bool = False
    floor: str = ""


def part(value: float) -> str:
    """One part in so many."""
    return f"1/{1 / value:.0f}" if 0 < value < 0.1 else f"{value:.2f} ×"


def times(value: float) -> str:
    return f"{value:.2f} ×"


def percent(value: float) -> str:
    return f"{value * 100:+.2f} %"


def seconds(value: float) -> str:
    return f"{value:.2f} CPU s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def share(group: str, ours: str, theirs: str, what: str = "cpu") -> Callable[[Found], float | None]:
    return lambda found: ratio(found.median(group, ours, what), found.median(group, theirs, what))


def cheaper(group: str, theirs: str) -> Callable[[Found], float | None]:
    """Processor time without digests where imgbuild can do without them, as a share of the peer's, which has none."""
    return lambda found: ratio(without_digests(found, group), found.cpu(group, theirs))


def without_digests(found: Found, group: str) -> float | None:
    plain = found.cpu(group, "ours-plain")
    return found.cpu(group, "ours") if plain is None else plain


def four_with_digests(found: Found) -> float | None:
    """Four nodes with digests, as a share of one decode and four hashes."""
    decode, hashes = found.cpu("four", "decode"), found.cpu("four", "hashes")
    return None if decode is None or hashes is None else ratio(found.cpu("four", "ours-digest"), decode + hashes)


def larger(group: str) -> Callable[[Found], float | None]:
    """By how much ours is larger than the peer's."""
    def measure(found: Found) -> float | None:
        value = ratio(found.size(group, "ours"), found.size(group, "pipeline"))
        return None if value is None else value - 1
    return measure


def most_memory(found: Found) -> float | None:
    """The most that any run of ours took, whatever it did and on whichever base."""
    peaks = [s.memory for g in found.groups.values() for r in g.rows if r.ours for s in r.samples]
    return max(peaks, default=None)


def shared(found: Found) -> float | None:
    """The dearer of the two file systems on which files share blocks."""
    both = [without_digests(found, f"raw-{kind}") for kind in ("btrfs", "xfs")]
    known = [value for value in both if value is not None]
    return max(known, default=None)


MARKS = [
    Mark("configuration-only node `.img.xz` from a cached `.img.xz`, without the digest of the raw image",
         "at most 1/250 of the CPU time of unpack, patch, `xz -T0 -6`", 1 / 250, share("xz", "ours", "pipeline"), part, ("xz", "ours")),
    Mark("the same with the raw digest", "at most 0.85 × the CPU time of `xz -T0 -dc` of the base", 0.85,
         share("xz", "ours-digest", "decode"), times, ("xz", "ours-digest")),
    Mark("with a 70 MB incompressible payload", "at most 1/200", 1 / 200, share("xz-70", "ours", "pipeline"), part, ("xz-70", "ours")),
    Mark("configuration-only node `.img.xz`, wall", "less than `xz -T0 -dc` of the base takes", 1, share("xz", "ours", "decode", "wall"),
         times, ("xz", "ours"), strict=True),
    Mark("`.img` from a cold cached `.img.xz`", "at most 0.8 × the CPU time of `xz -T0 -dc > file`", 0.8,
         cheaper("raw-cold", "unpack"), times, ("raw-cold", "ours")),
    Mark("`.img` from a warm raw cache", "at most 1.1 × the CPU time of `cp --sparse=always`", 1.1, cheaper("raw-warm", "copy"),
         times, ("raw-warm", "ours")),
    Mark("the same on btrfs and xfs", "under 0.1 CPU s", 0.1, shared, seconds, ("raw-btrfs", "ours"), strict=True),
    Mark("four nodes `.img.xz`", "at most 1/300 of the peers' CPU time", 1 / 300, share("four", "ours", "pipeline"), part, ("four", "ours")),
    Mark("four nodes with digests", "one decode of the base plus four hashes", 1, four_with_digests, times, ("four", "ours-digest")),
    Mark("size of the spliced `.img.xz`", "at most 0.5 % above a full `xz -6` (payload excluded)", 0.005, larger("xz"), percent, ("xz", "ours")),
    Mark("peak memory", "under 400 MB for any number of nodes", MEMORY_LIMIT, most_memory, megabytes, ("xz", "ours"), strict=True),
    Mark("flash to a loop device", "at least as fast as `bmaptool copy` of the same image (wall)", 1,
         share("flash", "ours", "bmaptool", "wall"), times, ("flash", "ours")),
    Mark("bytes mapped by our bmap", "fewer than `bmaptool create` finds", 1,
         lambda found: ratio(found.size("bmap", "ours"), found.size("bmap", "bmaptool")), times, ("bmap", "ours"), strict=True,
         floor="ours has the zeros that are in use (make-base: 16 MB of journal, 8 MB of inode tables, 5 MB of file allocation tables, 7 MB in "
               "files); bmaptool's is smaller by them, and damages a card that was not empty, as said below"),
]


@dataclasses.dataclass(frozen=True)
class Verdict:
    work: str
    mark: str
    base: str
    measured: str
    verdict: str
    floor: str = ""


def judge(mark: Mark, found: Found) -> Verdict:
    value = mark.measure(found)
    if value is None:
        return Verdict(mark.work, mark.mark, found.base, found.why(*mark.of), UNKNOWN)
    reached = value < mark.limit if mark.strict else value <= mark.limit
    return Verdict(mark.work, mark.mark, found.base, mark.show(value), REACHED if reached else MISSED, "" if reached else mark.floor)


def verdicts(groups: list[Group], bases: list[str]) -> list[Verdict]:
    """Every mark on every base."""
    return [judge(mark, Found(groups, base)) for mark in MARKS for base in bases]
