"""Packs a disk image as `xz -T0 -6` does, but compresses equal blocks only once: for images that repeat themselves."""

from __future__ import annotations

import concurrent.futures
import hashlib
import lzma
import os
import pathlib
import zlib
from collections.abc import Iterator

BLOCK = 24 << 20
# Stream Flags of CRC64, and the two magic numbers: https://xz.tukaani.org/format/xz-file-format.txt
FLAGS = b"\x00\x04"
HEADER_MAGIC, FOOTER_MAGIC = b"\xfd7zXZ\0", b"YZ"
STREAM_HEADER = FOOTER = 12
# Block Flags: both sizes are there, one filter; and the filter: LZMA2 with a dictionary of 8 MiB.
BLOCK_FLAGS, FILTER = b"\xc0", b"\x21\x01\x16"
CHECK_SIZE = 8


def crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def vli(number: int) -> bytes:
    """A number as xz writes it, seven bits in a byte."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def read_vli(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def pack_block(plain: bytes) -> tuple[bytes, int]:
    """A block with its header, and its Unpadded Size. liblzma makes a stream of it, from which data and check are taken."""
    stream = lzma.compress(plain, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=6)
    backward = (int.from_bytes(stream[-8:-4], "little") + 1) * 4
    index = stream[-FOOTER - backward:-FOOTER]
    unpadded, _ = read_vli(index, 2)   # after the indicator and the number of records, which is 1
    old_header = (stream[STREAM_HEADER] + 1) * 4
    size = unpadded - old_header - CHECK_SIZE
    begin = STREAM_HEADER + old_header
    body = stream[begin:begin + size + -size % 4 + CHECK_SIZE]
    fields = BLOCK_FLAGS + vli(size) + vli(len(plain)) + FILTER
    # xz writes headers before it knows the sizes, so there is room for the largest.
    length = 1 + len(BLOCK_FLAGS) + 2 * len(vli(BLOCK)) + len(FILTER) + 4
    length += -length % 4
    header = bytes([length // 4 - 1]) + fields
    header += bytes(length - 4 - len(header))
    return header + crc32(header) + body, length + size + CHECK_SIZE


def index_and_footer(sizes: list[tuple[int, int]]) -> bytes:
    """`sizes`: Unpadded Size and Uncompressed Size of all blocks."""
    index = b"\0" + vli(len(sizes)) + b"".join(vli(a) + vli(b) for a, b in sizes)
    index += bytes(-len(index) % 4)
    index += crc32(index)
    end = (len(index) // 4 - 1).to_bytes(4, "little") + FLAGS
    return index + crc32(end) + end + FOOTER_MAGIC


def blocks(source: pathlib.Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while plain := file.read(BLOCK):
            yield plain


def pack(source: pathlib.Path, target: pathlib.Path) -> int:
    """Writes `target`. Returns how many blocks had to be compressed."""
    packed: dict[bytes, concurrent.futures.Future[tuple[bytes, int]]] = {}
    sizes = []
    with target.open("wb") as out, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        out.write(HEADER_MAGIC + FLAGS + crc32(FLAGS))
        waiting: list[tuple[bytes, int]] = []

        def flush(keep: int) -> None:
            while len(waiting) > keep:
                key, length = waiting.pop(0)
                data, unpadded = packed[key].result()
                out.write(data)
                sizes.append((unpadded, length))

        for plain in blocks(source):
            key = hashlib.sha256(plain).digest()
            if key not in packed:
                packed[key] = pool.submit(pack_block, plain)
            waiting.append((key, len(plain)))
            flush(2 * (os.cpu_count() or 1))
        flush(0)
        out.write(index_and_footer(sizes))
    return len(packed)
