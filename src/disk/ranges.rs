//! Sets of byte ranges: sorted, apart from each other, and widened to whole pages.

use std::ops::Range;

use super::cow_disk::PAGE_SIZE;
use super::read_at::{ReadAt, is_zero};
use crate::error::{Result, ResultExt};
use crate::job::Cancel;

/// Bytes looked at in one go.
const BUFFER: u64 = 128 * 1024;

/// What a file system needs of the partition it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Byte ranges of the partition that hold something; ascending or not, and they may overlap.
    pub ranges: Vec<Range<u64>>,
    /// Length of the file system in bytes. What is not in `ranges` before it is free.
    pub len: u64,
}

/// Widens `ranges` (bytes) to whole pages of [`PAGE_SIZE`], ends them at `len`, sorts them, and joins
/// those that touch.
pub fn whole_pages(ranges: impl IntoIterator<Item = Range<u64>>, len: u64) -> Vec<Range<u64>> {
    let widen = |range: Range<u64>| {
        let end = range.end.min(len);
        let end = end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(len);
        range.start / PAGE_SIZE * PAGE_SIZE..end.min(len)
    };
    let mut sorted: Vec<_> = ranges
        .into_iter()
        .map(widen)
        .filter(|range| range.start < range.end)
        .collect();
    sorted.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What of `0..len` is in none of `ranges`, which are sorted and do not overlap.
pub fn between(ranges: &[Range<u64>], len: u64) -> Vec<Range<u64>> {
    let starts = std::iter::once(0).chain(ranges.iter().map(|range| range.end));
    let ends = ranges.iter().map(|range| range.start).chain([len]);
    starts
        .zip(ends)
        .filter(|(start, end)| start < end)
        .map(|(start, end)| start..end)
        .collect()
}

/// The pages of `range` that are not zero; runs of them are joined. Holes are not read.
pub fn not_zero(disk: &dyn ReadAt, range: Range<u64>, cancel: &Cancel) -> Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0; BUFFER as usize];
    let mut at = range.start;
    while at < range.end
        && let Some(data) = disk.next_data(at)?
        && data.start < range.end
    {
        // Pieces that end where buffers and pages do, wherever they begin.
        at = at.max(data.start / PAGE_SIZE * PAGE_SIZE);
        let data_end = data.end.checked_next_multiple_of(PAGE_SIZE);
        let data_end = data_end.unwrap_or(range.end).min(range.end);
        while at < data_end {
            cancel.check()?;
            let end = (at / BUFFER * BUFFER).saturating_add(BUFFER).min(data_end);
            let piece = &mut buffer[..(end - at) as usize];
            disk.read_at(at, piece)
                .context(|| format!("reading the image at byte {at}"))?;
            add_pages(&mut found, at, piece);
            at = end;
        }
    }
    Ok(found)
}

/// Adds the pages of `bytes`, which lie at `at`, that are not zero.
fn add_pages(found: &mut Vec<Range<u64>>, at: u64, bytes: &[u8]) {
    let mut start = at;
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = (PAGE_SIZE - start % PAGE_SIZE).min(rest.len() as u64);
        let (page, after) = rest.split_at(len as usize);
        if !is_zero(page) {
            match found.last_mut() {
                Some(last) if last.end == start => last.end = start + len,
                _ => found.push(start..start + len),
            }
        }
        start += len;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::InMemory;

    #[test]
    fn ranges_become_whole_pages_in_order() {
        let ranges = [9000..9001, 0..1, 4096..4097, 20_000..99_999, 5..5];
        assert_eq!(
            whole_pages(ranges, 30_000),
            [0..12_288, 16_384..30_000],
            "sorted, joined, ended with the disk"
        );
        assert_eq!(whole_pages([100..200, 0..u64::MAX], 150), [0..150]);
        assert_eq!(whole_pages([9_000..10_000], 4096), []);
    }

    #[test]
    fn between_is_the_rest() {
        assert_eq!(between(&[], 10), [0..10]);
        assert_eq!(between(&[0..3, 5..10], 10), [3..5]);
        assert_eq!(between(&[2..3], 10), [0..2, 3..10]);
        assert_eq!(between(&[], 0), []);
    }

    #[test]
    fn pages_that_are_not_zero_are_found() {
        let mut bytes = vec![0; 300_000];
        for at in [5000, 131_071, 131_072, 299_999] {
            bytes[at] = 1;
        }
        let disk = InMemory::from(bytes);
        let found = |range| not_zero(&disk, range, &Cancel::default()).unwrap();
        assert_eq!(
            found(0..300_000),
            [4096..8192, 126_976..135_168, 299_008..300_000]
        );
        // Ranges need not begin or end with a page.
        assert_eq!(found(5001..131_072), [126_976..131_072]);
        assert_eq!(found(131_072..131_073), [131_072..131_073]);
        assert_eq!(found(8192..100_000), []);
    }
}
