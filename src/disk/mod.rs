//! Random access to disk images, and the copy-on-write layer that all edits land in.
//!
//! Offsets and lengths are bytes unless a name says otherwise.

mod aligned_buffer;
mod cow_disk;
mod known_pages;
mod memory;
pub mod partition_table;
pub mod ranges;
mod raw_file;
mod window;
pub mod xz_container;
mod xz_image;

pub use aligned_buffer::AlignedBuffer;
pub use cow_disk::{CowDisk, PAGE_SIZE, PageMemory, STRETCH};
pub use memory::Memory;
pub use raw_file::RawFile;
pub use window::{Cursor, Window};
pub use xz_image::{Block, XzImage, XzImageOptions};

use crate::error::{Error, Result};

/// Bytes of a logical sector: what MBR, GPT and FAT count in here.
pub const SECTOR_SIZE: u64 = 512;

/// Random access to the bytes of a disk image. Never changes what it reads.
pub trait ReadAt: Send + Sync {
    /// Length of the image.
    fn len(&self) -> u64;

    /// Whether the image has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`. Reading past the end is an error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The first range at or after `offset` that may hold anything but zeros, clipped to the image;
    /// `None` when only zeros follow. The default answer is "everything may".
    fn next_data(&self, offset: u64) -> Result<Option<std::ops::Range<u64>>> {
        Ok((offset < self.len()).then_some(offset..self.len()))
    }

    /// The file that holds these bytes and nothing else, if there is one: it can be cloned.
    fn as_file(&self) -> Option<&std::fs::File> {
        None
    }

    /// The compressed image that this is, if it is one: its blocks can be decoded in parallel.
    fn as_xz(&self) -> Option<&XzImage> {
        None
    }
}

/// Whether every byte of `bytes` is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // A piece at a time without a look in between: that the compiler makes wide instructions of.
    bytes
        .chunks(128)
        .all(|piece| piece.iter().fold(0, |all, &byte| all | byte) == 0)
}

/// Errors unless `len` bytes at `offset` lie within a disk of `disk_len` bytes.
fn check_bounds(offset: u64, len: usize, disk_len: u64) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= disk_len => Ok(()),
        _ => Err(Error::failed(format!(
            "access to {len} bytes at offset {offset} is past the end of the disk at {disk_len}"
        ))),
    }
}
