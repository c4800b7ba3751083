//! Disk images out of `.xz`, `.gz`, `.zst` and `.zip`, written with holes where they are zero.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::available_parallelism;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::cache::write_failed;
use super::checksum::CHUNK;
use crate::digest::{Digest, name_of};
use crate::disk::{Content, RawFile, ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::{Job, Task};
use crate::lock::ImageFacts;
use crate::size::human;
use crate::xz::{Block, XzBlock, XzFile, XzImage, XzImageOptions};

const BLOCK: usize = 4096;
/// Threads are given up to stay below this.
const XZ_MEMORY: u64 = 256 << 20;
/// A file that needs more than this to decompress is refused.
const XZ_MEMORY_MAX: u64 = 1 << 30;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Xz,
    Gzip,
    Zstd,
    Zip,
}

impl Format {
    /// The format of `file`, by its first bytes; its name does not matter.
    pub fn of(file: &RawFile) -> Result<Self> {
        let mut head = [0; 6];
        let len = file.len().min(head.len() as u64) as usize;
        if len == 0 {
            return Err(Error::failed(format!("{} is empty", file.path().display()))
                .with_hint("a copy or download may have failed: get the file again"));
        }
        file.read_at(0, &mut head[..len])?;
        Ok(Self::of_bytes(&head[..len]))
    }

    fn of_bytes(head: &[u8]) -> Self {
        const MAGIC: [(&[u8], Format); 4] = [
            (b"\xFD7zXZ\0", Format::Xz),
            (b"\x1F\x8B", Format::Gzip),
            (b"\x28\xB5\x2F\xFD", Format::Zstd),
            (b"PK\x03\x04", Format::Zip),
        ];
        let found = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
        found.map_or(Format::Raw, |(_, format)| *format)
    }
}

/// Compares what is known of the image in `source` with what was found.
pub(super) fn check(known: &ImageFacts, source: &Path, len: u64, digest: &Digest) -> Result<()> {
    check_len(known, source, len)?;
    match &known.sha256 {
        Some(expected) if expected != digest => Err(wrong(source, "sha256", expected, digest)),
        _ => Ok(()),
    }
}

fn check_len(known: &ImageFacts, source: &Path, len: u64) -> Result<()> {
    match known.len {
        Some(expected) if expected != len => Err(wrong(source, "size", &expected, &len)),
        _ => Ok(()),
    }
}

fn wrong(source: &Path, what: &str, expected: &dyn Display, found: &dyn Display) -> Error {
    Error::verification(format!(
        "the image in {} has the wrong {what}: expected {expected}, found {found}",
        source.display()
    ))
    .with_hint(
        "the list of operating systems and the image do not belong together: try again later",
    )
}

/// The blocks of `file`, if it is `.xz` and can be read block by block. `None` for a damaged file,
/// too: to decompress it finds out more about where.
pub(super) fn blocks(file: RawFile) -> Option<XzFile> {
    XzFile::of(file).unwrap_or(None)
}

/// Errors unless the image in `file` is no longer than `limit` bytes, and as long as expected.
pub(super) fn check_blocks(file: &XzFile, expected: &ImageFacts, limit: u64) -> Result<()> {
    let len = file.layout().uncompressed_size;
    if len > limit {
        return Err(too_large(file.path(), limit));
    }
    check_len(expected, file.path(), len)
}

/// Writes the image compressed in `source` to `target`, which must be empty, and returns its
/// length and digest. More than `limit` bytes are refused.
pub(super) fn unpack(
    source: &Path,
    packed: Option<&Arc<XzFile>>,
    format: Format,
    target: &Path,
    expected: &ImageFacts,
    limit: u64,
    job: &Job,
) -> Result<(File, u64, Digest)> {
    let out = File::create(target).context(|| format!("cannot create {}", target.display()))?;
    let mut image = Image {
        file: out,
        path: target,
        source,
        len: 0,
        written: 0,
        hasher: Sha256::new(),
        limit: expected.len.unwrap_or(limit).min(limit),
    };
    match (packed, format) {
        (Some(packed), _) => unpack_blocks(packed, &mut image, job)?,
        (None, Format::Zip) => unpack_zip(source, &mut image, job)?,
        (None, _) => unpack_stream(source, format, &mut image, job)?,
    }
    let (file, len, digest) = image.finish()?;
    check(expected, source, len, &digest)?;
    Ok((file, len, digest))
}

