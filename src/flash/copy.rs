//! The way of the bytes: one thread reads the image, another writes, a few buffers go round.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::write::Write;
use crate::disk::{AlignedBuffer, PAGE_SIZE, ReadAt, SECTOR_SIZE, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// Bytes written in one go. Direct writes of this size cost the least (measured: 1.2 to 2 s of CPU
/// time for an image, against 5 to 8 through the page cache), and cards take them whole.
pub(super) const CHUNK: u64 = 4 << 20;
/// Free space of at most this many bytes between what is in use is written along: a card takes one
/// large write sooner than two small ones.
const BRIDGE: u64 = 128 << 10;
/// What bounds the memory: so many chunks are read ahead.
const BUFFERS: usize = 4;
/// The image is read and summed up in blocks that stay in the processor's cache. They begin at
/// multiples of this many bytes of the disk, so that what a card has put elsewhere is known again.
pub(super) const BLOCK: u64 = 128 << 10;

/// So far ahead a page is read, for images that are decoded in blocks: the next block is then decoded
/// while this one is written. Those of Raspberry Pi OS have 24 MiB.
const LOOK_AHEAD: u64 = 24 << 20;

/// What was written where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes of the disk, at most [`CHUNK`].
    pub range: Range<u64>,
    /// Of its blocks: see [`digest`].
    pub digests: Vec<u64>,
}

/// Cuts a range of the disk where blocks end.
pub(super) fn blocks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let (mut at, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        let block = at..(at / BLOCK * BLOCK + BLOCK).min(end);
        at = block.end;
        (!block.is_empty()).then_some(block)
    })
}

/// What tells whether bytes are the same that were written: CRC64. It finds what cards get wrong, at
/// six times the speed of SHA-256, and nobody here has a card made to deceive a checksum.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut crc = crc64fast::Digest::new();
    crc.write(bytes);
    crc.sum64()
}

/// Cuts what of `used` lies in `within` into chunks: whole pages, ascending, none twice, and with the
/// small gaps between them.
pub(super) fn chunks(used: &[Range<u64>], within: Range<u64>) -> Vec<Range<u64>> {
    let pages = |range: &Range<u64>| {
        let end = range.end.checked_next_multiple_of(PAGE_SIZE);
        range.start / PAGE_SIZE * PAGE_SIZE..end.unwrap_or(within.end)
    };
    let mut sorted: Vec<_> = used.iter().filter(|r| !r.is_empty()).map(pages).collect();
    sorted.sort_by_key(|range| range.start);
    let mut chunks: Vec<Range<u64>> = Vec::new();
    let mut at = within.start;
    for range in sorted {
        let gap = range.start.saturating_sub(at);
        if chunks.is_empty() || gap > BRIDGE {
            at = at.max(range.start);
        }
        let end = range.end.min(within.end);
        while at < end {
            let stop = (at / CHUNK * CHUNK + CHUNK).min(end);
            match chunks.last_mut() {
                // Ranges that touch are written together.
                Some(last) if last.end == at && !at.is_multiple_of(CHUNK) => last.end = stop,
                _ => chunks.push(at..stop),
            }
            at = stop;
        }
    }
    chunks
}

/// A chunk on its way from the reader to the writer.
struct Filled {
    buffer: AlignedBuffer,
    written: Written,
    zero: bool,
}

/// Copies `chunks` of `disk` to where `write` leads.
pub(super) fn copy(
    disk: &dyn ReadAt,
    chunks: &[Range<u64>],
    write: &Write<'_>,
    advance: &mut dyn FnMut(u64),
    job: &Job,
) -> Result<Vec<Written>> {
    let (to_writer, filled) = sync_channel(BUFFERS);
    let (to_reader, free) = channel();
    for _ in 0..BUFFERS {
        // The receiver is here, so this does not fail.
        let _ = to_reader.send(AlignedBuffer::new(CHUNK as usize));
    }
    let (to_scout, wanted) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || look_ahead(disk, &wanted));
        scope.spawn(move || read_all(disk, chunks, &free, &to_writer, &to_scout, job));
        // When this one returns early its ends of the channels go, and the reader stops.
        write_all(chunks, filled, to_reader, write, advance, job)
    })
}

fn read_all(
    disk: &dyn ReadAt,
    chunks: &[Range<u64>],
    free: &Receiver<AlignedBuffer>,
    to_writer: &SyncSender<Result<Filled>>,
    to_scout: &SyncSender<u64>,
    job: &Job,
) {
    for (i, range) in chunks.iter().enumerate() {
        let Ok(buffer) = free.recv() else { return };
        let far = |chunk: &&Range<u64>| chunk.start >= range.start + LOOK_AHEAD;
        if let Some(ahead) = chunks[i..].iter().find(far) {
            // The scout may be at something still.
            let _ = to_scout.try_send(ahead.start);
        }
        let filled = fill(disk, range, buffer, job);
        let is_last = filled.is_err();
        if to_writer.send(filled).is_err() || is_last {
            return;
        }
    }
}

