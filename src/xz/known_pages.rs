//! What is known of the blocks of a packed image that are not in memory: which of their pages are
//! zeros, and the content of pages that file systems' metadata are in. Every node reads those again,
//! and so does every later build from the same base, so that they can be kept in a file.
//!
//! The file, all numbers little-endian:
//! ```text
//! magic; u64 length of the packed file; u64 length of the image
//! u32 number of maps; each: u32 block, u32 number of words, words of 64 bits, a set bit for every
//!     page of 4 KiB that is not zero
//! u32 number of pages; each: u32 block, u32 page within the block, u32 length, content
//! SHA-256 of everything before
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::container::XzLayout;
use crate::disk::{PAGE_SIZE, is_zero};

/// What reads of up to this many bytes gave is kept.
const SMALL_READ: usize = 64 << 10;
/// Pages kept: 24 MiB.
const MOST_PAGES: usize = 6 << 10;
const MAGIC: &[u8] = b"imgbuild known pages 1\n";
const DIGEST: usize = 32;

/// Which pages of a block hold anything but zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DataMap(Vec<u64>);

impl DataMap {
    /// Of the content of a block.
    pub fn of(data: &[u8]) -> Self {
        let mut bits = vec![0; data.len().div_ceil(PAGE_SIZE as usize * 64)];
        for (page, bytes) in data.chunks(PAGE_SIZE as usize).enumerate() {
            if !is_zero(bytes) {
                bits[page / 64] |= 1 << (page % 64);
            }
        }
        Self(bits)
    }

    /// Of a block of zeros.
    pub fn zeros() -> Self {
        Self(Vec::new())
    }

    /// Of a block of `len` bytes. `None` for words that tell of pages it has not.
    fn from_words(words: Vec<u64>, len: u64) -> Option<Self> {
        let pages = len.div_ceil(PAGE_SIZE);
        let map = Self(words);
        let last = map.0.len() as u64 * 64;
        let fits = last < pages.next_multiple_of(64) + 64;
        (fits && !(pages..last).any(|page| map.has_data(page))).then_some(map)
    }

    fn has_data(&self, page: u64) -> bool {
        let word = self.0.get((page / 64) as usize);
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// The first run of pages with data at or after `page`.
    pub fn next_run(&self, page: u64) -> Option<Range<u64>> {
        let end = self.0.len() as u64 * 64;
        let start = (page..end).find(|&page| self.has_data(page))?;
        let stop = (start..end).find(|&page| !self.has_data(page));
        Some(start..stop.unwrap_or(end))
    }

    /// Whether the bytes `range` of the block are zeros.
    fn is_zero(&self, range: &Range<u64>) -> bool {
        let run = self.next_run(range.start / PAGE_SIZE);
        run.is_none_or(|run| run.start * PAGE_SIZE >= range.end)
    }
}

/// Maps of blocks whose content was known once, and pages of small reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KnownPages {
    maps: BTreeMap<usize, Arc<DataMap>>,
    /// By block and number within it.
    pages: BTreeMap<(usize, u64), Box<[u8]>>,
}

impl KnownPages {
    /// The map of block `index`.
    pub fn map(&self, index: usize) -> Option<Arc<DataMap>> {
        self.maps.get(&index).cloned()
    }

    /// Remembers the map of block `index`.
    pub fn add_map(&mut self, index: usize, map: DataMap) {
        self.maps.entry(index).or_insert_with(|| Arc::new(map));
    }

    /// How much is known: grows with every map and page.
    pub fn count(&self) -> usize {
        self.maps.len() + self.pages.len()
    }

    /// Fills `buf` with `range` of block `index`, if enough is known to do so.
    pub fn read(&self, index: usize, range: &Range<u64>, buf: &mut [u8]) -> bool {
        let Some(map) = self.maps.get(&index) else {
            return false;
        };
        if map.is_zero(range) {
            buf.fill(0);
            return true;
        }
        if buf.len() > SMALL_READ {
            return false;
        }
        let mut at = range.start;
        while at < range.end {
            let page = at / PAGE_SIZE;
            let stop = ((page + 1) * PAGE_SIZE).min(range.end);
            let out = &mut buf[(at - range.start) as usize..(stop - range.start) as usize];
            let within = (at % PAGE_SIZE) as usize;
            match self.pages.get(&(index, page)) {
                Some(bytes) => match bytes.get(within..within + out.len()) {
                    Some(bytes) => out.copy_from_slice(bytes),
                    None => return false,
                },
                None if !map.has_data(page) => out.fill(0),
                None => return false,
            }
            at = stop;
        }
        true
    }