fn unpack_blocks(packed: &Arc<XzFile>, image: &mut Image, job: &Job) -> Result<()> {
    let label = format!("unpacking {}", name_of(image.source));
    each_block(packed, &label, job, |place, block| match block.data() {
        Some(data) => data.chunks(CHUNK).try_for_each(|part| image.append(part)),
        None => image.append_zeros(place.uncompressed_size),
    })
}

/// Decodes all blocks of `packed`, and so compares each with its check.
pub(super) fn verify(packed: &Arc<XzFile>, job: &Job) -> Result<()> {
    let label = format!("verifying {}", name_of(packed.path()));
    each_block(packed, &label, job, |_, _| Ok(()))
}

/// Hands every block to `take`, in order; several are decoded at a time.
fn each_block(
    packed: &Arc<XzFile>,
    label: &str,
    job: &Job,
    mut take: impl FnMut(&XzBlock, &Block) -> Result<()>,
) -> Result<()> {
    let layout = packed.layout();
    let mut task = job.progress.begin(label, Some(layout.file_size));
    // The decoder's dictionary and the block itself, of each thread and of two more that wait.
    let each = layout.largest_block().saturating_mul(3) / 2;
    let fit = (XZ_MEMORY / each.max(1)).saturating_sub(2) as usize;
    let cores = available_parallelism().map_or(1, |threads| threads.get());
    let blocks = XzImage::new(packed.clone(), XzImageOptions::default());
    blocks.blocks_in_order(fit.clamp(1, cores), &job.cancel, |place, block| {
        take(place, block)?;
        task.advance(place.total_size());
        Ok(())
    })
}

fn unpack_stream(source: &Path, format: Format, image: &mut Image, job: &Job) -> Result<()> {
    let file = File::open(source).context(|| format!("cannot read {}", source.display()))?;
    let len = file.metadata().map(|metadata| metadata.len()).ok();
    let task = job
        .progress
        .begin(&format!("unpacking {}", name_of(source)), len);
    let (meter, offset) = Meter::new(file, task);
    let mut reader = decoder(BufReader::with_capacity(CHUNK, meter), format)
        .map_err(|error| broken(error, source, offset.get()))?;
    image.fill(&mut reader, job, &|error| {
        broken(error, source, offset.get())
    })
}

fn unpack_zip(source: &Path, image: &mut Image, job: &Job) -> Result<()> {
    let not_whole = |error: &dyn std::fmt::Display| {
        Error::verification(format!(
            "{} is not a whole zip archive: {error}",
            source.display()
        ))
        .with_hint("it may be truncated: download it again")
    };
    let file = File::open(source).context(|| format!("cannot read {}", source.display()))?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(CHUNK, file))
        .map_err(|error| not_whole(&error))?;
    let index = only_image(&archive, source)?;
    let entry = archive.by_index(index).map_err(|error| not_whole(&error))?;
    let task = job.progress.begin(
        &format!("unpacking {}", name_of(source)),
        Some(entry.size()),
    );
    let (mut meter, offset) = Meter::new(entry, task);
    image.fill(&mut meter, job, &|error| {
        broken(error, source, offset.get())
    })
}

