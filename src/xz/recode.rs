//! Blocks that differ from those of the base: what is still good of the base's compressed data is
//! used again, and new data is coded in streams of its own.
//!
//! The steps, for one block:
//! 1. The ranges that differ are read ([`changed_ranges`]).
//! 2. In them, runs of new data of at least [`MIN_RUN`] are found; zeros are not new data. What can
//!    not be compressed is stored; the rest of a run goes to liblzma, once for all images ([`EncodedStreams`]).
//! 3. [`transcode`] puts everything into the block's LZMA2 stream.
//!
//! Blocks keep their size, so that the output is cut as the base is, and a run is no block of its
//! own: LZMA2 can hold stored chunks, and chunks of another encoder after a state reset, anywhere.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::container::{XzBlock, dictionary_size};
use super::encode::{Encoded, Encoder, block};
use super::file::XzFile;
use super::symbols::{Block, Coding, Replacement, transcode, zeros};
use crate::disk::ranges::{not_zero, whole_pages};
use crate::disk::{CowDisk, PAGE_SIZE, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;
use crate::parallel::lock;

/// Bytes of new data in a row that get a stream of their own. Below that, the state reset that a
/// stream costs (1 to 2 KiB) and liblzma's start are not worth it.
const MIN_RUN: usize = 256 << 10;
/// Zeros that end a run. Fewer are cheaper within it.
const MAX_GAP: usize = 64 << 10;
/// A run is judged in pieces of this size: one may hold packed files between plain ones.
const SEGMENT: usize = 512 << 10;
/// From every segment, three samples of this size are looked at.
const SAMPLE: usize = 64 << 10;
/// One divided by the chance that two bytes of a sample are the same: above this, data counts as packed
/// already. A sample of real noise has 255. (Not entropy: logarithms are not the same everywhere.)
const NOISE: u64 = 247;
/// Streams start at multiples of this, whatever the encoder's position bits.
const ALIGNMENT: usize = 16;
/// Dictionary of blocks that are not the base's: 8 MiB, as `xz -6` has.
const DICTIONARY: u8 = 22;
/// Encoded bytes that a [`EncodedStreams`] keeps.
const STREAMS_SIZE: usize = 64 << 20;

/// A block of the base, compressed.
pub(super) struct BaseBlock {
    lzma2: Vec<u8>,
    /// CRC64 of its content.
    check: u64,
    len: u64,
    dictionary: u8,
}

impl BaseBlock {
    /// Reads `block` from the compressed file.
    pub fn read(file: &XzFile, block: &XzBlock) -> Result<Self> {
        let mut lzma2 = vec![0; block.compressed_size() as usize];
        file.read_at(block.offset + block.header_size, &mut lzma2)?;
        let mut check = [0; 8];
        let check_offset = block.offset + block.total_size() - check.len() as u64;
        file.read_at(check_offset, &mut check)?;
        Ok(Self {
            lzma2,
            check: u64::from_le_bytes(check),
            len: block.uncompressed_size,
            dictionary: block.dictionary,
        })
    }

    /// A block of zeros, where the base has nothing.
    fn zeros(len: u64) -> Self {
        let mut check = crc64fast::Digest::new();
        update_zeros(&mut check, len);
        Self {
            lzma2: zeros(len as usize),
            check: check.sum64(),
            len,
            dictionary: DICTIONARY,
        }
    }
}

/// A block of `len` zeros.
pub(super) fn zero_block(len: u64, block_size: u64) -> Encoded {
    let zeros = BaseBlock::zeros(len);
    block(&zeros.lzma2, len, block_size, zeros.dictionary, zeros.check)
}

fn update_zeros(check: &mut crc64fast::Digest, mut len: u64) {
    const ZEROS: [u8; 1 << 14] = [0; 1 << 14];
    while len > 0 {
        let n = len.min(ZEROS.len() as u64);
        check.write(&ZEROS[..n as usize]);
        len -= n;
    }
}

/// Streams that were encoded already, by what they hold: images that get the same files share them.
#[derive(Debug, Default)]
pub(super) struct EncodedStreams {
    streams: Mutex<HashMap<Key, Slot>>,
    /// Bytes of all streams.
    size: Mutex<usize>,
}

/// Digest of the content, preset, dictionary.
type Key = ([u8; 32], u32, u32);
/// Locked while it is being encoded, so that nobody does it twice.
type Slot = Arc<Mutex<Option<Arc<[u8]>>>>;

impl EncodedStreams {
    fn get(&self, key: Key, encode: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<[u8]>> {
        let slot = lock(&self.streams).entry(key).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(stream) = &*slot {
            return Ok(stream.clone());
        }
        let stream: Arc<[u8]> = encode()?.into();
        let mut size = lock(&self.size);
        if *size + stream.len() <= STREAMS_SIZE {
            *size += stream.len();
            *slot = Some(stream.clone());
        }
        Ok(stream)
    }
}

/// New bytes for a part of a block.
struct Change {
    /// Counted from the start of the block.
    start: usize,
    bytes: Vec<u8>,
    parts: Vec<(Range<usize>, Part)>,
}

/// How a part of the bytes is coded.
#[derive(Clone)]
enum Part {
    Edit,
    Stored,
    Stream(Arc<[u8]>),
}

/// What makes blocks of the disk, without encoding what did not change.
pub(super) struct Recoder<'a> {
    pub disk: &'a CowDisk,
    pub encoder: Encoder,
    pub streams: &'a EncodedStreams,
    pub cancel: &'a Cancel,
}

impl Recoder<'_> {
    /// The block of the output that holds `range` of the disk; `base` is the base's block there.
    /// Full blocks of the file hold `block_size` bytes. `None` when all of it is zero.
    pub fn recode(
        &self,
        base: Option<BaseBlock>,
        range: Range<u64>,
        block_size: u64,
    ) -> Result<Option<Encoded>> {
        let ranges = match &base {
            Some(_) => changed_ranges(self.disk, &range),
            // Only what is zero counts, not what is known to be: that depends on where the base lies.
            None => not_zero(self.disk, range.clone(), self.cancel)?,
        };
        let on_zeros = base.is_none();
        let base = base.unwrap_or_else(|| BaseBlock::zeros(range.end - range.start));
        let mut changes = ranges
            .into_iter()
            .map(|changed| self.read(&range, changed, base.dictionary))
            .collect::<Result<Vec<_>>>()?;
        if on_zeros {
            changes.iter_mut().for_each(Change::leave_zeros);
        }
        let patches: Vec<Replacement<'_>> = changes.iter().flat_map(Change::patches).collect();
        let old = Block {
            lzma2: &base.lzma2,
            len: base.len as usize,
            dictionary: dictionary_size(base.dictionary),
        };
        let new = transcode(&old, &patches, self.cancel)?;
        if new.text.len() as u64 == base.len && crc64(&new.text) != base.check {
            return Err(Error::verification(
                "the base is damaged: a block's checksum does not match",
            )
            .with_hint("download the base image again"));
        }
        if is_zero_patched(&new.text, &patches) {
            return Ok(None);
        }
        let check = patched_crc64(&new.text, &patches);
        Ok(Some(block(
            &new.lzma2,
            range.end - range.start,
            block_size,
            base.dictionary,
            check,
        )))
    }

    /// Reads the bytes of `changed`, a part of the block `range`, and decides how they are coded.
    fn read(&self, range: &Range<u64>, changed: Range<u64>, dictionary: u8) -> Result<Change> {
        let start = (changed.start - range.start) as usize;
        let mut bytes = vec![0; (changed.end - changed.start) as usize];
        read_disk(self.disk, changed.start, &mut bytes, self.cancel)?;
        let mut parts = Vec::new();
        let mut at = 0;
        for segment in runs(&bytes).flat_map(|run| segments(&bytes, run)) {
            let (segment, part) = self.part(start, &bytes, segment, dictionary)?;
            parts.push((at..segment.start, Part::Edit));
            at = segment.end;
            parts.push((segment, part));
        }
        parts.push((at..bytes.len(), Part::Edit));
        parts.retain(|(range, _)| !range.is_empty());
        Ok(Change {
            start,
            bytes,
            parts,
        })
    }

    /// How a segment is coded, and from where on: what comes before is edited.
    fn part(
        &self,
        start: usize,
        bytes: &[u8],
        segment: Segment,
        dictionary: u8,
    ) -> Result<(Range<usize>, Part)> {
        let Segment { range, packed } = segment;
        if packed {
            return Ok((range, Part::Stored));
        }
        let fits = |at: usize| {
            let before = at.checked_sub(1).and_then(|i| bytes.get(i));
            // Nothing is known of the byte before the first one, unless there is none.
            let low = before.map_or(start == 0, |&byte| byte < 32);
            (start + at).is_multiple_of(ALIGNMENT) && low
        };
        let Some(from) = range.clone().find(|&at| fits(at)) else {
            return Ok((range, Part::Edit));
        };
        let range = from..range.end;
        let data = bytes.get(range.clone()).unwrap_or_default();
        let encoder = self.encoder.with_dictionary_up_to(dictionary);
        let key = (
            Sha256::digest(data).into(),
            encoder.preset(),
            u32::from(dictionary),
        );
        let stream = self.streams.get(key, || {
            let mut stream = encoder.lzma2(data, self.cancel)?;
            stream.pop();
            Ok(stream)
        })?;
        Ok((range, Part::Stream(stream)))
    }
}

