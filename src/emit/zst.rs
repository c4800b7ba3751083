//! `.img.zst` images: a row of Zstandard frames, with a table by which to seek in them.
//!
//! Format: RFC 8878, and “Zstandard Seekable Format” 0.1.0 (contrib/seekable_format in the zstd
//! sources). The table is in a skippable frame, so every decoder reads the file.

use std::path::Path;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::chunked::{Packed, Packer, Record, write_chunked};
use super::options::{Emitted, WriteOptions};
use crate::disk::CowDisk;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// Magic number of the skippable frame that the seek table is in.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
/// The last four bytes of a seekable file.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// No checksums in the table: the frames have their own.
const DESCRIPTOR: u8 = 0;
/// Number of frames, descriptor, magic number.
const FOOTER_SIZE: usize = 9;

/// Writes `disk` to `path` as `.zst`: frames of 4 MiB of the image, with their length and a checksum,
/// and a seek table.
pub(super) fn write(
    disk: &CowDisk,
    path: &Path,
    options: &WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    if !(1..=22).contains(&options.packing.zstd_level) {
        let level = options.packing.zstd_level;
        return Err(Error::usage(format!("there is no zstd level {level}"))
            .with_hint("the levels are 1 (fast) to 22 (small); 3 is the default"));
    }
    let packer = Frames {
        level: options.packing.zstd_level,
    };
    write_chunked(disk, path, &packer, options, job, label)
}

struct Frames {
    level: i32,
}

impl Packer for Frames {
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    fn pack(&self, data: &[u8]) -> Result<Packed> {
        let compress = || {
            let mut compressor = Compressor::new(self.level)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true))?;
            compressor.compress(data)
        };
        Ok(Packed {
            bytes: compress().context(|| "encoding with zstd".into())?,
            check: 0,
        })
    }

    fn tail(&self, chunks: &[Record]) -> Result<Vec<u8>> {
        let field = |value: u64| {
            u32::try_from(value)
                .map(u32::to_le_bytes)
                .map_err(|_| Error::failed("the image is too large for a zstd seek table"))
        };
        let mut tail = Vec::new();
        tail.extend(SKIPPABLE_MAGIC.to_le_bytes());
        tail.extend(field((chunks.len() * 8 + FOOTER_SIZE) as u64)?);
        for chunk in chunks {
            tail.extend(field(chunk.packed)?);
            tail.extend(field(chunk.raw)?);
        }
        tail.extend(field(chunks.len() as u64)?);
        tail.push(DESCRIPTOR);
        tail.extend(SEEKABLE_MAGIC.to_le_bytes());
        Ok(tail)
    }
}
