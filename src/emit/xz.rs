//! `.img.xz` images: blocks of the base are copied as they are wherever nothing changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::encode::{Encoded, Encoder};
use super::output::{Output, Readers};
use super::recode::{BaseBlock, Memo, Recoder, read_disk, zero_block};
use super::{BUFFER, Emitted, hex};
use crate::disk::xz_container::{self, XzBlock, XzLayout};
use crate::disk::{CowDisk, RawFile, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::{Cancel, Job, Task};
use crate::parallel::in_order;

/// Uncompressed bytes of a block where the base has no say, as `xz -T0 -6` makes them.
const BLOCK_SIZE: u64 = 24 << 20;

/// The compressed file that a base image comes from, whose blocks can be used again.
#[derive(Debug, Clone)]
pub struct XzSplice {
    layout: XzLayout,
    file: PathBuf,
    /// What was encoded for one image need not be encoded for the next.
    memo: Arc<Memo>,
}

impl XzSplice {
    /// Looks at the file that the base comes from. `None` when it is not `.xz`, when its blocks can
    /// not be used one by one, or when its content is not `base_len` bytes long.
    pub fn open(file: &Path, base_len: u64) -> Result<Option<Self>> {
        let compressed = RawFile::open(file)?;
        if !XzLayout::is_xz(&compressed)? {
            return Ok(None);
        }
        let layout =
            XzLayout::read(&compressed).context(|| format!("reading {}", file.display()))?;
        Ok(layout
            .filter(|layout| layout.uncompressed_size == base_len && layout.is_crc64())
            .map(|layout| Self {
                layout,
                file: file.to_owned(),
                memo: Arc::default(),
            }))
    }

    /// Where the blocks are.
    pub fn layout(&self) -> &XzLayout {
        &self.layout
    }
}

/// Id and version of what encodes: with the options, it decides the bytes of an image. The number
/// behind `imgbuild-transcode/` changes whenever other bytes are written.
pub const XZ_ENCODER: &str = "imgbuild-transcode/1 liblzma/5.8.4";

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzOptions {
    /// 0 to 9, as for `xz`: for new data, or for all blocks that changed.
    pub preset: u32,
    /// Whether blocks of the base that changed keep what is still good of their compressed data. If
    /// not, they are encoded from the start; with preset 6 the result is what `xz -T0 -6` makes of
    /// the image.
    pub transcode: bool,
    /// Blocks encoded at the same time; each takes about 200 MB with preset 6, and up to 80 MB when
    /// transcoding. The bytes written do not depend on it.
    pub threads: usize,
    /// The image holds secrets: nobody but its owner may read it.
    pub private: bool,
}

impl XzOptions {
    /// Small: blocks that changed are encoded as `xz -6` would.
    pub fn best() -> Self {
        Self {
            preset: 6,
            transcode: false,
            ..Self::default()
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
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            private: false,
        }
    }
}

/// Writes `disk` to `path` as `.xz`.
///
/// With `base`, which must be the file that the base of `disk` was read from, blocks without a
/// change are copied. The copied blocks are not decoded: verify the base's digest before.
pub fn write_xz(
    disk: &CowDisk,
    base: Option<&XzSplice>,
    path: &Path,
    options: XzOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let encoder = Encoder::new(options.preset)?;
    let plan = Plan::new(disk, base)?;
    let output = Output::create(path, Readers::of(options.private))?;
    output.check_space(plan.expected_size(disk)?, job)?;
    let source = base.map(Source::open).transpose()?;
    let mut writer = Writer {
        output: &output,
        job,
        task: job.progress.begin(label, Some(disk.len())),
        hash: Sha256::new(),
        size: 0,
        records: Vec::with_capacity(plan.pieces.len()),
    };
    writer.write(&xz_container::stream_header())?;
    let work = Work {
        disk,
        source: source.as_ref(),
        encoder,
        transcode: options.transcode,
        memo: base.map(|base| base.memo.clone()).unwrap_or_default(),
        block_size: plan.block_size,
        zeros: Mutex::default(),
        cancel: &job.cancel,
    };
    in_order(
        plan.pieces.len(),
        options.threads,
        &job.cancel,
        |index| work.make(&plan.pieces[index]),
        |_, made| writer.piece(made, source.as_ref()),
    )?;
    let tail = xz_container::index_and_footer(&writer.records);
    writer.write(&tail)?;
    let (size, sha256) = (writer.size, hex(&writer.hash.finalize()));
    drop(writer.task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        sha256: Some(sha256),
        raw_sha256: None,
    })
}

/// Where one block of the output comes from.
enum Piece {
    /// A block of the base as it is.
    Copy(XzBlock),
    /// A range of the disk that differs from the block of the base, if there is one.
    Encode(Range<u64>, Option<XzBlock>),
}

/// A piece that is ready to be written.
enum Made {
    /// A block of the base as it is.
    Copy(XzBlock),
    /// A block, and its uncompressed size.
    Block(Arc<Encoded>, u64),
}