/// Reads a page here and there, as it is told, so that it is at hand when its turn comes. An error is
/// for the reader to find.
fn look_ahead(disk: &dyn ReadAt, wanted: &Receiver<u64>) {
    let mut page = [0; PAGE_SIZE as usize];
    while let Ok(at) = wanted.recv() {
        let _ = read_padded(disk, at, &mut page);
    }
}

fn write_all(
    chunks: &[Range<u64>],
    filled: Receiver<Result<Filled>>,
    to_reader: Sender<AlignedBuffer>,
    write: &Write<'_>,
    advance: &mut dyn FnMut(u64),
    job: &Job,
) -> Result<Vec<Written>> {
    let mut all = Vec::with_capacity(chunks.len());
    for _ in chunks {
        job.cancel.check()?;
        let next = filled.recv();
        let Filled {
            buffer,
            written,
            zero,
        } = next.map_err(|_| Error::failed("reading the image stopped early"))??;
        let len = written.range.end - written.range.start;
        let bytes = &buffer.bytes()[..len as usize];
        write.bytes(written.range.start, bytes, zero)?;
        advance(len);
        all.push(written);
        // A reader that is done needs no more buffers.
        let _ = to_reader.send(buffer);
    }
    Ok(all)
}

fn fill(
    disk: &dyn ReadAt,
    range: &Range<u64>,
    mut buffer: AlignedBuffer,
    job: &Job,
) -> Result<Filled> {
    let data = disk.next_data(range.start.min(disk.len()))?;
    let known_zero = data.is_none_or(|data| data.start >= range.end);
    let mut digests = Vec::with_capacity((CHUNK / BLOCK) as usize + 1);
    let mut zero = true;
    let mut rest = buffer.bytes_mut();
    for block in blocks(range) {
        let (bytes, later) = rest.split_at_mut((block.end - block.start) as usize);
        rest = later;
        match known_zero {
            true => bytes.fill(0),
            false => {
                job.cancel.check()?;
                read_padded(disk, block.start, bytes)?;
            }
        }
        zero = zero && (known_zero || is_zero(bytes));
        digests.push(digest(bytes));
    }
    Ok(Filled {
        buffer,
        written: Written {
            range: range.clone(),
            digests,
        },
        zero,
    })
}

/// Reads from the image, with zeros behind its end: a disk has whole sectors.
pub(super) fn read_padded(disk: &dyn ReadAt, at: u64, buf: &mut [u8]) -> Result<()> {
    let available = disk.len().saturating_sub(at).min(buf.len() as u64) as usize;
    let (image, rest) = buf.split_at_mut(available);
    rest.fill(0);
    match image.is_empty() {
        true => Ok(()),
        false => disk
            .read_at(at, image)
            .context(|| format!("reading the image at byte {at}")),
    }
}

/// Length of an image on a disk: in whole sectors.
pub(super) fn whole_sectors(len: u64) -> u64 {
    len.checked_next_multiple_of(SECTOR_SIZE).unwrap_or(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn chunks_are_whole_pages_and_end_where_chunks_do() {
        let used = [9 * MIB + 5..9 * MIB + 6, 0..MIB + 1, 3 * MIB..10 * MIB];
        assert_eq!(
            chunks(&used, MIB..10 * MIB),
            [
                MIB..MIB + 4096,
                3 * MIB..4 * MIB,
                4 * MIB..8 * MIB,
                8 * MIB..10 * MIB
            ]
        );
    }

    #[test]
    fn ranges_that_touch_or_overlap_are_written_once_and_together() {
        let used = [MIB..MIB + 100, MIB + 200..MIB + 5000, MIB + 8192..2 * MIB];
        assert_eq!(chunks(&used, 0..8 * MIB), [MIB..2 * MIB]);
        let far = 3 * MIB + BRIDGE + PAGE_SIZE;
        let used = [MIB..2 * MIB, 2 * MIB + BRIDGE..3 * MIB, far..4 * MIB];
        assert_eq!(chunks(&used, 0..8 * MIB), [MIB..3 * MIB, far..4 * MIB]);
        assert_eq!(chunks(&[0..u64::MAX, 5..9], 0..MIB + 512), [0..MIB + 512]);
        assert_eq!(blocks(&(BLOCK - 5..3 * BLOCK + 1)).count(), 4);
        assert_eq!(blocks(&(5..5)).count(), 0);
        assert_eq!(chunks(&[5..5, 9 * MIB..10 * MIB], 0..MIB), []);
    }
}