impl Change {
    /// Leaves out what changes nothing in a block of zeros.
    fn leave_zeros(&mut self) {
        let bytes = &self.bytes;
        self.parts
            .retain(|(range, _)| !is_zero(bytes.get(range.clone()).unwrap_or_default()));
    }

    fn patches(&self) -> impl Iterator<Item = Replacement<'_>> {
        self.parts.iter().map(|(range, part)| Replacement {
            start: self.start + range.start,
            bytes: self.bytes.get(range.clone()).unwrap_or_default(),
            coding: match part {
                Part::Edit => Coding::Edit,
                Part::Stored => Coding::Stored,
                Part::Stream(stream) => Coding::Stream(stream),
            },
        })
    }
}

/// The parts of `range` that differ from the base's block.
fn changed_ranges(disk: &CowDisk, range: &Range<u64>) -> Vec<Range<u64>> {
    let pages = disk.dirty_pages(range.clone()).into_iter();
    let changed = pages.map(|page| page * PAGE_SIZE..(page + 1) * PAGE_SIZE);
    whole_pages(changed, range.end)
        .into_iter()
        .map(|changed| changed.start.max(range.start)..changed.end)
        .collect()
}

/// Fills `buf` from the disk at `offset`.
pub(super) fn read_disk(
    disk: &CowDisk,
    offset: u64,
    buf: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    const PIECE: usize = 1 << 20;
    for (i, piece) in buf.chunks_mut(PIECE).enumerate() {
        cancel.check()?;
        let at = offset + (i * PIECE) as u64;
        disk.read_at(at, piece)
            .context(|| format!("reading the image at byte {at}"))?;
    }
    Ok(())
}

