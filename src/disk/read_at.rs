//! What all rooms read images through.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};

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
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        Ok((offset < self.len()).then_some(offset..self.len()))
    }

    /// The file that holds these bytes and nothing else, if there is one: it can be cloned.
    fn as_file(&self) -> Option<&std::fs::File> {
        None
    }

    /// The blocks that it is best read in, if it has any: they can be decoded in parallel.
    fn as_blocks(&self) -> Option<&dyn Blocks> {
        None
    }
}

/// An image in blocks that are decoded as a whole, in any order.
pub trait Blocks: Sync {
    /// Where they are, in order, from the beginning of the image to its end.
    fn ranges(&self) -> Vec<Range<u64>>;

    /// The content of block `index`, to be used once: it is not kept.
    fn load(&self, index: usize) -> Result<Arc<dyn Content>>;
}

/// Bytes that may be known to be zeros.
pub trait Content: Send + Sync {
    /// The bytes; `None` when all of them are zero.
    fn data(&self) -> Option<&[u8]>;
}

/// Whether every byte of `bytes` is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // A piece at a time without a look in between: that the compiler makes wide instructions of.
    bytes
        .chunks(128)
        .all(|piece| piece.iter().fold(0, |all, &byte| all | byte) == 0)
}

/// Errors unless `len` bytes at `offset` lie within a disk of `disk_len` bytes.
pub(crate) fn check_bounds(offset: u64, len: usize, disk_len: u64) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= disk_len => Ok(()),
        _ => Err(Error::failed(format!(
            "access to {len} bytes at offset {offset} is past the end of the disk at {disk_len}"
        ))),
    }
}
