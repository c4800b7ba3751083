//! Raw images, sparse.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::base_copy::{clone_base, copy_base};
use super::output::{Output, Readers};
use super::{BUFFER, Emitted, hex};
use crate::disk::{Block, CowDisk, PAGE_SIZE, ReadAt, XzImage, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::{Job, Task};
use crate::parallel::in_order;

/// Bases without blocks of their own are read in pieces of this many bytes.
const PIECE: u64 = 4 << 20;

/// How raw images are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImgOptions {
    /// Whether to compute the SHA-256. That takes longer than a copy, and much longer than a clone.
    pub digest: bool,
    /// Threads that read, or decode, and write at the same time.
    pub threads: usize,
    /// The image holds secrets: nobody but its owner may read it.
    pub private: bool,
}

impl Default for ImgOptions {
    fn default() -> Self {
        Self {
            digest: true,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            private: false,
        }
    }
}

/// Writes `disk` to `path` as a raw image with holes where it is zero, hashing it on the way.
pub fn write_img(disk: &CowDisk, path: &Path, job: &Job, label: &str) -> Result<Emitted> {
    write_img_with(disk, path, ImgOptions::default(), job, label)
}

/// Writes `disk` to `path` as a raw image with holes where it is zero.
///
/// A base that is a file is cloned where the file system can, and only what changed is written. A
/// compressed one is decoded in parallel straight to its place.
pub fn write_img_with(
    disk: &CowDisk,
    path: &Path,
    options: ImgOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let size = disk.len();
    let output = Output::create(path, Readers::of(options.private))?;
    let mut task = job.progress.begin(label, Some(size));
    let (there, mut sha256) = place_and_hash(disk, &output, options, job, task.as_mut())?;
    if !there {
        // A copy may have been given up half-way.
        let set_len = |len| output.file().set_len(len).map_err(|e| output.explain(e));
        set_len(0)?;
        set_len(size)?;
        let digest = options.digest && sha256.is_none();
        let options = ImgOptions { digest, ..options };
        sha256 = pass(disk, Some(&output), options, job, task.as_mut())?.or(sha256);
    }
    drop(task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        raw_sha256: sha256.clone(),
        sha256,
    })
}

/// Clones or copies a base that is a file and writes what differs from it, while the caller's thread
/// takes the digest. `false` where that cannot be done.
fn place_and_hash(
    disk: &CowDisk,
    output: &Output,
    options: ImgOptions,
    job: &Job,
    task: &mut dyn Task,
) -> Result<(bool, Option<String>)> {
    if disk.base().as_file().is_none() {
        output.check_space(data_len(disk)?, job)?;
        return Ok((false, None));
    }
    // Who fails stops the other.
    let stop = job.cancel.child();
    let job = Job {
        progress: job.progress.clone(),
        cancel: stop.clone(),
    };
    let (placed, digest) = std::thread::scope(|scope| {
        let placed = scope
            .spawn(|| place(disk, output, options.threads, &job).inspect_err(|_| stop.cancel()));
        let digest = match options.digest {
            true => pass(disk, None, options, &job, task).inspect_err(|_| stop.cancel()),
            false => Ok(None),
        };
        let placed = placed.join();
        (
            placed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            digest,
        )
    });
    match (placed, digest) {
        (Ok(placed), Ok(digest)) => Ok((placed, digest)),
        (Err(one), Err(other)) => Err(one.or_cause(other)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

fn place(disk: &CowDisk, output: &Output, threads: usize, job: &Job) -> Result<bool> {
    let base = disk.base().as_ref();
    if !clone_base(base, output, job)? {
        output.check_space(data_len(disk)?, job)?;
        if !copy_base(base, output, threads, job)? {
            return Ok(false);
        }
    }
    // A clone is as long as its file is now.
    for len in [base.len(), disk.len()] {
        let set = output.file().set_len(len);
        set.map_err(|e| output.explain(e))?;
    }
    write_changes(disk, output, job)?;
    Ok(true)
}

/// SHA-256 of the raw image that `disk` is, lower-case hexadecimal.
pub fn raw_digest(disk: &CowDisk, threads: usize, job: &Job, label: &str) -> Result<String> {
    let options = ImgOptions {
        digest: true,
        threads,
        private: false,
    };
    let mut task = job.progress.begin(label, Some(disk.len()));
    let digest = pass(disk, None, options, job, task.as_mut())?;
    Ok(digest.unwrap_or_default())
}

/// Bytes that may not be zero.
fn data_len(disk: &CowDisk) -> Result<u64> {
    let (mut at, mut sum) = (0, 0);
    while let Some(data) = disk.next_data(at)? {
        sum += data.end - data.start;
        at = data.end;
    }
    Ok(sum)
}

/// Writes what differs from the base.
fn write_changes(disk: &CowDisk, output: &Output, job: &Job) -> Result<()> {
    let pages = disk.settle()?;
    let mut buffer = vec![0; BUFFER];
    for run in pages.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let mut at = first * PAGE_SIZE;
        let end = ((last + 1) * PAGE_SIZE).min(disk.len());
        while at < end {
            job.cancel.check()?;
            let n = (end - at).min(BUFFER as u64) as usize;
            read(disk, at, &mut buffer[..n])?;
            let file = output.file();
            file.write_all_at(&buffer[..n], at)
                .map_err(|e| output.explain(e))?;
            at += n as u64;
        }
    }
    Ok(())
}

/// Goes over the whole disk: writes it to `target` if there is one, and hashes it if asked to.
/// Threads read, decode and write; the digest is taken on the thread of the caller meanwhile.
fn pass(
    disk: &CowDisk,
    target: Option<&Output>,
    options: ImgOptions,
    job: &Job,
    task: &mut dyn Task,
) -> Result<Option<String>> {
    let pieces = pieces(disk)?;
    let zeros = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let work = |index: usize| {
        let piece = pieces
            .get(index)
            .ok_or_else(|| Error::failed(format!("the image has no piece {index}")))?;
        let content = piece.load(disk)?;
        if let (Some(output), Some(bytes)) = (target, content.bytes()) {
            write_data(output.file(), piece.range.start, bytes).map_err(|e| output.explain(e))?;
        }
        let kept = if options.digest {
            content
        } else {
            Content::Zeros
        };
        Ok((kept, piece.range.end - piece.range.start))
    };
    in_order(
        pieces.len(),
        options.threads,
        &job.cancel,
        work,
        |_, (content, len)| {
            match content.bytes() {
                _ if !options.digest => {}
                Some(bytes) => hash.update(bytes),
                None => {
                    let mut left = len;
                    while left > 0 {
                        job.cancel.check()?;
                        let n = left.min(BUFFER as u64);
                        hash.update(&zeros[..n as usize]);
                        left -= n;
                    }
                }
            }
            task.advance(len);
            Ok(())
        },
    )?;
    Ok(options.digest.then(|| hex(&hash.finalize())))
}

/// A part of the disk that one thread takes at a time.
struct Piece<'a> {
    range: Range<u64>,
    source: Source<'a>,
}

enum Source<'a> {
    Zeros,
    Disk,
    /// A block of the base, which may be changed.
    Block(&'a XzImage, usize),
}

/// What a piece holds.
enum Content {
    Zeros,
    Bytes(Vec<u8>),
    Block(Arc<Block>),
}

impl Content {
    /// `None`: zeros.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Zeros => None,
            Self::Bytes(bytes) => Some(bytes),
            Self::Block(block) => block.data(),
        }
    }
}