    /// Keeps the pages that `range` of block `index` touches, whose content is `data`, if they are
    /// few enough.
    pub fn keep(&mut self, index: usize, range: &Range<u64>, data: &[u8]) {
        if range.end - range.start > SMALL_READ as u64 {
            return;
        }
        for page in range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE) {
            if self.pages.len() >= MOST_PAGES {
                return;
            }
            let start = (page * PAGE_SIZE) as usize;
            let stop = (start + PAGE_SIZE as usize).min(data.len());
            if let Some(bytes) = data.get(start..stop)
                && !is_zero(bytes)
            {
                let keep = || bytes.to_vec().into_boxed_slice();
                self.pages.entry((index, page)).or_insert_with(keep);
            }
        }
    }

    /// As a file for later builds from the image with this layout.
    pub fn to_bytes(&self, layout: &XzLayout) -> Vec<u8> {
        let mut bytes = Self::head(layout);
        let number = |bytes: &mut Vec<u8>, n: usize| bytes.extend((n as u32).to_le_bytes());
        number(&mut bytes, self.maps.len());
        for (&index, map) in &self.maps {
            number(&mut bytes, index);
            number(&mut bytes, map.0.len());
            map.0
                .iter()
                .for_each(|word| bytes.extend(word.to_le_bytes()));
        }
        number(&mut bytes, self.pages.len());
        for (&(index, page), content) in &self.pages {
            number(&mut bytes, index);
            number(&mut bytes, page as usize);
            number(&mut bytes, content.len());
            bytes.extend(content);
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) made. `None` when it is damaged or of another image.
    pub fn from_bytes(bytes: &[u8], layout: &XzLayout) -> Option<Self> {
        let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if Sha256::digest(content).as_slice() != digest {
            return None;
        }
        let mut rest = content.strip_prefix(Self::head(layout).as_slice())?;
        let mut known = Self::default();
        for _ in 0..take_number(&mut rest)? {
            let index = take_number(&mut rest)?;
            let len = take_number(&mut rest)?.checked_mul(8)?;
            let words = take(&mut rest, len)?.chunks_exact(8);
            let map = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
            let block = layout.blocks.get(index)?.range();
            known.add_map(
                index,
                DataMap::from_words(map.collect(), block.end - block.start)?,
            );
        }
        for _ in 0..take_number(&mut rest)? {
            let (index, page) = (take_number(&mut rest)?, take_number(&mut rest)?);
            let len = take_number(&mut rest)?;
            let content = take(&mut rest, len)?.to_vec().into_boxed_slice();
            known.pages.insert((index, page as u64), content);
        }
        Some(known)
    }

    fn head(layout: &XzLayout) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(layout.file_size.to_le_bytes());
        bytes.extend(layout.uncompressed_size.to_le_bytes());
        bytes
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xz::container::{Check, XzBlock};

    const PAGE: usize = PAGE_SIZE as usize;

    fn layout() -> XzLayout {
        let block = XzBlock {
            offset: 0,
            header_size: 12,
            unpadded_size: 20,
            uncompressed_offset: 0,
            uncompressed_size: block().len() as u64,
            dictionary: 0,
            check: Check::None,
        };
        XzLayout {
            blocks: vec![block; 5],
            uncompressed_size: 1 << 20,
            file_size: 777,
            streams: 1,
        }
    }

    /// A block whose pages 70 and 71 are not zeros.
    fn block() -> Vec<u8> {
        let mut data = vec![0; 200 * PAGE + 10];
        data[70 * PAGE] = 1;
        data[71 * PAGE + 5] = 1;
        data[200 * PAGE + 9] = 1;
        data
    }

    fn known() -> KnownPages {
        let mut known = KnownPages::default();
        known.add_map(3, DataMap::of(&block()));
        known.add_map(4, DataMap::zeros());
        known.keep(3, &(69 * PAGE_SIZE..70 * PAGE_SIZE + 1), &block());
        known.keep(3, &(200 * PAGE_SIZE + 8..200 * PAGE_SIZE + 9), &block());
        known
    }

    #[test]
    fn maps_know_runs_of_data() {
        let map = DataMap::of(&block());
        assert_eq!(map.next_run(0), Some(70..72));
        assert_eq!(map.next_run(71), Some(71..72));
        assert_eq!(map.next_run(72), Some(200..201));
        assert_eq!(map.next_run(201), None);
        assert!(map.is_zero(&(0..70 * PAGE_SIZE)));
        assert!(!map.is_zero(&(0..70 * PAGE_SIZE + 1)));
        assert!(map.is_zero(&(72 * PAGE_SIZE..200 * PAGE_SIZE)));
    }

    #[test]
    fn reads_only_what_is_known() {
        let known = known();
        let read = |index, range: Range<u64>| {
            let mut buf = vec![0xEE; (range.end - range.start) as usize];
            known.read(index, &range, &mut buf).then_some(buf)
        };
        assert_eq!(
            read(3, 68 * PAGE_SIZE..71 * PAGE_SIZE).map(|b| b[2 * PAGE]),
            Some(1)
        );
        assert_eq!(
            read(3, 200 * PAGE_SIZE + 9..200 * PAGE_SIZE + 10),
            Some(vec![1])
        );
        assert_eq!(read(3, 71 * PAGE_SIZE..72 * PAGE_SIZE), None);
        assert_eq!(read(4, 5..9), Some(vec![0; 4]));
        assert_eq!(read(5, 5..9), None);
    }

    #[test]
    fn a_file_says_the_same_or_is_not_believed() {
        let known = known();
        let bytes = known.to_bytes(&layout());
        assert_eq!(
            KnownPages::from_bytes(&bytes, &layout()).as_ref(),
            Some(&known)
        );
        for cut in [0, 31, 32, 60, bytes.len() - 1] {
            assert_eq!(KnownPages::from_bytes(&bytes[..cut], &layout()), None);
        }
        let mut damaged = bytes.clone();
        damaged[100] ^= 1;
        assert_eq!(KnownPages::from_bytes(&damaged, &layout()), None);
        let other = XzLayout {
            file_size: 778,
            ..layout()
        };
        assert_eq!(KnownPages::from_bytes(&bytes, &other), None);
        let fewer = XzLayout {
            blocks: layout().blocks[..3].to_vec(),
            ..layout()
        };
        assert_eq!(KnownPages::from_bytes(&bytes, &fewer), None);
    }

    #[test]
    fn maps_of_pages_that_are_not_there_are_not_believed() {
        let map = |words: &[u64], len| DataMap::from_words(words.to_vec(), len).is_some();
        let len = 65 * PAGE_SIZE - 5;
        assert!(map(&[], len) && map(&[u64::MAX, 1], len));
        assert!(!map(&[0, 2], len) && !map(&[0, 0, 0], len) && !map(&[0; 9], len));
    }
}