/// The place of the one `.img` in a zip archive.
fn only_image<R: Read + Seek>(archive: &ZipArchive<R>, source: &Path) -> Result<usize> {
    let images: Vec<_> = (0..archive.len())
        .filter_map(|index| {
            let name = archive.name_for_index(index)?.ok()?;
            let is_image = name.to_ascii_lowercase().ends_with(".img");
            is_image.then(|| (index, name.into_owned()))
        })
        .collect();
    match images.as_slice() {
        [(index, _)] => Ok(*index),
        [] => Err(
            Error::failed(format!("{} holds no .img file", source.display()))
                .with_hint("unpack it and name the image in the profile"),
        ),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|(_, name)| name.as_str())
                .take(5)
                .collect();
            Err(Error::failed(format!(
                "{} holds {} .img files ({}), and only one can be the base",
                source.display(),
                several.len(),
                names.join(", ")
            ))
            .with_hint("unpack it and name the image in the profile"))
        }
    }
}

/// Reads what is compressed in `reader`; a raw file is read as it is.
pub(super) fn decoder<'a>(
    reader: impl BufRead + 'a,
    format: Format,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Format::Raw => Box::new(reader),
        Format::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Format::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
        Format::Xz => Box::new(XzStreams {
            decoder: Some(XzDecoder::new_stream(reader, xz_stream()?)),
        }),
        Format::Zip => return Err(io::Error::new(io::ErrorKind::Unsupported, "a zip archive")),
    })
}

fn xz_stream() -> io::Result<Stream> {
    let threads = available_parallelism().map_or(1, |threads| threads.get()) as u32;
    Ok(MtStreamBuilder::new()
        .threads(threads)
        .memlimit_threading(XZ_MEMORY)
        .memlimit_stop(XZ_MEMORY_MAX)
        .decoder()?)
}

/// All streams of an `.xz` file, one after the other: liblzma's threaded decoder, as its Rust
/// wrapper offers it, reads only one.
struct XzStreams<R> {
    decoder: Option<XzDecoder<R>>,
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let n = decoder.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            self.next_stream()?;
        }
        Ok(0)
    }
}

impl<R: BufRead> XzStreams<R> {
    fn next_stream(&mut self) -> io::Result<()> {
        let Some(decoder) = self.decoder.take() else {
            return Ok(());
        };
        let mut reader = decoder.into_inner();
        if skip_padding(&mut reader)? {
            self.decoder = Some(XzDecoder::new_stream(reader, xz_stream()?));
        }
        Ok(())
    }
}

/// Skips the zeros allowed between streams; whether anything follows them.
fn skip_padding(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
        if zeros < buffer.len() {
            reader.consume(zeros);
            return Ok(true);
        }
        reader.consume(zeros);
    }
}

/// Says why decompressing `source` failed after reading `offset` bytes of it.
fn broken(error: io::Error, source: &Path, offset: u64) -> Error {
    let name = source.display();
    match error.kind() {
        // The system's word, not the decoder's.
        _ if error.raw_os_error().is_some() => {
            Error::failed(format!("cannot read {name} at byte {offset}"))
                .with_hint("check the disk that it is on")
        }
        io::ErrorKind::UnexpectedEof => Error::verification(format!(
            "{name} is truncated: it ends after {offset} bytes, in the middle of its data"
        ))
        .with_hint("download it again"),
        _ if error.to_string().contains("memory limit") => Error::failed(format!(
            "{name} needs more than {} of memory to unpack",
            human(XZ_MEMORY_MAX)
        ))
        .with_hint("unpack it with xz and name the .img in the profile"),
        _ => Error::verification(format!("{name} is damaged, somewhere before byte {offset}"))
            .with_hint("download it again"),
    }
    .with_source(error)
}

/// Counts what is read and reports it.
struct Meter<R> {
    inner: R,
    offset: Rc<Cell<u64>>,
    task: Box<dyn Task>,
}

