#!/usr/bin/env python3
"""What the bench works out by itself: medians, ratios, marks, tables, the plot, patches, packed blocks. Runs anywhere with xz."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import tomllib
import unittest
import unittest.mock
import xml.etree.ElementTree

import bases
import commands
import measuring
import packing
import plot
import report
from bench import arguments, settings
from cases import checking
from cases.flash import mapped_bytes
from cases.inserts import Insert, requests
from context import Group
from marks import MARKS, MISSED, REACHED, UNKNOWN, verdicts
from measuring import Contestant, Row, Sample


# Two members of a pipeline that are there at the same time, with 60 MB each, and work for 0.3 s each.
BUSY = "while time.process_time() < 0.3: pass"
FIRST = f"""import os, time
memory = bytearray(60_000_000)
os.write(1, b"x")
{BUSY}
try:
    while True: os.write(1, bytes(4096))
except BrokenPipeError:
    pass"""
SECOND = f"""import os, time
memory = bytearray(60_000_000)
os.read(0, 1)
{BUSY}"""


def row(id: str, cpu: float, ours: bool = False, wall: float = 1, memory: int = 10_000_000, **more: object) -> Row:
    return Row(id, id, ours, f"run {id}", [Sample(wall, cpu, 0, memory)], **more)  # type: ignore[arg-type]


def group(id: str, *rows: Row, case: str = "image_xz", base: str = "b") -> Group:
    return Group(f"{id}/{base}", case, f"title of {id}", base, "a note", list(rows), 0.5, "abc", "scripts/bench")


class Measuring(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name) / "log"
        quiet = unittest.mock.patch.object(measuring, "say")
        quiet.start()
        self.addCleanup(quiet.stop)

    def test_median_and_spread(self) -> None:
        found = Row("a", "a", True, "", [Sample(w, w, 1, int(w)) for w in (5, 1, 3)])
        self.assertEqual((found.median("wall"), found.median("cpu"), found.spread("wall")), (3, 4, (1, 5)))
        self.assertEqual(Row("a", "a", True, "", [Sample(1, 0, 0, 0), Sample(2, 0, 0, 0)]).median("wall"), 1.5)
        self.assertIsNone(Row("a", "a", True, "", []).median("wall"))

    def test_ratio(self) -> None:
        self.assertEqual(measuring.ratio(1.0, 4.0), 0.25)
        for pair in ((None, 1.0), (1.0, None), (1.0, 0.0)):
            self.assertIsNone(measuring.ratio(*pair))

    def test_a_pipeline_is_measured_as_a_whole(self) -> None:
        sample = measuring.run(f"{sys.executable} -c '{FIRST}' | {sys.executable} -c '{SECOND}'", {}, self.log)
        self.assertGreater(sample.cpu, 0.55)
        self.assertGreater(sample.memory, 110_000_000)

    def test_failure_says_what_the_command_said(self) -> None:
        for command in (["sh", "-c", "echo no luck >&2; exit 3"], "(echo no luck >&2; exit 3) | cat"):
            with self.assertRaisesRegex(measuring.Failed, "exit code 3: no luck"):
                measuring.run(command, {}, self.log)

    def test_sides_take_turns_and_slow_ones_run_less(self) -> None:
        seen: list[str] = []
        def side(id: str, **more: object) -> Contestant:
            return Contestant(id, id, ["true"], before=lambda: seen.append(id), **more)  # type: ignore[arg-type]
        def wrong() -> int:
            raise measuring.Failed("not the same")
        rows = measuring.side_by_side([side("a", after=lambda: 7), side("b", limit=1, factor=4), side("c", skip="no"), side("d", after=wrong)],
                                      3, self.log)
        self.assertEqual("".join(seen), "abdadad")
        self.assertEqual([(len(r.samples), r.size, r.skipped) for r in rows],
                         [(3, 7, None), (1, None, None), (0, None, "no"), (0, None, "failed: not the same")])


class Marks(unittest.TestCase):
    def judged(self, *groups: Group) -> dict[str, tuple[str, str]]:
        return {v.work: (v.measured, v.verdict) for v in verdicts(list(groups), ["b"])}

    def test_every_mark_of_the_issue_is_there(self) -> None:
        self.assertEqual(len(MARKS), 13)
        self.assertEqual({v[1] for v in self.judged().values()}, {UNKNOWN})

    def test_reached_and_missed(self) -> None:
        xz = group("xz", row("ours", 4, ours=True, wall=2, size=1004), row("ours-digest", 30, ours=True), row("decode", 34, wall=2),
                   row("pipeline", 1000, size=1000))
        found = self.judged(xz)
        first, digest, *_ = (m.work for m in MARKS)
        self.assertEqual(found[first], ("1/250", REACHED))
        self.assertEqual(found[digest], ("0.88 ×", MISSED))
        # Not above is reached where the mark says “at most”, and missed where it says “less than”.
        self.assertEqual(found["configuration-only node `.img.xz`, wall"], ("1.00 ×", MISSED))
        self.assertEqual(found["size of the spliced `.img.xz`"], ("+0.40 %", REACHED))
        self.assertEqual(found["peak memory"], ("10 MB", REACHED))

    def test_four_nodes(self) -> None:
        four = group("four", row("ours", 10, ours=True), row("ours-digest", 50, ours=True), row("decode", 34), row("hashes", 12),
                     row("pipeline", 4000))
        found = self.judged(four)
        self.assertEqual(found["four nodes `.img.xz`"], ("1/400", REACHED))
        self.assertEqual(found["four nodes with digests"], ("1.09 ×", MISSED))

    def test_a_reason_stands_where_nothing_was_measured(self) -> None:
        found = self.judged(group("flash", Row("ours", "ours", True, "", [], skipped="no flash here"), row("bmaptool", 1)))
        self.assertEqual(found["flash to a loop device"], ("no flash here", UNKNOWN))


class Checking(unittest.TestCase):
    def test_every_node_has_an_address_of_its_own(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            project = pathlib.Path(name) / "project"
            checking.write_nodes(project, 1000, checking.long_list(3))
            profiles = sorted((project / "profiles").iterdir())
            texts = [tomllib.loads(p.read_text()) for p in profiles if p.name != "cluster.toml"]
        self.assertEqual(len({t["address"] for t in texts}), 1000)
        self.assertEqual(len({t["hostname"] for t in texts}), 1000)
        lan = ipaddress.ip_network("10.64.0.0/16")
        self.assertTrue(all(ipaddress.ip_address(t["address"]) in lan for t in texts))
        self.assertEqual([len(t["k3s-server"]["tls_san"]) for t in texts if "k3s-server" in t], [3])


class Reports(unittest.TestCase):
    def test_numbers(self) -> None:
        self.assertEqual([report.seconds(v) for v in (0.0312, 4.567, 45.67, 1132.4)], ["0.031", "4.57", "45.7", "1132"])
        self.assertEqual([report.share(1, v) for v in (250, 4, 0.5, 0)], ["1/250", "0.25", "2.00", ""])
        self.assertEqual(report.share(0, 4), "0.00")
        self.assertEqual(report.size(446_787_632), "446.8")

    def test_tables(self) -> None:
        table = report.group_table(group("xz", row("ours", 4, ours=True), Row("none", "none", True, "", [], skipped="not | here"), row("decode", 8)))
        self.assertEqual(table[0], ["", "CPU s", "wall s", "memory MB", "runs", "CPU: ours / this", "wall: ours / this"])
        self.assertEqual(table[1][1:], ["4.00", "1.00", "10", "1", "", ""])
        self.assertEqual(table[2][:2], ["none", "*not \\| here*"])
        self.assertEqual(table[3][5:], ["0.50", "1.00"])
        self.assertIn("| decode | 8.00 |", report.markdown(table))
        self.assertIn("none    not", report.plain(table))

    def test_sizes_alone(self) -> None:
        sizes = group("bmap", Row("ours", "ours", True, "", [], 1_500_000), Row("bmaptool", "bmaptool", False, "", [], 2_000_000))
        self.assertEqual(report.group_table(sizes), [["", "MB"], ["ours", "1.5"], ["bmaptool", "2.0"]])

    def test_a_page_survives_json(self) -> None:
        groups = [group("xz", row("ours", 4, ours=True), row("pipeline", 1000)),
                  group("nodes", row("ours@1", 4, ours=True), row("ours@2", 6, ours=True), row("pipeline@2", 2000), case="scaling")]
        again = [report.from_json(report.to_json(g)) for g in groups]
        self.assertEqual(again, groups)
        results = {"machine": report.machine(), "imgbuild": "imgbuild 1", "bases": {"b": "a base"}, "repo": "/r",
                   "titles": {"image_xz": "A title"}}
        page = report.page(results, groups, verdicts(groups, ["b"]), "p.svg")
        for text in ("# Performance", "| 1/250, **reached** |", "## A title", "![", "](p.svg)", "scripts/bench\n"):
            self.assertIn(text, page)

    def test_results_are_replaced_case_by_case(self) -> None:
        old, new = group("xz", row("ours", 1)), group("xz", row("ours", 2))
        other = group("flash", row("ours", 1), case="flash")
        self.assertEqual(report.merged([old, other], [new]), [other, new])

    def test_plot(self) -> None:
        groups = [group("nodes", row("ours@1", 4), row("ours@32", 60), row("pipeline@32", 30000), case="scaling")]
        drawn = plot.svg(report.panels(groups))
        tree = xml.etree.ElementTree.fromstring(drawn)
        self.assertEqual(len(tree.findall(".//{*}circle")), 3)
        self.assertIn("not measured", drawn)
        self.assertEqual(plot.steps(32), [0, 10, 20, 30, 40])
        self.assertEqual(plot.decades(3, 30000), [1, 10, 100, 1000, 10000, 100000])

    def test_commands_without_what_is_only_this_machines(self) -> None:
        words = ["/r/target/x", "--set", "a.b=/c", "--set", 'roles=["a", "b"]', "--all"]
        self.assertEqual(report.shortened(measuring.shown(words), "/r"), "target/x --all")


class Commands(unittest.TestCase):
    def test_options_are_found_in_help(self) -> None:
        self.assertTrue(commands.knows("  --bmap\n", "--bmap"))
        self.assertFalse(commands.knows("  --bmap-only\n  --no-bmap", "--bmap"))

    def test_arguments(self) -> None:
        self.assertEqual(settings(arguments(["flash", "--quick", "--runs", "5"])).runs, 5)
        self.assertEqual(settings(arguments(["--full"])).pipeline_runs, 3)
        with self.assertRaises(SystemExit):
            arguments(["no-such-case"])

    def test_mapped_bytes(self) -> None:
        self.assertEqual(mapped_bytes("<bmap><BlockSize> 4096 </BlockSize><MappedBlocksCount> 10 </MappedBlocksCount></bmap>"), 40960)
        with self.assertRaises(ValueError):
            mapped_bytes("<bmap/>")

    def test_debugfs_requests(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file, link = pathlib.Path(folder, "file"), pathlib.Path(folder, "link")
            file.write_text("x")
            file.chmod(0o600)
            link.symlink_to("k3s")
            lines = requests([Insert("/etc/a/b", file), Insert("/etc/a/c", link), Insert("/etc/hosts", file)], {"/etc", "/etc/hosts"})
            self.assertEqual(lines[:5], ['mkdir "/etc/a"', 'cd "/etc/a"', f'write "{file}" "b"', 'sif "b" mode 0100600',
                                         f'sif "b" uid {os.getuid()}'])
            self.assertEqual(lines[6:10], ['cd "/etc/a"', 'symlink "c" "k3s"', 'rm "/etc/hosts"', 'cd "/etc"'])


class Images(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name: str, data: bytes) -> pathlib.Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def test_a_patch_makes_the_one_of_the_other(self) -> None:
        old = random.Random(1).randbytes(3_000_000)
        new = bytearray(old)
        new[5], new[1_100_000], new[-1] = new[5] ^ 1, new[1_100_000] ^ 1, new[-1] ^ 1
        new[8192:20480] = bytes(12288)
        for tail in (b"", bytes(10_000), bytes(5_000) + b"end", bytes(5_000) + b"middle" + bytes(100_000)):
            a, b = self.file("old", old), self.file("new", bytes(new) + tail)
            changed = bases.write_patch(a, b, self.folder / "patch")
            self.assertLess(changed, 50_000)
            line = 'cat "$1" | "$3" -B "$4" "$2" | cat'
            words = ["bash", "-c", line, "-", str(a), str(self.folder / "patch"), sys.executable, str(commands.PATCH_STREAM)]
            made = subprocess.run(words, check=True, capture_output=True).stdout
            self.assertTrue(made == b.read_bytes(), f"a tail of {len(tail)}")

    def test_what_a_device_must_have(self) -> None:
        image = self.file("image", bytes(8192) + b"x" * 4096)
        for device, there in ((b"\xff" * 8192 + b"x" * 4096 + b"more", True), (bytes(8192) + b"y" * 4096, False)):
            self.assertEqual(bases.there_where_not_zero(image, str(self.file("device", device))), there)

    def test_packed_blocks_are_xz_own(self) -> None:
        period = random.Random(2).randbytes(4096) * 2 + bytes(8192)
        length, packing.BLOCK = packing.BLOCK, len(period)
        self.addCleanup(setattr, packing, "BLOCK", length)
        raw = self.file("raw", period * 5 + b"the end")
        packed = self.folder / "raw.xz"
        self.assertEqual(packing.pack(raw, packed), 2)
        xz = ["xz", "-T2", "-6", f"--block-size={packing.BLOCK}", "-c", str(raw)]
        self.assertTrue(bases.decodes_to(packed, raw))
        self.assertEqual(packed.read_bytes(), subprocess.run(xz, check=True, capture_output=True).stdout)

    def test_payloads_are_always_the_same(self) -> None:
        first = bases.incompressible(3_000_000, self.folder, b"\x7fELF").read_bytes()
        self.assertEqual((len(first), first[:4]), (3_000_000, b"\x7fELF"))
        with tempfile.TemporaryDirectory() as other:
            self.assertEqual(bases.incompressible(3_000_000, pathlib.Path(other), b"\x7fELF").read_bytes(), first)


if __name__ == "__main__":
    unittest.main()
