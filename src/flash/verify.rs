//! Reads back what was written, and says what is wrong with the medium when it differs.

use super::Write;
use super::copy::{CHUNK, Written, digest, read_padded};
use super::medium::Buffer;
use crate::disk::{ReadAt, is_zero};
use crate::error::{Error, Result};
use crate::job::Job;

/// Reads `written` back and compares digests. The medium must have settled.
pub(super) fn verify(
    disk: &dyn ReadAt,
    written: &[Written],
    to: &Write<'_>,
    advance: &mut dyn FnMut(u64),
    job: &Job,
) -> Result<()> {
    let mut buffer = Buffer::new(CHUNK as usize);
    for chunk in written {
        job.cancel.check()?;
        let len = chunk.range.end - chunk.range.start;
        let found = &mut buffer.bytes_mut()[..len as usize];
        to.read(chunk.range.start, found)?;
        if digest(found) != chunk.digest {
            return Err(mismatch(disk, written, chunk, found, to.name));
        }
        advance(len);
    }
    Ok(())
}

/// What differs where, and what that tells of the medium.
fn mismatch(
    disk: &dyn ReadAt,
    written: &[Written],
    chunk: &Written,
    found: &[u8],
    name: &str,
) -> Error {
    let mut wanted = vec![0; found.len()];
    // Only for the message: when the image can not be read again, the chunk alone is named.
    let first = read_padded(disk, chunk.range.start, &mut wanted)
        .ok()
        .and_then(|()| wanted.iter().zip(found).position(|(a, b)| a != b));
    let at = chunk.range.start + first.unwrap_or(0) as u64;
    let same = digest(found);
    let elsewhere = written.iter().find(|other| other.digest == same);
    let (what, hint) = match elsewhere {
        Some(other) if !is_zero(found) => (
            format!(
                "what was written to offset {} is there instead",
                other.range.start
            ),
            "the card has less room than it says: it is a fake. Do not use it",
        ),
        _ if found.iter().all(|&b| b == 0) || found.iter().all(|&b| b == 0xff) => (
            "nothing is there".to_owned(),
            "the card or its reader is probably failing, or the card is a fake: try another reader, then another card",
        ),
        _ => (
            "other bytes are there".to_owned(),
            "the card or its reader is probably failing: try another reader, then another card",
        ),
    };
    Error::verification(format!(
        "{name} does not hold what was written to it: from offset {at} on {what}"
    ))
    .with_hint(hint)
}
