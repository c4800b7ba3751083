//! The container of `.xz` files: where the blocks are.
//!
//! Format: “The .xz File Format” 1.2.1, <https://tukaani.org/xz/xz-file-format.txt>; section numbers
//! below are its. Only the headers, the footers, the indexes and the block headers are read, never
//! the compressed data.

use std::ops::Range;

use crate::disk::ReadAt;
use crate::error::{Error, Result, ResultExt};

/// First bytes of an `.xz` file (2.1.1.1).
pub const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";
/// Bytes of a stream header and of a stream footer.
pub const STREAM_HEADER_SIZE: u64 = 12;
/// Stream flags of a stream whose blocks end in a CRC64 (2.1.1.2).
const FLAGS_CRC64: [u8; 2] = [0, 4];
const FILTER_LZMA2: u64 = 0x21;

/// Blocks larger than this, uncompressed, are not taken one by one, as each is held in memory:
/// `xz -T0` makes blocks of 24 MiB.
pub const MAX_BLOCK: u64 = 64 << 20;
/// Indexes larger than this, taken together, are not read: at 24 MiB a block they would tell of about
/// 6 TiB.
const MAX_INDEX: u64 = 2 << 20;
/// Files of more streams than this are not taken apart.
const MAX_STREAMS: usize = 10_000;
/// Padding behind a stream is looked through in pieces of this many bytes.
const PADDING_PIECE: u64 = 64 << 10;

/// What the blocks of a stream end in, to check their content by (2.1.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    None,
    Crc32,
    /// What `xz` writes.
    Crc64,
    Sha256,
}

impl Check {
    /// `None` for those that nobody has given a meaning.
    fn from_flags(flags: [u8; 2]) -> Option<Self> {
        match flags {
            [0, 0] => Some(Self::None),
            [0, 1] => Some(Self::Crc32),
            [0, 4] => Some(Self::Crc64),
            [0, 10] => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Length in bytes.
    pub fn size(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Crc32 => 4,
            Self::Crc64 => 8,
            Self::Sha256 => 32,
        }
    }
}

/// One block of an `.xz` file. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzBlock {
    /// Where its header starts in the file.
    pub offset: u64,
    /// Length of its header, of 8..=1024 and a multiple of 4.
    pub header_size: u64,
    /// Length of header, data and check, without the padding that lies between data and check.
    pub unpadded_size: u64,
    /// Where its content starts in the uncompressed data.
    pub uncompressed_offset: u64,
    pub uncompressed_size: u64,
    /// Dictionary size as the LZMA2 filter properties encode it (5.3.1).
    pub dictionary: u8,
    /// What follows the data.
    pub check: Check,
}

impl XzBlock {
    /// Length in the file, with padding.
    pub fn total_size(&self) -> u64 {
        self.unpadded_size.next_multiple_of(4)
    }

    /// Length of the LZMA2 data, which follows the header.
    pub fn compressed_size(&self) -> u64 {
        self.unpadded_size - self.header_size - self.check.size()
    }

    /// Where its content is in the uncompressed data.
    pub fn range(&self) -> Range<u64> {
        self.uncompressed_offset..self.uncompressed_offset + self.uncompressed_size
    }
}

/// Where the blocks of an `.xz` file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XzLayout {
    /// In the order of the file, of all its streams; never empty. Each is plain LZMA2.
    pub blocks: Vec<XzBlock>,
    /// Length of all content.
    pub uncompressed_size: u64,
    /// Length of the file.
    pub file_size: u64,
    /// Streams in it: files of their own, one behind the other.
    pub streams: usize,
}

impl XzLayout {
    /// Whether `file` starts like an `.xz` file.
    pub fn is_xz(file: &dyn ReadAt) -> Result<bool> {
        let mut magic = [0; MAGIC.len()];
        if file.len() < MAGIC.len() as u64 {
            return Ok(false);
        }
        file.read_at(0, &mut magic)?;
        Ok(magic == MAGIC)
    }

    /// Reads the layout of an `.xz` file.
    ///
    /// `None` when the file is one that its blocks cannot be taken from one by one: no block or
    /// blocks larger than [`MAX_BLOCK`], other filters than LZMA2, checks without a meaning. An error
    /// when it is damaged or cut short.
    pub fn read(file: &dyn ReadAt) -> Result<Option<Self>> {
        Self::read_inner(file).context(|| "reading the layout of the .xz file".into())
    }

