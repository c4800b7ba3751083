//! `.bmap` files: which blocks of an image have to be written to a card, with their digests.
//!
//! Format 2.0 of bmaptool (bmap-tools). A block that is not listed keeps whatever the card held.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::options::Emitted;
use super::output::{BUFFER, Output, Readers};
use crate::digest::Digest;
use crate::disk::ranges::{between, not_zero, whole_pages};
use crate::disk::{CowDisk, PAGE_SIZE, ReadAt};
use crate::error::{Result, ResultExt};
use crate::job::Job;
use crate::parallel::in_order;

/// The longest range with one digest. A reader that verifies has to read all of it first.
const LONGEST: u64 = 64 << 20;

/// Writes the `.bmap` of `disk` to `path`.
///
/// `used` are the byte ranges that are in use, in whole pages. What is free is left out where it is
/// zero, and only there: what a base left behind in free blocks stays what it is on the card as it
/// is in the image. Everything that is not known to be a hole is read.
pub fn write_bmap(
    disk: &CowDisk,
    used: &[Range<u64>],
    path: &Path,
    threads: usize,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let mapped = mapped_ranges(disk, used, job)?;
    let digests = digests(disk, &mapped, threads, job, label)?;
    let text = text(disk.len(), &mapped, &digests)?;
    let output = Output::create(path, Readers::All)?;
    output
        .file()
        .write_all(text.as_bytes())
        .map_err(|e| output.explain(e))?;
    Ok(Emitted {
        path: output.commit()?,
        size: text.len() as u64,
        sha256: Some(Digest::of_bytes(&text)),
        raw_sha256: None,
    })
}

/// What is used or not zero, in pieces of at most [`LONGEST`].
fn mapped_ranges(disk: &CowDisk, used: &[Range<u64>], job: &Job) -> Result<Vec<Range<u64>>> {
    let mut mapped = used.to_vec();
    for free in between(&whole_pages(used.iter().cloned(), disk.len()), disk.len()) {
        mapped.extend(not_zero(disk, free, &job.cancel)?);
    }
    let whole = whole_pages(mapped, disk.len());
    Ok(whole.into_iter().flat_map(pieces).collect())
}

fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(LONGEST as usize)
        .map(move |start| start..end.min(start + LONGEST))
}

/// The SHA-256 of every range.
fn digests(
    disk: &CowDisk,
    ranges: &[Range<u64>],
    threads: usize,
    job: &Job,
    label: &str,
) -> Result<Vec<Digest>> {
    let sum = ranges.iter().map(|r| r.end - r.start).sum();
    let mut task = job.progress.begin(label, Some(sum));
    let mut digests = Vec::with_capacity(ranges.len());
    in_order(
        ranges,
        threads,
        &job.cancel,
        |range| digest(disk, range.clone(), job),
        |range, digest| {
            digests.push(digest);
            task.advance(range.end - range.start);
            Ok(())
        },
    )?;
    Ok(digests)
}

fn digest(disk: &CowDisk, range: Range<u64>, job: &Job) -> Result<Digest> {
    let mut buffer = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let mut at = range.start;
    while at < range.end {
        job.cancel.check()?;
        let n = (range.end - at).min(BUFFER as u64) as usize;
        disk.read_at(at, &mut buffer[..n])
            .context(|| format!("reading the image at byte {at}"))?;
        hash.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(Digest::of(hash))
}

/// The file. Its own digest is taken with zeros in the place of the digest.
fn text(image_size: u64, ranges: &[Range<u64>], digests: &[Digest]) -> Result<String> {
    let blocks = image_size.div_ceil(PAGE_SIZE);
    let count = |range: &Range<u64>| (range.end - range.start).div_ceil(PAGE_SIZE);
    let mapped: u64 = ranges.iter().map(count).sum();
    let mut map = String::new();
    for (range, digest) in ranges.iter().zip(digests) {
        let first = range.start / PAGE_SIZE;
        let place = match count(range) {
            1 => first.to_string(),
            n => format!("{first}-{}", first + n - 1),
        };
        writeln!(map, "        <Range chksum=\"{digest}\"> {place} </Range>")
            .context(|| "writing a block map".into())?;
    }
    let with = |checksum: &str| {
        format!(
            "<?xml version=\"1.0\" ?>\n\
             <!-- The blocks of an image that have to be written to a card; the others are free. -->\n\
             <bmap version=\"2.0\">\n    \
                 <ImageSize> {image_size} </ImageSize>\n    \
                 <BlockSize> {PAGE_SIZE} </BlockSize>\n    \
                 <BlocksCount> {blocks} </BlocksCount>\n    \
                 <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
                 <ChecksumType> sha256 </ChecksumType>\n    \
                 <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    \
                 <BlockMap>\n\
             {map}    \
                 </BlockMap>\n\
             </bmap>\n"
        )
    };
    let digest = Digest::of_bytes(with(&"0".repeat(64)));
    Ok(with(&digest.to_string()))
}
