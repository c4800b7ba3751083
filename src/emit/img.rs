//! Raw images, sparse.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::base_copy::{clone_base, copy_base};
use super::options::{Emitted, WriteOptions};
use super::output::{BUFFER, Output, Readers};
use crate::digest::Digest;
use crate::disk::{self, Blocks, CowDisk, PAGE_SIZE, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::{Job, Task};
use crate::parallel::in_order;
use crate::positioned::FileExt;

/// Bases without blocks of their own are read in pieces of this many bytes.
const PIECE: u64 = 4 << 20;

/// Writes `disk` to `path` as a raw image with holes where it is zero.
///
/// A base that is a file is cloned where the file system can, and only what changed is written. A
/// compressed one is decoded in parallel straight to its place.
pub(super) fn write(
    disk: &CowDisk,
    path: &Path,
    options: &WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let size = disk.len();
    let output = Output::create(path, Readers::of(options.private))?;
    let options = Pass {
        digest: options.digest,
        threads: options.threads,
    };
    let mut task = job.progress.begin(label, Some(size));
    let (there, mut sha256) = place_and_hash(disk, &output, options, job, task.as_mut())?;
    if !there {
        // A copy may have been given up half-way.
        let set_len = |len| output.file().set_len(len).map_err(|e| output.explain(e));
        set_len(0)?;
        set_len(size)?;
        let digest = options.digest && sha256.is_none();
        let options = Pass { digest, ..options };
        sha256 = pass(disk, Some(&output), options, job, task.as_mut())?.or(sha256);
    }
    drop(task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        raw_sha256: sha256,
        sha256,
    })
}

/// How the disk is gone over.
#[derive(Clone, Copy)]
struct Pass {
    digest: bool,
    threads: usize,
}

/// Clones or copies a base that is a file and writes what differs from it, while the caller's thread
/// takes the digest. `false` where that cannot be done.
fn place_and_hash(
    disk: &CowDisk,
    output: &Output,
    options: Pass,
    job: &Job,
    task: &mut dyn Task,
) -> Result<(bool, Option<Digest>)> {
    if disk.base().as_file().is_none() {
        output.check_space(data_len(disk)?, job)?;
        return Ok((false, None));
    }
    // Who fails stops the other.
    let job = job.child();
    let stop = &job.cancel;
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

/// SHA-256 of the raw image that `disk` is.
pub fn raw_digest(disk: &CowDisk, threads: usize, job: &Job, label: &str) -> Result<Digest> {
    let options = Pass {
        digest: true,
        threads,
    };
    let mut task = job.progress.begin(label, Some(disk.len()));
    let digest = pass(disk, None, options, job, task.as_mut())?;
    digest.ok_or_else(|| Error::failed("no digest was taken"))
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
    options: Pass,
    job: &Job,
    task: &mut dyn Task,
) -> Result<Option<Digest>> {
    let pieces = pieces(disk)?;
    let zeros = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let work = |piece: &Piece<'_>| {
        let content = piece.load(disk)?;
        if let (Some(output), Some(bytes)) = (target, content.bytes()) {
            write_data(output.file(), piece.range.start, bytes).map_err(|e| output.explain(e))?;
        }
        let kept = options.digest.then_some(content);
        Ok(kept.unwrap_or(Content::Zeros))
    };
    in_order(
        &pieces,
        options.threads,
        &job.cancel,
        work,
        |piece, content| {
            let len = piece.range.end - piece.range.start;
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
    Ok(options.digest.then(|| Digest::of(hash)))
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
    Block(&'a dyn Blocks, usize),
}

/// What a piece holds.
enum Content {
    Zeros,
    Bytes(Vec<u8>),
    Block(Arc<dyn disk::Content>),
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
            Source::Block(blocks, index) if !disk.is_dirty(self.range.clone()) => {
                blocks.load(index).map(Content::Block)
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
    if let Some(blocks) = disk.base().as_blocks() {
        for (index, range) in blocks.ranges().into_iter().enumerate() {
            at = range.end;
            let source = Source::Block(blocks, index);
            pieces.push(Piece { range, source });
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