    fn read_inner(file: &dyn ReadAt) -> Result<Option<Self>> {
        read_header(file, 0)?;
        // From the end: only there it says how long a stream is.
        let (mut end, mut index_room) = (file.len(), MAX_INDEX);
        let mut streams = Vec::new();
        while end > 0 {
            let Some(stream) = Stream::read(file, end, index_room)? else {
                return Ok(None);
            };
            end = stream.offset;
            index_room -= stream.index_size;
            streams.push(stream);
            if streams.len() > MAX_STREAMS {
                return Ok(None);
            }
        }
        streams.reverse();
        let mut layout = Self {
            blocks: Vec::new(),
            uncompressed_size: 0,
            file_size: file.len(),
            streams: streams.len(),
        };
        for stream in &streams {
            if !layout.add_blocks(file, stream)? {
                return Ok(None);
            }
        }
        Ok((!layout.blocks.is_empty()).then_some(layout))
    }

    /// Whether all blocks can stand in one stream as they are, as those of [`stream_header`]'s.
    pub fn is_crc64(&self) -> bool {
        self.blocks.iter().all(|block| block.check == Check::Crc64)
    }

    /// Index of the block that holds byte `offset` of the content, which must lie in it.
    pub fn block_at(&self, offset: u64) -> usize {
        let after = |block: &XzBlock| block.uncompressed_offset <= offset;
        self.blocks.partition_point(after).saturating_sub(1)
    }

    /// Length of the largest block, uncompressed.
    pub fn largest_block(&self) -> u64 {
        let sizes = self.blocks.iter().map(|block| block.uncompressed_size);
        sizes.max().unwrap_or(0)
    }

    /// Reads the headers of the blocks of `stream`. `false`: one has other filters than LZMA2.
    fn add_blocks(&mut self, file: &dyn ReadAt, stream: &Stream) -> Result<bool> {
        let mut offset = stream.offset + STREAM_HEADER_SIZE;
        self.blocks.reserve_exact(stream.records.len());
        for &(unpadded_size, uncompressed_size) in &stream.records {
            let header = BlockHeader::read(file, offset)?;
            let Some(dictionary) = header.dictionary else {
                return Ok(false);
            };
            let block = XzBlock {
                offset,
                header_size: header.size,
                unpadded_size,
                uncompressed_offset: self.uncompressed_size,
                uncompressed_size,
                dictionary,
                check: stream.check,
            };
            let differs =
                |of_header: Option<u64>, of_index| of_header.is_some_and(|n| n != of_index);
            if unpadded_size <= header.size + stream.check.size()
                || differs(header.compressed, block.compressed_size())
                || differs(header.uncompressed, uncompressed_size)
            {
                return Err(damaged("its index and the header of a block disagree"));
            }
            offset += block.total_size();
            self.uncompressed_size += uncompressed_size;
            self.blocks.push(block);
        }
        Ok(true)
    }
}

/// One stream of a file.
struct Stream {
    offset: u64,
    check: Check,
    index_size: u64,
    /// Unpadded and uncompressed size of every block.
    records: Vec<(u64, u64)>,
}

impl Stream {
    /// Reads the stream that ends at `end`, or before if padding follows it. `None` for what is not
    /// taken block by block.
    fn read(file: &dyn ReadAt, end: u64, index_room: u64) -> Result<Option<Self>> {
        let end = skip_padding(file, end)?;
        let Some(footer) = Footer::read(file, end, index_room)? else {
            return Ok(None);
        };
        let Some(records) = footer.read_index(file)? else {
            return Ok(None);
        };
        // Padded blocks lie between the header and the index.
        let mut total: u64 = STREAM_HEADER_SIZE;
        for (unpadded, _) in &records {
            let padded = unpadded.checked_next_multiple_of(4);
            total = padded
                .and_then(|padded| total.checked_add(padded))
                .filter(|&total| total <= footer.index_offset)
                .ok_or_else(|| damaged("its index tells of more than there is"))?;
        }
        let offset = footer.index_offset - total;
        if read_header(file, offset)? != footer.flags {
            return Err(damaged("its header and footer disagree"));
        }
        Ok(Check::from_flags(footer.flags).map(|check| Self {
            offset,
            check,
            index_size: footer.index_size,
            records,
        }))
    }
}

/// Where the stream ends that ends at `end` or, with stream padding (2.2) behind it, before.
fn skip_padding(file: &dyn ReadAt, end: u64) -> Result<u64> {
    let mut stop = end;
    while stop > 0 {
        let start = stop.saturating_sub(PADDING_PIECE);
        let mut piece = vec![0; (stop - start) as usize];
        file.read_at(start, &mut piece)?;
        if let Some(last) = piece.iter().rposition(|&byte| byte != 0) {
            let found = start + last as u64 + 1;
            // Padding comes in fours. What else ends in zeros is no end of a stream.
            return match (end - found) % 4 {
                0 => Ok(found),
                _ => Err(damaged(CUT_SHORT)),
            };
        }
        stop = start;
    }
    Err(damaged("it holds nothing but zeros"))
}

