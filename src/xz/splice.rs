//! A disk as an `.xz` file: blocks of the base are copied as they are wherever nothing changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::container::{self, XzBlock, XzLayout};
use super::encode::{Encoded, Encoder};
use super::file::XzFile;
use super::recode::{BaseBlock, EncodedStreams, Recoder, read_disk, zero_block};
use crate::disk::{CowDisk, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;
use crate::parallel::{in_order, lock};

/// Uncompressed bytes of a block where the base has no say, as `xz -T0 -6` makes them.
const BLOCK_SIZE: u64 = 24 << 20;
/// Blocks are copied in pieces of this many bytes.
const PIECE: u64 = 128 << 10;

/// The compressed file that a base image comes from, whose blocks can be used again.
#[derive(Debug, Clone)]
pub struct Splice {
    file: Arc<XzFile>,
    /// What was encoded for one image need not be encoded for the next.
    streams: Arc<EncodedStreams>,
}

impl Splice {
    /// `None` when the blocks of `file` end in another check than those that are written, or when its
    /// content is not `base_len` bytes long.
    pub fn of(file: &Arc<XzFile>, base_len: u64) -> Option<Self> {
        let layout = file.layout();
        let fits = layout.uncompressed_size == base_len && layout.is_crc64();
        fits.then(|| Self {
            file: file.clone(),
            streams: Arc::default(),
        })
    }

    /// Where the blocks are.
    pub fn layout(&self) -> &XzLayout {
        self.file.layout()
    }
}

/// Id and version of what encodes: with the options, it decides the bytes of an image. The number
/// behind `imgbuild-transcode/` changes whenever other bytes are written.
pub const XZ_ENCODER: &str = "imgbuild-transcode/1 liblzma/5.8.4";

/// How to encode. A block that is encoded takes about 200 MB with preset 6, and up to 80 MB when it is
/// transcoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzOptions {
    /// 0 to 9, as for `xz`: for new data, or for all blocks that changed.
    pub preset: u32,
    /// Whether blocks of the base that changed keep what is still good of their compressed data. If
    /// not, they are encoded from the start; with preset 6 the result is what `xz -T0 -6` makes of
    /// the image.
    pub transcode: bool,
}

impl XzOptions {
    /// Small: blocks that changed are encoded as `xz -6` would.
    pub fn best() -> Self {
        Self {
            preset: 6,
            transcode: false,
        }
    }

    /// What made an image, for its record.
    pub fn encoder(&self) -> String {
        match self.transcode {
            true => format!("{XZ_ENCODER} preset {}", self.preset),
            false => {
                let liblzma = XZ_ENCODER.split(' ').nth(1).unwrap_or_default();
                format!("{liblzma} preset {}", self.preset)
            }
        }
    }
}

impl Default for XzOptions {
    /// Fast: transcoding, and preset 1 for new data.
    fn default() -> Self {
        Self {
            preset: 1,
            transcode: true,
        }
    }
}

/// Takes a file as it comes to be.
pub trait Sink {
    /// The next bytes of the file.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// So many bytes of the disk are in it.
    fn done(&mut self, bytes: u64);
}

/// The `.xz` file that a disk becomes.
pub struct SplicedFile<'a> {
    disk: &'a CowDisk,
    base: Option<&'a Splice>,
    options: XzOptions,
    encoder: Encoder,
    layout: Layout,
}

impl<'a> SplicedFile<'a> {
    /// With `base`, which must be the file that the base of `disk` was read from, blocks without a
    /// change are copied. The copied blocks are not decoded: verify the base's digest before.
    pub fn plan(disk: &'a CowDisk, base: Option<&'a Splice>, options: XzOptions) -> Result<Self> {
        Ok(Self {
            disk,
            base,
            options,
            encoder: Encoder::new(options.preset)?,
            layout: Layout::new(disk, base)?,
        })
    }

