//! Images that are packed in chunks, each by itself: several threads pack, and chunks of zeros are
//! packed once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};

use super::hashed_file::HashedFile;
use super::options::{Emitted, WriteOptions};
use super::output::{Output, Readers};
use crate::digest::Digest;
use crate::disk::{CowDisk, ReadAt, is_zero};
use crate::error::{Result, ResultExt};
use crate::job::{Job, Task};
use crate::parallel::{in_order, lock};

/// Bytes of the image in a chunk. Larger ones pack better by less than a percent; smaller ones are
/// better to seek in and take less memory.
pub(super) const CHUNK: u64 = 4 << 20;

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
    options: &WriteOptions,
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
        file: HashedFile::new(&output, job),
        task: job.progress.begin(label, Some(disk.len())),
        raw_hash: Sha256::new(),
        records: Vec::new(),
    };
    writer.file.write(&packer.head())?;
    in_order(
        &chunks.ranges(),
        options.threads,
        &job.cancel,
        |range| chunks.pack(range),
        |_, chunk| writer.chunk(&chunk),
    )?;
    writer.file.write(&packer.tail(&writer.records)?)?;
    let (size, sha256) = writer.file.finish();
    let raw_sha256 = Digest::of(writer.raw_hash);
    drop(writer.task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        sha256: Some(sha256),
        raw_sha256: Some(raw_sha256),
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
    /// Where the chunks are.
    fn ranges(&self) -> Vec<Range<u64>> {
        let end = self.disk.len();
        let starts = (0..end).step_by(CHUNK as usize);
        starts.map(|start| start..end.min(start + CHUNK)).collect()
    }

    /// Whether a chunk is zero without a look at it.
    fn known_zero(&self, range: &Range<u64>) -> Result<bool> {
        let data = self.disk.next_data(range.start)?;
        Ok(data.is_none_or(|data| data.start >= range.end))
    }

    /// A guess at the size of the output: a quarter of what is not known to be zero.
    fn expected_size(&self) -> Result<u64> {
        let mut sum = 0;
        for range in self.ranges() {
            if !self.known_zero(&range)? {
                sum += (range.end - range.start) / 4;
            }
        }
        Ok(sum)
    }

    fn pack(&self, range: &Range<u64>) -> Result<Chunk> {
        self.job.cancel.check()?;
        let (start, len) = (range.start, range.end - range.start);
        if self.known_zero(range)? {
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
        lock(&self.zeros)
    }
}

/// What goes into the output, hashed as it is packed and as it was.
struct Writer<'a> {
    file: HashedFile<'a>,
    task: Box<dyn Task>,
    raw_hash: Sha256,
    records: Vec<Record>,
}

impl Writer<'_> {
    fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        self.file.write(&chunk.packed.bytes)?;
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
}
