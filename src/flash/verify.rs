//! Reads back what was written, and says what is wrong with the medium when it differs.

use std::ops::Range;

use super::copy::{CHUNK, Written, blocks, digest, read_padded};
use super::write::Write;
use crate::disk::{AlignedBuffer, ReadAt, is_zero};
use crate::error::{Error, Result};
use crate::job::Job;

/// Reads `written` back and compares digests. The medium must have settled.
pub(super) fn verify(
    disk: &dyn ReadAt,
    written: &[Written],
    from: &Write<'_>,
    advance: &mut dyn FnMut(u64),
    job: &Job,
) -> Result<()> {
    let mut buffer = AlignedBuffer::new(CHUNK as usize);
    for chunk in written {
        job.cancel.check()?;
        let len = chunk.range.end - chunk.range.start;
        let bytes = &mut buffer.bytes_mut()[..len as usize];
        from.read(chunk.range.start, bytes)?;
        let mut rest = &*bytes;
        for (block, wanted) in blocks(&chunk.range).zip(&chunk.digests) {
            let (found, later) = rest.split_at((block.end - block.start) as usize);
            rest = later;
            if digest(found) != *wanted {
                return Err(mismatch(disk, written, &block, found, from.name));
            }
        }
        advance(len);
    }
    Ok(())
}

/// What differs where, and what that tells of the medium.
fn mismatch(
    disk: &dyn ReadAt,
    written: &[Written],
    block: &Range<u64>,
    found: &[u8],
    name: &str,
) -> Error {
    let mut wanted = vec![0; found.len()];
    // Only for the message: when the image cannot be read again, the block alone is named.
    let first = read_padded(disk, block.start, &mut wanted)
        .ok()
        .and_then(|()| wanted.iter().zip(found).position(|(a, b)| a != b));
    let at = block.start + first.unwrap_or(0) as u64;
    let plain = is_zero(found) || found.iter().all(|&byte| byte == 0xff);
    let (what, hint) = match written_elsewhere(written, digest(found)) {
        Some(other) if !plain => (
            format!("what was written to offset {} is there", other.start),
            "the card has less room than it says: it is a fake. Do not use it",
        ),
        _ if plain => (
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

/// Where the content with this digest belongs.
fn written_elsewhere(written: &[Written], found: u64) -> Option<Range<u64>> {
    let all = written
        .iter()
        .flat_map(|chunk| blocks(&chunk.range).zip(&chunk.digests));
    let mut same = all.filter(|(_, digest)| **digest == found);
    same.next().map(|(block, _)| block)
}
