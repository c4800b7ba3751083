//! `.img.xz` images: blocks of the base are copied as they are wherever nothing changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use super::encode::{Encoded, Encoder};
use super::output::Output;
use super::{BUFFER, Emitted, hex};
use crate::disk::xz_container::{self, XzBlock, XzLayout};
use crate::disk::{CowDisk, RawFile, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::{Job, Task};

/// Uncompressed bytes of a block where the base has no say, as `xz -T0 -6` makes them.
const BLOCK_SIZE: u64 = 24 << 20;

/// The compressed file that a base image comes from, whose blocks can be used again.
#[derive(Debug, Clone)]
pub struct XzSplice {
    layout: XzLayout,
    file: PathBuf,
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
            }))
    }

    /// Where the blocks are.
    pub fn layout(&self) -> &XzLayout {
        &self.layout
    }
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzOptions {
    /// 0 to 9, as for `xz`. With 6 the result is what `xz -T0 -6` makes of the image.
    pub preset: u32,
    /// Blocks encoded at the same time; each takes about 200 MB with preset 6. The bytes written do
    /// not depend on it.
    pub threads: usize,
}

impl Default for XzOptions {
    fn default() -> Self {
        Self {
            preset: 6,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
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
    let output = Output::create(path)?;
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
    let queue = Queue::new(disk, &plan, encoder, options.threads, job);
    std::thread::scope(|scope| {
        for _ in 0..queue.threads() {
            scope.spawn(|| queue.work());
        }
        // Whatever happens here, the threads must not wait for it to go on.
        let result = writer.pieces(&plan, source.as_ref(), &queue);
        queue.stop();
        result
    })?;
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
    /// A range of the disk, to be encoded.
    Encode(Range<u64>),
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
                    true => Piece::Encode(range),
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
            pieces.push(Piece::Encode(at..end));
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
                Piece::Encode(range) if known_zero(disk, range)? => 0,
                Piece::Encode(range) => (range.end - range.start) / 4,
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

    fn pieces(&mut self, plan: &Plan, source: Option<&Source>, queue: &Queue<'_>) -> Result<()> {
        let mut encoded = 0;
        for piece in &plan.pieces {
            self.job.cancel.check()?;
            let (unpadded, uncompressed) = match (piece, source) {
                (Piece::Copy(block), Some(source)) => {
                    self.copy(block, source)?;
                    (block.unpadded_size, block.uncompressed_size)
                }
                (Piece::Encode(range), _) => {
                    let block = queue.take(encoded)?;
                    encoded += 1;
                    self.write(&block.bytes)?;
                    (block.unpadded_size, range.end - range.start)
                }
                (Piece::Copy(_), None) => {
                    return Err(Error::failed("there is no base to copy blocks from"));
                }
            };
            self.records.push((unpadded, uncompressed));
            self.task.advance(uncompressed);
        }
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

/// Blocks being encoded by several threads and taken in order. No thread runs more than a few
/// blocks ahead of what has been taken, which bounds the memory.
struct Queue<'a> {
    disk: &'a CowDisk,
    ranges: Vec<Range<u64>>,
    encoder: Encoder,
    block_size: u64,
    threads: usize,
    job: &'a Job,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Index of the next range that nobody works on.
    next: usize,
    /// How many have been taken.
    taken: usize,
    done: BTreeMap<usize, Result<Arc<Encoded>>>,
    /// Encoded zeros, by length.
    zeros: BTreeMap<u64, Arc<Encoded>>,
    stopped: bool,
}

impl<'a> Queue<'a> {
    fn new(disk: &'a CowDisk, plan: &Plan, encoder: Encoder, threads: usize, job: &'a Job) -> Self {
        let range = |piece: &Piece| match piece {
            Piece::Encode(range) => Some(range.clone()),
            Piece::Copy(_) => None,
        };
        Self {
            disk,
            ranges: plan.pieces.iter().filter_map(range).collect(),
            encoder,
            block_size: plan.block_size,
            threads: threads.max(1),
            job,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Threads that have something to do.
    fn threads(&self) -> usize {
        self.threads.min(self.ranges.len())
    }

    /// Waits for the block of range `index`, which is the next one to be taken.
    fn take(&self, index: usize) -> Result<Arc<Encoded>> {
        let mut state = self.lock();
        loop {
            if let Some(block) = state.done.remove(&index) {
                state.taken = index + 1;
                self.changed.notify_all();
                return block;
            }
            if state.stopped {
                return Err(Error::failed("encoding stopped early"));
            }
            state = self.wait(state);
        }
    }

    /// Encodes blocks until there are none left.
    fn work(&self) {
        let _guard = StopOnPanic(self);
        while let Some(index) = self.claim() {
            let block = self.encode(self.ranges[index].clone());
            self.lock().done.insert(index, block);
            self.changed.notify_all();
        }
    }

    /// The next range to encode, as soon as it is not too far ahead.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next >= self.ranges.len() {
                return None;
            }
            if state.next < state.taken + self.threads + 2 {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.wait(state);
        }
    }

    fn encode(&self, range: Range<u64>) -> Result<Arc<Encoded>> {
        let len = range.end - range.start;
        let known_zero = known_zero(self.disk, &range)?;
        let mut data = vec![0; len as usize];
        if !known_zero {
            for (i, chunk) in data.chunks_mut(1 << 20).enumerate() {
                self.job.cancel.check()?;
                let at = range.start + ((i as u64) << 20);
                self.disk
                    .read_at(at, chunk)
                    .context(|| format!("reading the image at byte {at}"))?;
            }
        }
        let zero = known_zero || is_zero(&data);
        if zero && let Some(block) = self.lock().zeros.get(&len) {
            return Ok(block.clone());
        }
        let block = self
            .encoder
            .encode(&data, self.block_size.max(len), &self.job.cancel)?;
        let block = Arc::new(block);
        if zero {
            self.lock().zeros.insert(len, block.clone());
        }
        Ok(block)
    }

    /// Lets all threads come to an end.
    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(guard).unwrap_or_else(|e| e.into_inner())
    }
}

/// A thread that dies must not leave the others waiting for its block.
struct StopOnPanic<'a>(&'a Queue<'a>);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}
