//! What an image is written to.

use std::fs::File;
use std::io;

use crate::positioned::FileExt;

/// Something with bytes at offsets that can fail, and can forget or mix up what was written to it.
/// Offsets and lengths are multiples of [`crate::disk::SECTOR_SIZE`], buffers are
/// [`AlignedBuffer`](crate::disk::AlignedBuffer)s.
pub trait Medium: Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes what is at `offset` read as `zeros`, which are zeros.
    fn zero(&self, offset: u64, zeros: &[u8]) -> io::Result<()> {
        self.write(offset, zeros)
    }

    /// Waits until everything that was written is on the medium, and forgets it on this side of the
    /// cable, so that what is read comes from the medium.
    fn settle(&self) -> io::Result<()>;

    /// Fills `buf` from `offset`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// How an open target is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// Past the page cache. A write is a write to the device, of any size.
    Direct,
    /// Through the page cache.
    Cached,
}

/// A device or a file, open.
pub(super) struct OpenFile {
    pub file: File,
    pub len: u64,
    pub way: WriteMode,
    /// Whether holes can stand for zeros. On devices they are written: what a device makes of a
    /// request to forget a range is a promise, a write is a write.
    pub holes: bool,
}

impl OpenFile {
    /// Larger pieces cost more in the page cache (measured: 1 MiB takes 3 to 5 times the system
    /// time of 128 KiB), and less when the device is written to directly.
    fn piece(&self) -> usize {
        match self.way {
            WriteMode::Direct => usize::MAX,
            WriteMode::Cached => 128 * 1024,
        }
    }
}

impl Medium for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn write(&self, mut offset: u64, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(self.piece()) {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, zeros: &[u8]) -> io::Result<()> {
        if self.holes && os::punch_hole(&self.file, offset, zeros.len() as u64).is_ok() {
            return Ok(());
        }
        self.write(offset, zeros)
    }

    fn settle(&self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.way {
            WriteMode::Direct => Ok(()),
            WriteMode::Cached => os::forget(&self.file),
        }
    }

    fn read(&self, mut offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for piece in buf.chunks_mut(self.piece()) {
            self.file.read_exact_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod os {
    use std::fs::File;
    use std::io;

    use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

    pub fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(file, flags, offset, len)?)
    }

    /// Drops what the page cache has of a file that was synced.
    pub fn forget(file: &File) -> io::Result<()> {
        Ok(fadvise(file, 0, None, Advice::DontNeed)?)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os {
    use std::fs::File;
    use std::io;

    pub fn punch_hole(_: &File, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn forget(_: &File) -> io::Result<()> {
        Ok(())
    }
}
