//! `.img.gz` images: one gzip member, deflated in pieces by several threads, as `pigz` does it.
//!
//! Format: RFC 1952 and RFC 1951. One member and not one for each piece, because there are readers
//! that take the end of the first member for the end of the file. Each piece begins with no history
//! and ends on a byte boundary (an empty stored block), so pieces can be made in any order.

use std::path::Path;

use flate2::{Compress, Compression, FlushCompress};

use super::chunked::{Packed, Packer, Record, write_chunked};
use super::options::{Emitted, WriteOptions};
use crate::disk::CowDisk;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// Deflate, no flags, no name, no time, no word on the level, “unknown” operating system: nothing
/// in it depends on when and where it is written.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last deflate block without content (fixed Huffman codes).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Writes `disk` to `path` as `.gz`.
pub(super) fn write(
    disk: &CowDisk,
    path: &Path,
    options: &WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let level = u32::try_from(options.packing.gzip_level).ok();
    let Some(level) = level.filter(|level| (1..=9).contains(level)) else {
        let level = options.packing.gzip_level;
        return Err(Error::usage(format!("there is no gzip level {level}"))
            .with_hint("the levels are 1 (fast) to 9 (small); 6 is the default"));
    };
    let packer = Pieces { level };
    write_chunked(disk, path, &packer, options, job, label)
}

struct Pieces {
    level: u32,
}

impl Packer for Pieces {
    fn head(&self) -> Vec<u8> {
        HEADER.to_vec()
    }

    fn pack(&self, data: &[u8]) -> Result<Packed> {
        let failed = || "encoding with gzip".to_owned();
        let mut deflate = Compress::new(Compression::new(self.level), false);
        // What cannot be packed is stored, at 5 bytes for at least 16 KiB.
        let mut bytes = Vec::with_capacity(data.len() + data.len() / 1024 + 1024);
        deflate
            .compress_vec(data, &mut bytes, FlushCompress::Sync)
            .context(failed)?;
        // A flush is complete when it left room.
        if deflate.total_in() != data.len() as u64 || bytes.len() == bytes.capacity() {
            return Err(Error::failed("deflated data are longer than they can be")).context(failed);
        }
        Ok(Packed {
            bytes,
            check: crc32fast::hash(data),
        })
    }

    fn tail(&self, chunks: &[Record]) -> Result<Vec<u8>> {
        let mut crc = crc32fast::Hasher::new();
        for chunk in chunks {
            let next = crc32fast::Hasher::new_with_initial_len(chunk.check, chunk.raw);
            crc.combine(&next);
        }
        let len: u64 = chunks.iter().map(|chunk| chunk.raw).sum();
        let mut tail = LAST_BLOCK.to_vec();
        tail.extend(crc.finalize().to_le_bytes());
        // Modulo 2^32, says the format.
        tail.extend((len as u32).to_le_bytes());
        Ok(tail)
    }
}