/// Long rows of pages that are not zero, with short gaps.
fn runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, page) in bytes.chunks(PAGE_SIZE as usize).enumerate() {
        if is_zero(page) {
            continue;
        }
        let start = i * PAGE_SIZE as usize;
        let end = start + page.len();
        match runs.last_mut() {
            Some(last) if start - last.end <= MAX_GAP => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs.into_iter().filter(|run| run.len() >= MIN_RUN)
}

/// A part of a run.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    range: Range<usize>,
    /// Whether it cannot be compressed.
    packed: bool,
}

/// Cuts a run where compressible data changes to data that is not, and back.
fn segments(bytes: &[u8], run: Range<usize>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = run.start;
    while at < run.end {
        // A short rest is too short to be judged by itself.
        let end = match run.end - at {
            rest if rest < SEGMENT + SAMPLE => run.end,
            _ => at + SEGMENT,
        };
        let packed = is_packed(bytes.get(at..end).unwrap_or_default());
        match segments.last_mut() {
            Some(last) if last.packed == packed => last.range.end = end,
            _ => segments.push(Segment {
                range: at..end,
                packed,
            }),
        }
        at = end;
    }
    segments
}

/// Whether samples of `data` look like noise.
fn is_packed(data: &[u8]) -> bool {
    let last = data.len().saturating_sub(SAMPLE);
    [0, last / 2, last].into_iter().all(|at| {
        let sample = data.get(at..).unwrap_or_default();
        is_noise(sample.get(..SAMPLE).unwrap_or(sample))
    })
}

/// Whether every byte is about as frequent as every other.
fn is_noise(sample: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    for &byte in sample {
        counts[usize::from(byte)] += 1;
    }
    let same: u64 = counts.iter().map(|count| count * count).sum();
    let pairs = (sample.len() as u64).pow(2);
    pairs > NOISE * same
}

fn crc64(bytes: &[u8]) -> u64 {
    let mut check = crc64fast::Digest::new();
    check.write(bytes);
    check.sum64()
}

/// The pieces of `text` with `patches` on top, in order; they go on where the text ends.
fn patched<'a>(text: &'a [u8], patches: &'a [Replacement<'_>]) -> impl Iterator<Item = &'a [u8]> {
    let ends = patches.iter().map(|patch| patch.start + patch.bytes.len());
    let starts = patches.iter().map(|patch| patch.start);
    let kept = std::iter::once(0)
        .chain(ends)
        .zip(starts.chain([text.len()]))
        .map(|(from, to)| text.get(from..to).unwrap_or_default());
    let new = patches.iter().map(|patch| patch.bytes).chain([&[][..]]);
    kept.zip(new).flat_map(|(kept, new)| [kept, new])
}

fn is_zero_patched(text: &[u8], patches: &[Replacement<'_>]) -> bool {
    patched(text, patches).all(is_zero)
}

fn patched_crc64(text: &[u8], patches: &[Replacement<'_>]) -> u64 {
    let mut check = crc64fast::Digest::new();
    patched(text, patches).for_each(|piece| check.write(piece));
    check.sum64()
}