    /// A guess at the size of the file, bytes.
    pub fn expected_size(&self) -> Result<u64> {
        self.layout.expected_size(self.disk)
    }

    /// Hands the file to `sink`. Blocks are encoded on `threads` threads; the bytes do not depend on
    /// their number.
    pub fn write(&self, threads: usize, cancel: &Cancel, sink: &mut dyn Sink) -> Result<()> {
        let source = self.base.map(|base| base.file.as_ref());
        source.map_or(Ok(()), XzFile::check_len)?;
        let streams = self.base.map(|base| base.streams.clone());
        let maker = Maker {
            disk: self.disk,
            source,
            encoder: self.encoder,
            transcode: self.options.transcode,
            streams: streams.unwrap_or_default(),
            block_size: self.layout.block_size,
            zeros: Mutex::default(),
            cancel,
        };
        sink.write(&container::stream_header())?;
        // Unpadded and uncompressed size of every block.
        let mut records = Vec::with_capacity(self.layout.blocks.len());
        in_order(
            &self.layout.blocks,
            threads,
            cancel,
            |block| maker.make(block),
            |_, ready| {
                let (unpadded, uncompressed) = put(&ready, source, sink)?;
                records.push((unpadded, uncompressed));
                sink.done(uncompressed);
                Ok(())
            },
        )?;
        sink.write(&container::index_and_footer(&records))
    }
}

/// Hands a block to `sink`, and returns its unpadded and its uncompressed size.
fn put(ready: &Ready, source: Option<&XzFile>, sink: &mut dyn Sink) -> Result<(u64, u64)> {
    match (ready, source) {
        (Ready::Copy(block), Some(source)) => {
            copy(block, source, sink)?;
            Ok((block.unpadded_size, block.uncompressed_size))
        }
        (Ready::Block(block, len), _) => {
            sink.write(&block.bytes)?;
            Ok((block.unpadded_size, *len))
        }
        (Ready::Copy(_), None) => Err(Error::failed("there is no base to copy blocks from")),
    }
}

fn copy(block: &XzBlock, source: &XzFile, sink: &mut dyn Sink) -> Result<()> {
    let mut buffer = vec![0; PIECE as usize];
    let (mut at, end) = (block.offset, block.offset + block.total_size());
    while at < end {
        let n = (end - at).min(PIECE) as usize;
        source.read_at(at, &mut buffer[..n])?;
        sink.write(&buffer[..n])?;
        at += n as u64;
    }
    Ok(())
}

fn read_block(source: &XzFile, block: &XzBlock) -> Result<BaseBlock> {
    BaseBlock::read(source, block).context(|| {
        format!(
            "reading {} at byte {}",
            source.path().display(),
            block.offset
        )
    })
}

/// Where one block of the output comes from.
enum BlockSource {
    /// A block of the base as it is.
    Copy(XzBlock),
    /// A range of the disk that differs from the block of the base, if there is one.
    Encode(Range<u64>, Option<XzBlock>),
}

/// A block that is ready to be written.
enum Ready {
    /// A block of the base as it is.
    Copy(XzBlock),
    /// A block, and its uncompressed size.
    Block(Arc<Encoded>, u64),
}

/// The blocks of the output, in order.
struct Layout {
    blocks: Vec<BlockSource>,
    /// Uncompressed size of a full block.
    block_size: u64,
}

impl Layout {
    fn new(disk: &CowDisk, base: Option<&Splice>) -> Result<Self> {
        disk.settle()?;
        let mut blocks = Vec::new();
        let mut at = 0;
        let mut block_size = BLOCK_SIZE;
        if let Some(splice) = base {
            let layout = splice.layout();
            if layout.uncompressed_size != disk.base().len() {
                return Err(Error::failed(format!(
                    "the compressed base holds {} bytes, but the base image has {}",
                    layout.uncompressed_size,
                    disk.base().len()
                ))
                .with_hint("download the base image again"));
            }
            for block in &layout.blocks {
                let range = at..at + block.uncompressed_size;
                at = range.end;
                blocks.push(match disk.is_dirty(range.clone()) {
                    true => BlockSource::Encode(range, Some(*block)),
                    false => BlockSource::Copy(*block),
                });
            }
            block_size = layout
                .blocks
                .iter()
                .map(|b| b.uncompressed_size)
                .max()
                .unwrap_or(at);
        }
        while at < disk.len() {
            let end = (at + BLOCK_SIZE).min(disk.len());
            blocks.push(BlockSource::Encode(at..end, None));
            at = end;
        }
        Ok(Self { blocks, block_size })
    }

