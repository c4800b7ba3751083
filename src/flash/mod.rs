//! Writing an image to a card, a disk or a file, straight from a copy-on-write disk: no image file
//! is made first.
//!
//! Only what the file systems use is written, in large aligned writes past the page cache. The first
//! MiB, with the partition table, is emptied first and written last, when everything else was read
//! back: a card that is not complete never looks as if it could boot. Read-back compares a digest of
//! every chunk, since cards that fail, and fake ones, take writes without a complaint.
//!
//! [`Target::examine`] holds every reason not to write to a device, [`Contents`] what would be lost
//! there, [`check_image`] every reason not to write an image, [`flash`] the work, and
//! [`Medium`] is what it works on.

mod contents;
mod copy;
mod image;
mod medium;
mod system;
mod target;
mod verify;

use std::io::{self, ErrorKind};
use std::ops::Range;

pub use contents::{Contents, Partition, Volume};
pub use image::check_image;
pub use medium::Medium;
pub use system::{BlockDevice, DeviceNumber, OwnDisk, System, Use};
pub use target::{Allowed, Target};

use crate::disk::{AlignedBuffer, ReadAt, SECTOR_SIZE};
use crate::error::{Error, Result};
use crate::job::Job;
use copy::whole_sectors;

/// What is written last: the partition table, and room for what looks for a disk's beginning.
const HEAD: u64 = 1 << 20;
/// Sectors that a backup GPT takes at the end of a disk: 32 of entries, and its header.
const GPT_BACKUP: u64 = 33;
const GPT_SIGNATURE: &[u8] = b"EFI PART";

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashOptions {
    /// Read everything back and compare.
    pub verify: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flashed {
    /// Bytes that were written, zeros among them.
    pub written: u64,
    /// Bytes of the image that were left out, since nothing uses them.
    pub skipped: u64,
    /// Whether everything was read back.
    pub verified: bool,
    /// Whether the backup of an older partition table was wiped from the end of the disk.
    pub wiped_backup: bool,
}

/// Writes `used` ranges (bytes) of `disk` to `target`.
pub fn flash(
    disk: &dyn ReadAt,
    used: &[Range<u64>],
    target: &Target,
    options: FlashOptions,
    job: &Job,
) -> Result<Flashed> {
    let medium = target.open(whole_sectors(disk.len()), job)?;
    let name = target.path().display().to_string();
    let flashed = flash_medium(disk, used, &medium, &name, options, job);
    if flashed.is_err() {
        target.discard();
    }
    flashed
}

/// Writes `used` ranges (bytes) of `disk` to `medium`, which messages call `name`.
pub fn flash_medium(
    disk: &dyn ReadAt,
    used: &[Range<u64>],
    medium: &dyn Medium,
    name: &str,
    options: FlashOptions,
    job: &Job,
) -> Result<Flashed> {
    let end = whole_sectors(disk.len());
    if end > medium.len() {
        return Err(Error::refused(format!(
            "{name} has {} bytes, and the image needs {end}",
            medium.len()
        )));
    }
    job.cancel.check()?;
    let to = Write { medium, name };
    write_image(disk, used, &to, options, job).map_err(|error| {
        // Once more, since a fake card has other parts of the image there by now.
        let emptied = to.empty(head_of(end)).and_then(|()| to.settle());
        unfinished(error, name, emptied.is_ok())
    })
}

fn head_of(image_end: u64) -> Range<u64> {
    0..HEAD.min(image_end)
}

/// What became of the medium when flashing stopped half-way.
fn unfinished(error: Error, name: &str, emptied: bool) -> Error {
    let state = match emptied {
        true => "its first MiB is empty, so nothing starts from it",
        false => "do not start from it",
    };
    match error.kind() {
        crate::error::ErrorKind::Interrupted => error.with_hint(format!(
            "{name} is not complete: {state}. The same command starts anew"
        )),
        _ => error.context(format!("{name} is not complete: {state}")),
    }
}

fn write_image(
    disk: &dyn ReadAt,
    used: &[Range<u64>],
    to: &Write<'_>,
    options: FlashOptions,
    job: &Job,
) -> Result<Flashed> {
    let end = whole_sectors(disk.len());
    let head = head_of(end);
    let chunks = copy::chunks(used, head.end..end);
    let written = head.end + chunks.iter().map(|c| c.end - c.start).sum::<u64>();
    to.empty(head.clone())?;
    let wiped_backup = to.wipe_backup(end)?;
    to.settle()?;

    let mut task = (job.progress).begin(&format!("writing {}", to.name), Some(written));
    let mut advance = |bytes| task.advance(bytes);
    let done = copy::copy(disk, &chunks, to, &mut advance, job)?;
    to.settle()?;
    if options.verify {
        let mut task =
            (job.progress).begin(&format!("checking {}", to.name), Some(written - head.end));
        verify::verify(disk, &done, to, &mut |bytes| task.advance(bytes), job)?;
    }
    write_head(disk, &head, to, options, &mut advance, job)?;
    Ok(Flashed {
        written,
        skipped: end - written,
        verified: options.verify,
        wiped_backup,
    })
}

/// Writes the partition table and what is around it. From here on the disk counts.
fn write_head(
    disk: &dyn ReadAt,
    head: &Range<u64>,
    to: &Write<'_>,
    options: FlashOptions,
    advance: &mut dyn FnMut(u64),
    job: &Job,
) -> Result<()> {
    let done = copy::copy(disk, std::slice::from_ref(head), to, advance, job)?;
    to.settle()?;
    match options.verify {
        true => verify::verify(disk, &done, to, &mut |_| (), job),
        false => Ok(()),
    }
}

/// A medium and its name, with errors that say what to do.
struct Write<'a> {
    medium: &'a dyn Medium,
    name: &'a str,
}

impl Write<'_> {
    fn bytes(&self, offset: u64, bytes: &[u8], zero: bool) -> Result<()> {
        let done = match zero {
            true => self.medium.zero(offset, bytes),
            false => self.medium.write(offset, bytes),
        };
        done.map_err(|e| self.explain("writing", offset, bytes.len(), e))
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = buf.len();
        (self.medium.read(offset, buf)).map_err(|e| self.explain("reading back", offset, len, e))
    }

    fn settle(&self) -> Result<()> {
        self.medium.settle().map_err(|e| {
            let hint = advice(&e);
            Error::failed(format!("{} did not take all that was written", self.name))
                .with_source(e)
                .with_hint(hint)
        })
    }

    /// Writes zeros, so that nothing of what was there counts any more.
    fn empty(&self, range: Range<u64>) -> Result<()> {
        let zeros = AlignedBuffer::new((range.end - range.start) as usize);
        self.bytes(range.start, zeros.bytes(), false)
    }

    /// Wipes the backup GPT that an older disk layout left at the end: partitioning tools would
    /// offer to restore it. Within the image there is none of others.
    fn wipe_backup(&self, image_end: u64) -> Result<bool> {
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