impl Piece<'_> {
    fn load(&self, disk: &CowDisk) -> Result<Content> {
        match self.source {
            Source::Zeros => Ok(Content::Zeros),
            Source::Block(image, index) if !disk.is_dirty(self.range.clone()) => {
                image.block(index).map(Content::Block)
            }
            Source::Block(..) | Source::Disk => {
                let mut bytes = vec![0; (self.range.end - self.range.start) as usize];
                for (i, part) in bytes.chunks_mut(BUFFER).enumerate() {
                    read(disk, self.range.start + (i * BUFFER) as u64, part)?;
                }
                Ok(Content::Bytes(bytes))
            }
        }
    }
}

/// The whole disk, in order.
fn pieces(disk: &CowDisk) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    if let Some(image) = disk.base().as_xz() {
        for (index, block) in image.layout().blocks.iter().enumerate() {
            pieces.push(Piece {
                range: block.range(),
                source: Source::Block(image, index),
            });
            at = block.range().end;
        }
    }
    let size = disk.len();
    let mut add = |range: Range<u64>, is_data: bool| {
        let mut start = range.start;
        while start < range.end {
            // Up to a multiple, so that pages stay whole.
            let end = (start + 1).next_multiple_of(PIECE).min(range.end);
            let source = match is_data {
                true => Source::Disk,
                false => Source::Zeros,
            };
            let range = start..end;
            pieces.push(Piece { range, source });
            start = end;
        }
    };
    while let Some(data) = disk.next_data(at)?.filter(|data| data.start < size) {
        // A base that knows nothing better may answer in odd pieces; whole pages keep the holes.
        let end = data.end.next_multiple_of(PAGE_SIZE).min(size);
        add(at..data.start, false);
        add(data.start..end, true);
        at = end;
    }
    add(at..size, false);
    Ok(pieces)
}

fn read(disk: &CowDisk, at: u64, buffer: &mut [u8]) -> Result<()> {
    disk.read_at(at, buffer)
        .context(|| format!("reading the image at byte {at}"))
}

/// Writes `bytes` to offset `at`, without pages that are zero: the file has holes there.
fn write_data(file: &File, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let head = (at.next_multiple_of(PAGE_SIZE) - at).min(bytes.len() as u64) as usize;
    let (first, rest) = bytes.split_at(head);
    let pages = (!first.is_empty())
        .then_some(first)
        .into_iter()
        .chain(rest.chunks(PAGE_SIZE as usize));
    // Neighbouring pages go out in one write, up to the size that costs least.
    let mut run = 0..0;
    let mut done = 0;
    for page in pages {
        let next = done + page.len();
        let zero = is_zero(page);
        if zero || next - run.start > BUFFER {
            file.write_all_at(&bytes[run.clone()], at + run.start as u64)?;
            run = done..done;
        }
        run = match zero {
            true => next..next,
            false => run.start..next,
        };
        done = next;
    }
    file.write_all_at(&bytes[run.clone()], at + run.start as u64)
}
