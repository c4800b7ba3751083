"""patch_stream.py PATCH: copies a disk image from stdin to stdout with PATCH applied.

The peer's patch step. It moves the pages of the pipe without looking at them (splice), which costs less than `cat`: what
the peer's pipeline takes is xz, and nothing that we have made slow. Both ends must be pipes.

A patch is a row of records: offset and length (8 bytes each, little endian), then the bytes; in the order of their offsets.
What lies between the end of the input and a later record is zero.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator

RECORD = struct.Struct("<QQ")
PIPE_SIZE = 1 << 20
STDIN, STDOUT = 0, 1


def records(patch: int) -> Iterator[tuple[int, int]]:
    """Offset and length of every record; the file then stands at its bytes."""
    while head := os.read(patch, RECORD.size):
        yield RECORD.unpack(head)


def move(source: int, count: int) -> int:
    """Hands on up to `count` bytes. Returns how many it was; fewer at the end of the source."""
    left = count
    while left and (done := os.splice(source, STDOUT, min(left, PIPE_SIZE))):
        left -= done
    return count - left


def zeros(count: int) -> None:
    piece = bytes(min(count, PIPE_SIZE))
    while count:
        count -= os.write(STDOUT, piece[:count])


def drop(count: int) -> None:
    while count and (data := os.read(STDIN, min(count, PIPE_SIZE))):
        count -= len(data)


def main() -> None:
    for end in (STDIN, STDOUT):
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    at = 0
    patch = os.open(sys.argv[1], os.O_RDONLY)
    for offset, length in records(patch):
        gap = offset - at
        zeros(gap - move(STDIN, gap))
        drop(length)
        move(patch, length)
        at = offset + length
    while move(STDIN, PIPE_SIZE):
        pass


if __name__ == "__main__":
    main()
