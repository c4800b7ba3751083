//! The work: what is written first, what last, and what becomes of a medium half-way.

use std::ops::Range;

use super::copy::{self, whole_sectors};
use super::medium::Medium;
use super::target::Target;
use super::verify;
use super::write::Write;
use crate::disk::ReadAt;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;

/// What is written last: the partition table, and room for what looks for a disk's beginning.
const HEAD: u64 = 1 << 20;
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
        ErrorKind::Interrupted => error.with_hint(format!(
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
