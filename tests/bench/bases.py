"""What is measured on: bases, payloads, the nodes' reference images, and the patches that the peers apply."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
from collections.abc import Iterator

import packing
from measuring import Failed, say
from patch_stream import RECORD

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent.parent / "scripts"
CHUNK, PAGE = 1 << 20, 4096
SECTOR = 512


@dataclasses.dataclass(frozen=True)
class Base:
    """A base image, raw and as `xz -T0 -6` packs it. `note` says what it is."""

    name: str
    note: str
    raw: pathlib.Path
    xz: pathlib.Path

    @property
    def bytes(self) -> int:
        return self.raw.stat().st_size

    def root_offset(self) -> int:
        """Where the root file system begins, in bytes."""
        layout = subprocess.run(["sfdisk", "--json", str(self.raw)], check=True, capture_output=True).stdout
        return json.loads(layout)["partitiontable"]["partitions"][1]["start"] * SECTOR


def last_line(*command: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a script prints; its messages go to our stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


def cache() -> pathlib.Path:
    """Beside the other bases of the tests: outside of the checkout, as what is in it takes long to make."""
    line = "source {}/lib.sh; cache_dir".format(SCRIPTS)
    folder = last_line("bash", "-c", line) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fixture() -> Base:
    raw = last_line(SCRIPTS / "make-fixture", "trixie")
    return Base("fixture", "the small image of the ordinary tests: shows that this program works, and nothing else",
                raw, last_line(SCRIPTS / "make-fixture", "trixie", "--xz"))


def make_base() -> Base:
    return Base("make-base", "Debian in the shape of Raspberry Pi OS, by scripts/full-base trixie",
                last_line(SCRIPTS / "full-base", "trixie"), last_line(SCRIPTS / "full-base", "trixie", "--xz"))


def large_base(name: str, size: int, kind: str) -> Base:
    """A base by make-large-base. Made once: delete its folder to have it made anew."""
    small = last_line(SCRIPTS / "full-base", "trixie")
    script = HERE / "make-large-base"
    key = hashlib.sha256(script.read_bytes() + f"{small} {size} {kind}".encode()).hexdigest()[:16]
    raw = cache() / key / f"{name}.img"
    raw.parent.mkdir(exist_ok=True)
    if not raw.exists():
        if shutil.disk_usage(raw.parent).free < 2 * size:
            raise Failed(f"a base of {size / 1e9:.1f} GB needs {2 * size / 1e9:.0f} GB of room while it is made")
        subprocess.run([script, small, str(size), kind, raw], check=True)
    xz = raw.with_suffix(".img.xz")
    if not xz.exists():
        say(f"bench: packing {raw} (once)")
        part = xz.with_suffix(".part")
        if kind == "repeat":
            packing.pack(raw, part)
            subprocess.run(["xz", "-t", "--format=xz", "-T0", part], check=True)
        else:
            with part.open("wb") as out:
                subprocess.run(["xz", "-T0", "-6", "-c", raw], stdout=out, check=True)
        part.rename(xz)
    what = "files of this machine's /usr" if kind == "usr" else "24 MiB of such files again and again"
    return Base(name, f"make-base's content and {what}, by tests/bench/make-large-base", raw, xz)


# ------------------------------------------------------------------ payloads


def incompressible(size: int, folder: pathlib.Path, head: bytes) -> pathlib.Path:
    """A stand-in for a large program: `head` (an ELF of the right kind) and bytes that look random and are always the same."""
    path = folder / f"payload-{size}"
    if not path.exists():
        source = random.Random(size)
        part = path.with_suffix(".part")
        with part.open("wb") as out:
            out.write(head)
            left = size - len(head)
            while left > 0:
                out.write(source.randbytes(min(left, CHUNK)))
                left -= CHUNK
        part.rename(path)
    return path


def small_files(folder: pathlib.Path, count: int) -> int:
    """A role with `count` files of 1 to 30 KB, half of it text. Returns the sum of their bytes."""
    (folder / "root").mkdir(parents=True, exist_ok=True)
    (folder / "role.toml").write_text('description = "many files, for measuring"\n')
    total = 0
    for number in range(count):
        source = random.Random(number)
        size = 1000 + source.randrange(29_000)
        path = folder / "root" / "opt" / "bench" / f"{number % 40:02}" / f"{number:04}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size // 2) + b"a line of text, as in many files\n" * (size // 66))
        total += path.stat().st_size
    return total


# ------------------------------------------------------------------ comparing


def differences(old: pathlib.Path, new: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """The pages of `new` that are not the same in `old`, neighbours together: offset and bytes. Beyond the end of `old`
    everything that is not zero; and the last byte, so that a longer image is as long as it is."""
    run: tuple[int, bytearray] | None = None
    for offset, before, after in chunks(old, new):
        if before == after:
            continue
        for at in range(0, len(after), PAGE):
            page = after[at:at + PAGE]
            if page == before[at:at + PAGE]:
                continue
            if run and run[0] + len(run[1]) == offset + at:
                run[1].extend(page)
            else:
                if run:
                    yield run[0], bytes(run[1])
                run = offset + at, bytearray(page)
    if run:
        yield run[0], bytes(run[1])
    if new.stat().st_size > old.stat().st_size and (not run or run[0] + len(run[1]) < new.stat().st_size):
        yield new.stat().st_size - 1, b"\0"


def chunks(old: pathlib.Path, new: pathlib.Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Both side by side; what `old` has not is zero."""
    offset = 0
    with old.open("rb") as a, new.open("rb") as b:
        while after := b.read(CHUNK):
            yield offset, a.read(len(after)).ljust(len(after), b"\0"), after
            offset += len(after)


def write_patch(old: pathlib.Path, new: pathlib.Path, patch: pathlib.Path) -> int:
    """What patch_stream.py needs to make `new` of `old`. Returns how many bytes it puts in."""
    changed = 0
    with patch.open("wb") as out:
        for offset, data in differences(old, new):
            out.write(RECORD.pack(offset, len(data)) + data)
            changed += len(data)
    return changed


def decodes_to(xz: pathlib.Path, raw: pathlib.Path) -> bool:
    line = 'xz -T0 -dc "$1" | cmp -s - "$2"'
    return subprocess.run(["bash", "-o", "pipefail", "-c", line, "decodes_to", xz, raw]).returncode == 0


def there_where_not_zero(image: pathlib.Path, device: str) -> bool:
    """Whether a device has every page of the image that is not zero: what a block map leaves out is."""
    zero = bytes(CHUNK)
    with image.open("rb") as a, open(device, "rb") as b:
        while wanted := a.read(CHUNK):
            found = b.read(len(wanted))
            if wanted == found or wanted == zero:
                continue
            for at in range(0, len(wanted), PAGE):
                page = wanted[at:at + PAGE]
                if page != found[at:at + PAGE] and page.strip(b"\0"):
                    return False
    return True


def warm(*files: pathlib.Path) -> None:
    """Reads files, so that they are in the page cache for whoever comes first."""
    for path in files:
        with path.open("rb") as file:
            while file.read(CHUNK):
                pass