    /// A guess at the size of the output: what is copied, and a quarter of what is encoded and not
    /// known to be zero. Raspberry Pi OS packs to about a sixth.
    fn expected_size(&self, disk: &CowDisk) -> Result<u64> {
        let mut sum = 0;
        for block in &self.blocks {
            sum += match block {
                BlockSource::Copy(base) => base.total_size(),
                BlockSource::Encode(range, _) if known_zero(disk, range)? => 0,
                BlockSource::Encode(range, _) => (range.end - range.start) / 4,
            };
        }
        Ok(sum)
    }
}

/// Whether `range` is zero without a look at it.
fn known_zero(disk: &CowDisk, range: &Range<u64>) -> Result<bool> {
    let data = disk.next_data(range.start)?;
    Ok(data.is_none_or(|data| data.start >= range.end))
}

/// Makes blocks.
struct Maker<'a> {
    disk: &'a CowDisk,
    source: Option<&'a XzFile>,
    encoder: Encoder,
    transcode: bool,
    streams: Arc<EncodedStreams>,
    block_size: u64,
    /// Encoded zeros, by length.
    zeros: Mutex<BTreeMap<u64, Arc<Encoded>>>,
    cancel: &'a Cancel,
}

impl Maker<'_> {
    fn make(&self, block: &BlockSource) -> Result<Ready> {
        let (range, base) = match block {
            BlockSource::Copy(base) => return Ok(Ready::Copy(*base)),
            BlockSource::Encode(range, base) => (range.clone(), base.as_ref()),
        };
        let len = range.end - range.start;
        if !known_zero(self.disk, &range)?
            && let Some(block) = self.encode(range, base)?
        {
            return Ok(Ready::Block(Arc::new(block), len));
        }
        Ok(Ready::Block(self.zeros(len)?, len))
    }

    /// `None` if the block is zero.
    fn encode(&self, range: Range<u64>, base: Option<&XzBlock>) -> Result<Option<Encoded>> {
        let len = range.end - range.start;
        let block_size = self.block_size.max(len);
        if self.transcode {
            let base = match (base, self.source) {
                (Some(block), Some(source)) => Some(read_block(source, block)?),
                _ => None,
            };
            let recoder = Recoder {
                disk: self.disk,
                encoder: self.encoder,
                streams: &self.streams,
                cancel: self.cancel,
            };
            let context = || format!("changing the block of the image at byte {}", range.start);
            let block = recoder.recode(base, range.clone(), block_size);
            return block.context(context);
        }
        let mut data = vec![0; len as usize];
        read_disk(self.disk, range.start, &mut data, self.cancel)?;
        if is_zero(&data) {
            return Ok(None);
        }
        self.encoder
            .encode(&data, block_size, self.cancel)
            .map(Some)
    }

    /// A block of zeros.
    fn zeros(&self, len: u64) -> Result<Arc<Encoded>> {
        let mut known = lock(&self.zeros);
        if let Some(block) = known.get(&len) {
            return Ok(block.clone());
        }
        let block_size = self.block_size.max(len);
        let block = Arc::new(match self.transcode {
            true => zero_block(len, block_size),
            false => self
                .encoder
                .encode(&vec![0; len as usize], block_size, self.cancel)?,
        });
        known.insert(len, block.clone());
        Ok(block)
    }
}
