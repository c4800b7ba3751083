#!/usr/bin/python3
"""faulty_disk.py FOLDER BACKING FAULT...: mounts FOLDER (FUSE) with one file in it, `disk`.

It has the content of the file BACKING, but for one fault, which is one of
  none
  fail-write FROM TO  writes to these bytes fail (EIO), as on a card with bad blocks
  fail-read FROM TO   reads of them fail
  lose FROM TO      writes to them are taken and forgotten, as by a card at its end
  slow SECONDS      every write takes so long
  fake CAPACITY     beyond CAPACITY bytes it begins again at 0, as a fake card does
  flip AT           the byte at AT reads with one bit changed
  gone AT           after a write that touches AT every access fails (ENODEV), as when it is pulled out
FOLDER is unmounted by `fusermount3 -u FOLDER`. `--direct` before the fault: the kernel keeps nothing of it.
"""
import errno
import os
import stat
import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")
from fusepy import FUSE, FuseOSError, Operations  # noqa: E402 (Debian's python3-fusepy)


class Disk(Operations):
    def __init__(self, backing, fault, numbers):
        self.fd = os.open(backing, os.O_RDWR)
        self.size = os.fstat(self.fd).st_size
        self.fault, self.numbers = fault, numbers
        self.gone = False

    def touches(self, offset, length):
        """Whether a range has any of the bytes FROM to TO, or the byte AT, in it."""
        start, end = (self.numbers + [self.numbers[0] + 1])[:2]
        return offset < end and offset + length > start

    def pieces(self, offset, length):
        """Where the bytes really lie: (offset, length) pairs."""
        if self.fault != "fake":
            yield offset, length
            return
        capacity = self.numbers[0]
        while length > 0:
            at = offset % capacity
            n = min(length, capacity - at)
            yield at, n
            offset, length = offset + n, length - n

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != "/disk":
            raise FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": self.size,
                "st_uid": os.getuid(), "st_gid": os.getgid()}

    def readdir(self, path, fh):
        return [".", "..", "disk"]

    def truncate(self, path, length, fh=None):
        raise FuseOSError(errno.EPERM)

    def read(self, path, size, offset, fh):
        size = min(size, max(self.size - offset, 0))
        if self.gone:
            raise FuseOSError(errno.ENODEV)
        if self.fault == "fail-read" and self.touches(offset, size):
            raise FuseOSError(errno.EIO)
        data = b"".join(os.pread(self.fd, n, at) for at, n in self.pieces(offset, size))
        if self.fault == "flip" and self.touches(offset, size):
            data = bytearray(data)
            data[self.numbers[0] - offset] ^= 4
        return bytes(data)

    def write(self, path, data, offset, fh):
        if self.fault == "gone" and self.touches(offset, len(data)):
            self.gone = True
        if self.gone:
            raise FuseOSError(errno.ENODEV)
        if self.fault == "fail-write" and self.touches(offset, len(data)):
            raise FuseOSError(errno.EIO)
        if self.fault == "lose" and self.touches(offset, len(data)):
            return len(data)
        if self.fault == "slow":
            time.sleep(self.numbers[0])
        done = 0
        for at, n in self.pieces(offset, len(data)):
            os.pwrite(self.fd, data[done:done + n], at)
            done += n
        return len(data)

    def fsync(self, path, datasync, fh):
        if self.gone:
            raise FuseOSError(errno.ENODEV)
        return 0


def main():
    args = sys.argv[1:]
    direct = "--direct" in args
    folder, backing, fault, *numbers = [a for a in args if a != "--direct"]
    disk = Disk(backing, fault, [float(n) if fault == "slow" else int(n) for n in numbers])
    FUSE(disk, folder, foreground=True, nothreads=True, direct_io=direct, big_writes=True)


if __name__ == "__main__":
    main()