/// Checks the stream header (2.1.1) at `offset` and returns its flags.
fn read_header(file: &dyn ReadAt, offset: u64) -> Result<[u8; 2]> {
    let mut header = [0; STREAM_HEADER_SIZE as usize];
    if file.len() < 2 * STREAM_HEADER_SIZE + 8 {
        return Err(damaged("it is too short"));
    }
    file.read_at(offset, &mut header)?;
    if header[..6] != MAGIC {
        return Err(match offset {
            0 => Error::failed("it does not start as an .xz file does"),
            _ => damaged("its index tells of less than there is"),
        });
    }
    if crc32fast::hash(&header[6..8]) != le32(&header[8..]) {
        return Err(damaged("the checksum of its header does not match"));
    }
    Ok([header[6], header[7]])
}

struct Footer {
    flags: [u8; 2],
    index_offset: u64,
    index_size: u64,
}

impl Footer {
    /// Reads the stream footer (2.1.2) that ends at `end`. `None` when the index is larger than
    /// `index_room`.
    fn read(file: &dyn ReadAt, end: u64, index_room: u64) -> Result<Option<Self>> {
        let mut footer = [0; STREAM_HEADER_SIZE as usize];
        let at = end
            .checked_sub(STREAM_HEADER_SIZE)
            .filter(|&at| at >= STREAM_HEADER_SIZE)
            .ok_or_else(|| damaged(CUT_SHORT))?;
        file.read_at(at, &mut footer)?;
        if footer[10..] != FOOTER_MAGIC {
            return Err(damaged(CUT_SHORT));
        }
        if crc32fast::hash(&footer[4..10]) != le32(&footer) {
            return Err(damaged("the checksum of its footer does not match"));
        }
        let index_size = (u64::from(le32(&footer[4..])) + 1) * 4;
        if index_size > at - STREAM_HEADER_SIZE {
            return Err(damaged("its index would be larger than the file"));
        }
        Ok((index_size <= index_room).then_some(Self {
            flags: [footer[8], footer[9]],
            index_offset: at - index_size,
            index_size,
        }))
    }

    /// Reads the index (section 4): unpadded and uncompressed size of every block. `None` for blocks
    /// that are too large.
    fn read_index(&self, file: &dyn ReadAt) -> Result<Option<Vec<(u64, u64)>>> {
        let mut index = vec![0; self.index_size as usize];
        file.read_at(self.index_offset, &mut index)?;
        let (body, crc) = index.split_at(index.len() - 4);
        // A damaged footer can tell of an index without a body, and the checksum of nothing is 0.
        if crc32fast::hash(body) != le32(crc) || body.first() != Some(&0) {
            return Err(damaged("the checksum of its index does not match"));
        }
        let mut at = 1;
        let count = vli(body, &mut at)?;
        // Each record takes 2 bytes at least, which bounds what is allocated here.
        if count > body.len() as u64 / 2 {
            return Err(damaged("its index makes no sense"));
        }
        let mut records = Vec::with_capacity(count as usize);
        for _ in 0..count {
            records.push((vli(body, &mut at)?, vli(body, &mut at)?));
        }
        if body.len() - at > 3 || body[at..].iter().any(|&b| b != 0) {
            return Err(damaged("its index makes no sense"));
        }
        let fits = records
            .iter()
            .all(|&(_, size)| (1..=MAX_BLOCK).contains(&size));
        Ok(fits.then_some(records))
    }
}

/// A block header (3.1).
struct BlockHeader {
    size: u64,
    compressed: Option<u64>,
    uncompressed: Option<u64>,
    /// Of its only filter, if that is LZMA2.
    dictionary: Option<u8>,
}

impl BlockHeader {
    fn read(file: &dyn ReadAt, offset: u64) -> Result<Self> {
        let mut first = [0; 1];
        file.read_at(offset, &mut first)?;
        // 0 is where the index starts instead of a block.
        if first[0] == 0 {
            return Err(damaged("a block is missing"));
        }
        let size = (usize::from(first[0]) + 1) * 4;
        let mut header = vec![0; size];
        file.read_at(offset, &mut header)?;
        let (body, crc) = header.split_at(size - 4);
        if crc32fast::hash(body) != le32(crc) {
            return Err(damaged("the checksum of a block header does not match"));
        }
        Self::parse(body, size as u64)
    }

