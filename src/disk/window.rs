//! A window on a disk: a partition as its file system sees it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use super::cow_disk::{CowDisk, PAGE_SIZE, STRETCH};
use super::read_at::{ReadAt, check_bounds};
use crate::error::{Error, Result, ResultExt};

/// `len` bytes of a [`CowDisk`] from `start` on. Offsets are relative to the window.
#[derive(Clone)]
pub struct Window {
    disk: Arc<CowDisk>,
    start: u64,
    len: u64,
}

impl Window {
    /// A window; it must lie within the disk.
    pub fn new(disk: Arc<CowDisk>, start: u64, len: u64) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= disk.len() => Ok(Self { disk, start, len }),
            _ => Err(Error::failed(format!(
                "a partition of {len} bytes at offset {start} ends beyond the image, which has {} bytes",
                disk.len()
            ))
            .with_hint("the image is cut short or its partition table is damaged; download it again")),
        }
    }

    /// Offset of the window on its disk.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Writes `data` at `offset` of the window; it must fit.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check(offset, data.len())?;
        self.disk.write_at(self.start + offset, data)
    }

    /// Makes `len` bytes at `offset` what they are in the base of the disk again.
    pub fn revert(&self, offset: u64, len: usize) -> Result<()> {
        self.check(offset, len)?;
        self.disk.revert(self.start + offset, len)
    }

    /// Offsets of the pages in `range` that differ from the base, ascending. The window must begin
    /// with a page; pages that only reach into the range are left out.
    pub fn changed_pages(&self, range: Range<u64>) -> Result<Vec<u64>> {
        let end = range.end.min(self.len);
        let first = (self.start + range.start).div_ceil(PAGE_SIZE);
        let pages = self
            .disk
            .settle_pages(first..(self.start + end) / PAGE_SIZE)?;
        Ok(pages
            .into_iter()
            .map(|page| page * PAGE_SIZE - self.start)
            .collect())
    }

    /// Which stretch of the disk (see [`STRETCH`]) the byte at `offset` lies in.
    pub fn stretch(&self, offset: u64) -> u64 {
        (self.start + offset) / STRETCH
    }

    /// The part of the window that lies in `stretch` of the disk; empty when none does.
    pub fn of_stretch(&self, stretch: u64) -> Range<u64> {
        let start = stretch.saturating_mul(STRETCH);
        let within = |at: u64| at.saturating_sub(self.start).min(self.len);
        within(start)..within(start.saturating_add(STRETCH))
    }

    /// Whether anything has been written to `stretch` of the disk, in the window or beside it.
    pub fn is_stretch_dirty(&self, stretch: u64) -> bool {
        let start = stretch.saturating_mul(STRETCH);
        self.disk.is_dirty(start..start.saturating_add(STRETCH))
    }

    /// A `Read + Write + Seek` view that starts at offset 0.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            window: self.clone(),
            position: 0,
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        check_bounds(offset, len, self.len).context(|| "in a partition".into())
    }
}

impl ReadAt for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        self.disk.read_at(self.start + offset, buf)
    }
}

/// A position in a [`Window`], for libraries that want streams.
pub struct Cursor {
    window: Window,
    position: u64,
}

impl Cursor {
    fn clip(&self, len: usize) -> usize {
        (self.window.len.saturating_sub(self.position)).min(len as u64) as usize
    }
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.clip(buf.len());
        self.window.read_at(self.position, &mut buf[..n])?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for Cursor {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.clip(buf.len());
        self.window.write_at(self.position, &buf[..n])?;
        self.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.window.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "seek outside the partition")
        })?;
        Ok(self.position)
    }
}