impl<R> Meter<R> {
    fn new(inner: R, task: Box<dyn Task>) -> (Self, Rc<Cell<u64>>) {
        let offset = Rc::new(Cell::new(0));
        let counter = Rc::clone(&offset);
        (
            Self {
                inner,
                offset,
                task,
            },
            counter,
        )
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.offset.set(self.offset.get() + n as u64);
        self.task.advance(n as u64);
        Ok(n)
    }
}

/// A raw image being written, sparse.
struct Image<'a> {
    file: File,
    path: &'a Path,
    source: &'a Path,
    len: u64,
    written: u64,
    hasher: Sha256,
    limit: u64,
}

impl Image<'_> {
    /// Takes everything from `reader`; `broken` explains its errors.
    fn fill(
        &mut self,
        reader: &mut dyn Read,
        job: &Job,
        broken: &dyn Fn(io::Error) -> Error,
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            job.cancel.check()?;
            let n = read_full(reader, &mut buffer).map_err(broken)?;
            if n == 0 {
                return Ok(());
            }
            self.append(&buffer[..n])?;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len + bytes.len() as u64;
        if end > self.limit {
            return Err(too_large(self.source, self.limit));
        }
        self.hasher.update(bytes);
        let mut start = 0;
        while start < bytes.len() {
            let (run, zero) = run_of_blocks(&bytes[start..]);
            if !zero {
                let offset = self.len + start as u64;
                self.write_at(offset, &bytes[start..start + run])?;
            }
            start += run;
        }
        self.len = end;
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(|error| write_failed(error, self.path, self.written))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, mut len: u64) -> Result<()> {
        let zeros = vec![0; CHUNK.min(len as usize)];
        while len > 0 {
            let n = len.min(zeros.len() as u64);
            self.append(&zeros[..n as usize])?;
            len -= n;
        }
        Ok(())
    }

    fn finish(self) -> Result<(File, u64, Digest)> {
        if self.len == 0 {
            return Err(
                Error::failed(format!("the image in {} is empty", self.source.display()))
                    .with_hint("get the file again"),
            );
        }
        self.file
            .set_len(self.len)
            .map_err(|error| write_failed(error, self.path, self.written))?;
        Ok((self.file, self.len, Digest::of(self.hasher)))
    }
}

fn too_large(source: &Path, limit: u64) -> Error {
    Error::refused(format!(
        "{} unpacks to more than {} ({limit} bytes), and no further is read",
        source.display(),
        human(limit)
    ))
    .with_hint("it is not the image it claims to be, or was made to fill disks")
}

/// The length of the first run of blocks that are all zero, or all not, and which of the two.
fn run_of_blocks(bytes: &[u8]) -> (usize, bool) {
    let mut blocks = bytes.chunks(BLOCK);
    let zero = blocks.next().is_some_and(is_zero);
    let more: usize = blocks
        .take_while(|block| is_zero(block) == zero)
        .map(<[u8]>::len)
        .sum();
    (bytes.len().min(BLOCK) + more, zero)
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        assert_eq!(Format::of_bytes(b"\xFD7zXZ\0"), Format::Xz);
        assert_eq!(Format::of_bytes(b"\x1F\x8B\x08"), Format::Gzip);
        assert_eq!(Format::of_bytes(b"\x28\xB5\x2F\xFD.."), Format::Zstd);
        assert_eq!(Format::of_bytes(b"PK\x03\x04.."), Format::Zip);
        assert_eq!(Format::of_bytes(b"PK"), Format::Raw);
    }

    #[test]
    fn runs_end_where_zeros_begin_or_end() {
        let mut bytes = vec![0; 3 * BLOCK + 10];
        assert_eq!(run_of_blocks(&bytes), (3 * BLOCK + 10, true));
        bytes[2 * BLOCK] = 1;
        assert_eq!(run_of_blocks(&bytes), (2 * BLOCK, true));
        assert_eq!(run_of_blocks(&bytes[2 * BLOCK..]), (BLOCK, false));
        assert_eq!(run_of_blocks(&bytes[3 * BLOCK..]), (10, true));
    }
}