    fn parse(body: &[u8], size: u64) -> Result<Self> {
        let flags = body[1];
        let mut at = 2;
        let mut optional = |bit: u8| match flags & bit {
            0 => Ok(None),
            _ => vli(body, &mut at).map(Some),
        };
        let (compressed, uncompressed) = (optional(0x40)?, optional(0x80)?);
        let plain =
            flags & 0x3f == 0 && vli(body, &mut at)? == FILTER_LZMA2 && vli(body, &mut at)? == 1;
        let dictionary = match plain {
            true => body.get(at).copied().filter(|&bits| bits <= 40),
            false => None,
        };
        let padding = body.get(at + 1..).unwrap_or_default();
        if dictionary.is_some() && padding.iter().any(|&byte| byte != 0) {
            return Err(damaged("the header of a block makes no sense"));
        }
        Ok(Self {
            size,
            compressed,
            uncompressed,
            dictionary,
        })
    }
}

/// Reads a multibyte integer (1.2) at `at` and moves `at` behind it.
fn vli(bytes: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0;
    for (i, &byte) in bytes
        .get(*at..)
        .unwrap_or_default()
        .iter()
        .take(9)
        .enumerate()
    {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            // A zero as last byte would be a second way to write the same number.
            if byte == 0 && i > 0 {
                break;
            }
            *at += i + 1;
            return Ok(value);
        }
    }
    Err(damaged("a number in it makes no sense"))
}

/// Appends `value` as a multibyte integer (1.2); it must be below 2^63.
pub fn put_vli(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The header of a stream whose blocks end in a CRC64.
pub fn stream_header() -> [u8; STREAM_HEADER_SIZE as usize] {
    let mut header = [0; STREAM_HEADER_SIZE as usize];
    header[..6].copy_from_slice(&MAGIC);
    header[6..8].copy_from_slice(&FLAGS_CRC64);
    header[8..].copy_from_slice(&crc32fast::hash(&FLAGS_CRC64).to_le_bytes());
    header
}

/// The index over `records` (unpadded and uncompressed size of every block) and the stream footer.
pub fn index_and_footer(records: &[(u64, u64)]) -> Vec<u8> {
    let mut out = vec![0];
    put_vli(&mut out, records.len() as u64);
    for &(unpadded, uncompressed) in records {
        put_vli(&mut out, unpadded);
        put_vli(&mut out, uncompressed);
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(crc32fast::hash(&out).to_le_bytes());
    let mut tail = ((out.len() / 4 - 1) as u32).to_le_bytes().to_vec();
    tail.extend(FLAGS_CRC64);
    out.extend(crc32fast::hash(&tail).to_le_bytes());
    out.extend(tail);
    out.extend(FOOTER_MAGIC);
    out
}

/// A block header as the multi-threaded encoder of liblzma writes it (3.1): both sizes, one LZMA2
/// filter, and as long as the largest block of `block_size` bytes would need.
pub fn block_header(
    compressed: u64,
    uncompressed: u64,
    block_size: u64,
    dictionary: u8,
) -> Vec<u8> {
    let build = |compressed, uncompressed| {
        let mut header = vec![0, 0xc0];
        put_vli(&mut header, compressed);
        put_vli(&mut header, uncompressed);
        put_vli(&mut header, FILTER_LZMA2);
        put_vli(&mut header, 1);
        header.push(dictionary);
        header
    };
    let mut header = build(compressed, uncompressed);
    let largest = build(block_bound(block_size), block_size).len();
    header.resize(header.len().max(largest).next_multiple_of(4), 0);
    header[0] = (header.len() / 4) as u8;
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header
}

/// `lzma_block_buffer_bound64` of liblzma: what a block of `size` bytes takes at most.
fn block_bound(size: u64) -> u64 {
    let stored = size + size.div_ceil(1 << 16) * 3 + 1;
    stored.next_multiple_of(4) + 92
}

/// Dictionary size in bytes that LZMA2 filter properties of 0 to 40 mean (5.3.1).
pub fn dictionary_size(bits: u8) -> u64 {
    match bits {
        40.. => u64::from(u32::MAX),
        _ => u64::from(2 | (bits & 1)) << (bits / 2 + 11),
    }
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

const CUT_SHORT: &str = "it is cut short: its end is missing";

fn damaged(why: &str) -> Error {
    Error::verification(format!("the file is damaged: {why}"))
        .with_hint("download the image again; the copy at hand is not complete")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_as_the_format_says() {
        assert_eq!(dictionary_size(0), 4 << 10);
        assert_eq!(dictionary_size(1), 6 << 10);
        assert_eq!(dictionary_size(22), 8 << 20);
        assert_eq!(dictionary_size(40), 0xffff_ffff);
    }
}