/// The blocks of the output, in order.
struct Plan {
    pieces: Vec<Piece>,
    /// Uncompressed size of a full block.
    block_size: u64,
}

impl Plan {
    fn new(disk: &CowDisk, base: Option<&XzSplice>) -> Result<Self> {
        disk.settle()?;
        let mut pieces = Vec::new();
        let mut at = 0;
        let mut block_size = BLOCK_SIZE;
        if let Some(XzSplice { layout, .. }) = base {
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
                pieces.push(match disk.is_dirty(range.clone()) {
                    true => Piece::Encode(range, Some(*block)),
                    false => Piece::Copy(*block),
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
            pieces.push(Piece::Encode(at..end, None));
            at = end;
        }
        Ok(Self { pieces, block_size })
    }

    /// A guess at the size of the output: what is copied, and a quarter of what is encoded and not
    /// known to be zero. Raspberry Pi OS packs to about a sixth.
    fn expected_size(&self, disk: &CowDisk) -> Result<u64> {
        let mut sum = 0;
        for piece in &self.pieces {
            sum += match piece {
                Piece::Copy(block) => block.total_size(),
                Piece::Encode(range, _) if known_zero(disk, range)? => 0,
                Piece::Encode(range, _) => (range.end - range.start) / 4,
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

/// The compressed file of the base, open.
struct Source {
    file: File,
    path: PathBuf,
}

impl Source {
    fn open(splice: &XzSplice) -> Result<Self> {
        let path = splice.file.clone();
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().context(|| format!("opening {}", path.display()))?;
        if len != splice.layout.file_size {
            return Err(Error::failed(format!(
                "{} changed while it was used",
                path.display()
            )));
        }
        Ok(Self { file, path })
    }

    /// Reads a block.
    fn read(&self, block: &XzBlock) -> Result<BaseBlock> {
        BaseBlock::read(&self.file, block)
            .context(|| format!("reading {} at byte {}", self.path.display(), block.offset))
    }
}

/// What goes into the output, counted and hashed.
struct Writer<'a> {
    output: &'a Output,
    job: &'a Job,
    task: Box<dyn Task>,
    hash: Sha256,
    size: u64,
    /// Unpadded and uncompressed size of every block so far.
    records: Vec<(u64, u64)>,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.output.file();
        for chunk in bytes.chunks(BUFFER) {
            self.job.cancel.check()?;
            file.write_all(chunk).map_err(|e| self.output.explain(e))?;
            self.hash.update(chunk);
            self.size += chunk.len() as u64;
        }
        Ok(())
    }

    fn piece(&mut self, made: Made, source: Option<&Source>) -> Result<()> {
        let (unpadded, uncompressed) = match (made, source) {
            (Made::Copy(block), Some(source)) => {
                self.copy(&block, source)?;
                (block.unpadded_size, block.uncompressed_size)
            }
            (Made::Block(block, len), _) => {
                self.write(&block.bytes)?;
                (block.unpadded_size, len)
            }
            (Made::Copy(_), None) => {
                return Err(Error::failed("there is no base to copy blocks from"));
            }
        };
        self.records.push((unpadded, uncompressed));
        self.task.advance(uncompressed);
        Ok(())
    }

    fn copy(&mut self, block: &XzBlock, source: &Source) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        let (mut at, end) = (block.offset, block.offset + block.total_size());
        while at < end {
            let n = (end - at).min(BUFFER as u64) as usize;
            source
                .file
                .read_exact_at(&mut buffer[..n], at)
                .context(|| format!("reading {} at offset {at}", source.path.display()))?;
            self.write(&buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Makes blocks.
struct Work<'a> {
    disk: &'a CowDisk,
    source: Option<&'a Source>,
    encoder: Encoder,
    transcode: bool,
    memo: Arc<Memo>,
    block_size: u64,
    /// Encoded zeros, by length.
    zeros: Mutex<BTreeMap<u64, Arc<Encoded>>>,
    cancel: &'a Cancel,
}

impl Work<'_> {
    fn make(&self, piece: &Piece) -> Result<Made> {
        let (range, base) = match piece {
            Piece::Copy(block) => return Ok(Made::Copy(*block)),
            Piece::Encode(range, base) => (range.clone(), base.as_ref()),
        };
        let len = range.end - range.start;
        if !known_zero(self.disk, &range)?
            && let Some(block) = self.encode(range, base)?
        {
            return Ok(Made::Block(Arc::new(block), len));
        }
        Ok(Made::Block(self.zeros(len)?, len))
    }

    /// `None` if the block is zero.
    fn encode(&self, range: Range<u64>, base: Option<&XzBlock>) -> Result<Option<Encoded>> {
        let len = range.end - range.start;
        let block_size = self.block_size.max(len);
        if self.transcode {
            let base = match (base, self.source) {
                (Some(block), Some(source)) => Some(source.read(block)?),
                _ => None,
            };
            let recoder = Recoder {
                disk: self.disk,
                encoder: self.encoder,
                memo: &self.memo,
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
        let mut known = self.zeros.lock().unwrap_or_else(|e| e.into_inner());
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
