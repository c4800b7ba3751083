//! Images that are packed in chunks, each by itself: several threads pack, and chunks of zeros are
//! packed once.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use super::output::{Output, Readers};
use super::{BUFFER, Emitted, hex};
use crate::disk::{CowDisk, ReadAt, is_zero};
use crate::error::{Result, ResultExt};
use crate::job::{Job, Task};
use crate::parallel::in_order;

/// Bytes of the image in a chunk. Larger ones pack better by less than a percent; smaller ones are
/// better to seek in and take less memory.
pub(super) const CHUNK: u64 = 4 << 20;

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// As for `zstd` (1 to 22) or `gzip` (1 to 9).
    pub level: i32,
    /// Chunks packed at the same time; each takes about 10 MB at the lower levels. The bytes written
    /// do not depend on it.
    pub threads: usize,
    /// The image holds secrets: nobody but its owner may read it.
    pub private: bool,
}

/// A format made of packed chunks between a head and a tail.
pub(super) trait Packer: Sync {
    /// What the file begins with.
    fn head(&self) -> Vec<u8>;

    /// One chunk, packed so that it does not depend on the others.
    fn pack(&self, data: &[u8]) -> Result<Packed>;

    /// What follows the last of `chunks`.
    fn tail(&self, chunks: &[Record]) -> Result<Vec<u8>>;
}

/// A chunk as it stands in the file.
pub(super) struct Packed {
    pub bytes: Vec<u8>,
    /// A checksum of the chunk's content, where the tail needs one.
    pub check: u32,
}

/// What the tail may have to say about a chunk.
pub(super) struct Record {
    /// Length in the file, bytes.
    pub packed: u64,
    /// Length in the image, bytes.
    pub raw: u64,
    /// [`Packed::check`].
    pub check: u32,
}

/// Writes `disk` to `path`, packed by `packer`, and hashes both the file and the
/// image on the way.
pub(super) fn write_chunked(
    disk: &CowDisk,
    path: &Path,
    packer: &impl Packer,
    options: PackOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let chunks = Chunks {
        disk,
        packer,
        job,
        zeros: Mutex::default(),
    };
    let output = Output::create(path, Readers::of(options.private))?;
    output.check_space(chunks.expected_size()?, job)?;
    let mut writer = Writer {
        output: &output,
        job,
        task: job.progress.begin(label, Some(disk.len())),
        hash: Sha256::new(),
        raw_hash: Sha256::new(),
        size: 0,
        records: Vec::with_capacity(chunks.count()),
    };
    writer.write(&packer.head())?;
    in_order(
        chunks.count(),
        options.threads,
        &job.cancel,
        |index| chunks.pack(index),
        |_, chunk| writer.chunk(&chunk),
    )?;
    writer.write(&packer.tail(&writer.records)?)?;
    let (size, sha256) = (writer.size, hex(&writer.hash.finalize()));
    let raw_sha256 = Some(hex(&writer.raw_hash.finalize()));
    drop(writer.task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        sha256: Some(sha256),
        raw_sha256,
    })
}

/// A packed chunk with its content, which is yet to be hashed.
struct Chunk {
    packed: Arc<Packed>,
    len: u64,
    /// `None`: zeros.
    content: Option<Vec<u8>>,
}

struct Chunks<'a, P> {
    disk: &'a CowDisk,
    packer: &'a P,
    job: &'a Job,
    /// Packed zeros, by length.
    zeros: Mutex<BTreeMap<u64, Arc<Packed>>>,
}

impl<P: Packer> Chunks<'_, P> {
    fn count(&self) -> usize {
        self.disk.len().div_ceil(CHUNK) as usize
    }

    /// Where chunk `index` begins, and its length.
    fn place(&self, index: usize) -> (u64, u64) {
        let start = index as u64 * CHUNK;
        (start, CHUNK.min(self.disk.len() - start))
    }

    /// Whether a chunk is zero without a look at it.
    fn known_zero(&self, index: usize) -> Result<bool> {
        let (start, len) = self.place(index);
        let data = self.disk.next_data(start)?;
        Ok(data.is_none_or(|data| data.start >= start + len))
    }

    /// A guess at the size of the output: a quarter of what is not known to be zero.
    fn expected_size(&self) -> Result<u64> {
        let mut sum = 0;
        for index in 0..self.count() {
            if !self.known_zero(index)? {
                sum += self.place(index).1 / 4;
            }
        }
        Ok(sum)
    }

    fn pack(&self, index: usize) -> Result<Chunk> {
        self.job.cancel.check()?;
        let (start, len) = self.place(index);
        if self.known_zero(index)? {
            return self.zeros(len);
        }
        let mut content = vec![0; len as usize];
        self.disk
            .read_at(start, &mut content)
            .context(|| format!("reading the image at byte {start}"))?;
        if is_zero(&content) {
            return self.zeros(len);
        }
        let mut packed = self.packer.pack(&content)?;
        // Room for the worst case was taken, and the chunk may wait a while to be written.
        packed.bytes.shrink_to_fit();
        Ok(Chunk {
            packed: Arc::new(packed),
            len,
            content: Some(content),
        })
    }

    fn zeros(&self, len: u64) -> Result<Chunk> {
        let chunk = |packed| Chunk {
            packed,
            len,
            content: None,
        };
        if let Some(packed) = self.known_zeros().get(&len) {
            return Ok(chunk(packed.clone()));
        }
        let packed = Arc::new(self.packer.pack(&vec![0; len as usize])?);
        self.known_zeros().insert(len, packed.clone());
        Ok(chunk(packed))
    }

    fn known_zeros(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Packed>>> {
        self.zeros.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What goes into the output, counted and hashed.
struct Writer<'a> {
    output: &'a Output,
    job: &'a Job,
    task: Box<dyn Task>,
    hash: Sha256,
    raw_hash: Sha256,
    size: u64,
    records: Vec<Record>,
}

impl Writer<'_> {
    fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        self.write(&chunk.packed.bytes)?;
        self.records.push(Record {
            packed: chunk.packed.bytes.len() as u64,
            raw: chunk.len,
            check: chunk.packed.check,
        });
        match &chunk.content {
            Some(content) => self.raw_hash.update(content),
            None => self.hash_zeros(chunk.len),
        }
        self.task.advance(chunk.len);
        Ok(())
    }

    fn hash_zeros(&mut self, mut len: u64) {
        let zeros = [0; 4096];
        while len > 0 {
            let n = len.min(zeros.len() as u64);
            self.raw_hash.update(&zeros[..n as usize]);
            len -= n;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.output.file();
        for piece in bytes.chunks(BUFFER) {
            self.job.cancel.check()?;
            file.write_all(piece).map_err(|e| self.output.explain(e))?;
            self.hash.update(piece);
            self.size += piece.len() as u64;
        }
        Ok(())
    }
}
