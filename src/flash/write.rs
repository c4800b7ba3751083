//! A medium that is written to, with errors that say what to do.

use std::io::{self, ErrorKind};
use std::ops::Range;

use super::medium::Medium;
use crate::disk::{AlignedBuffer, SECTOR_SIZE};
use crate::error::{Error, Result};

/// Sectors that a backup GPT takes at the end of a disk: 32 of entries, and its header.
const GPT_BACKUP: u64 = 33;
const GPT_SIGNATURE: &[u8] = b"EFI PART";

/// A medium and its name, with errors that say what to do.
pub(super) struct Write<'a> {
    pub medium: &'a dyn Medium,
    pub name: &'a str,
}

impl Write<'_> {
    pub fn bytes(&self, offset: u64, bytes: &[u8], zero: bool) -> Result<()> {
        let done = match zero {
            true => self.medium.zero(offset, bytes),
            false => self.medium.write(offset, bytes),
        };
        done.map_err(|e| self.explain("writing", offset, bytes.len(), e))
    }

    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = buf.len();
        (self.medium.read(offset, buf)).map_err(|e| self.explain("reading back", offset, len, e))
    }

    pub fn settle(&self) -> Result<()> {
        self.medium.settle().map_err(|e| {
            let hint = advice(&e);
            Error::failed(format!("{} did not take all that was written", self.name))
                .with_source(e)
                .with_hint(hint)
        })
    }

    /// Writes zeros, so that nothing of what was there counts any more.
    pub fn empty(&self, range: Range<u64>) -> Result<()> {
        let zeros = AlignedBuffer::new((range.end - range.start) as usize);
        self.bytes(range.start, zeros.bytes(), false)
    }

    /// Wipes the backup GPT that an older disk layout left at the end: partitioning tools would
    /// offer to restore it. Within the image there is none of others.
    pub fn wipe_backup(&self, image_end: u64) -> Result<bool> {
        let len = self.medium.len() / SECTOR_SIZE * SECTOR_SIZE;
        let Some(header) = len.checked_sub(SECTOR_SIZE).filter(|&at| at >= image_end) else {
            return Ok(false);
        };
        let mut sector = AlignedBuffer::new(SECTOR_SIZE as usize);
        self.read(header, sector.bytes_mut())?;
        if !sector.bytes().starts_with(GPT_SIGNATURE) {
            return Ok(false);
        }
        let start = len.saturating_sub(GPT_BACKUP * SECTOR_SIZE).max(image_end);
        self.empty(start..len)?;
        Ok(true)
    }

    fn explain(&self, doing: &str, offset: u64, len: usize, error: io::Error) -> Error {
        let hint = advice(&error);
        Error::failed(format!(
            "{doing} {len} bytes at offset {offset} of {}",
            self.name
        ))
        .with_source(error)
        .with_hint(hint)
    }
}

/// What to do about an error of the medium.
fn advice(error: &io::Error) -> &'static str {
    /// What the kernel says when a device is gone: ENXIO, ENODEV, ENOMEDIUM.
    const GONE: [i32; 3] = [6, 19, 123];
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "no space is left there; free some",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "it became read-only: cards do that at the end of their life, and when their lock switch is on"
        }
        _ if error
            .raw_os_error()
            .is_some_and(|code| GONE.contains(&code)) =>
        {
            "the card or its reader is gone: put it in, and run the same command again"
        }
        _ => "the card or its reader is probably failing: try another reader, then another card",
    }
}
