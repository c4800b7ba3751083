//! A raw image file as a base.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::read_at::{ReadAt, check_bounds};
use crate::error::{Error, Result, ResultExt};
use crate::positioned::FileExt;

/// A raw (uncompressed) image file, read with `pread`. Holes stay known as zeros.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl RawFile {
    /// Opens `path` read-only.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path);
        Self::of(
            file.context(|| format!("opening disk image {}", path.display()))?,
            path,
        )
    }

    /// The image in `file`, which messages call `path`.
    pub fn of(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata();
        let len = metadata
            .context(|| format!("looking at {}", path.display()))?
            .len();
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Errors if the file is shorter than it was: what is missing must not be taken for zeros.
    pub fn check_len(&self) -> Result<()> {
        let now = self.file.metadata().map(|metadata| metadata.len());
        match now.context(|| format!("looking at {}", self.path.display()))? >= self.len {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "{} became shorter while it was used",
                self.path.display()
            ))
            .with_hint("wait until whatever writes to it is done")),
        }
    }
}

impl ReadAt for RawFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.len)
            .context(|| format!("reading {}", self.path.display()))?;
        self.file
            .read_exact_at(buf, offset)
            .context(|| format!("reading {} at offset {offset}", self.path.display()))
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn next_data(&self, offset: u64) -> Result<Option<std::ops::Range<u64>>> {
        use rustix::fs::{SeekFrom, seek};
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return self.check_len().map(|()| None),
            Err(_) => return Ok((offset < self.len).then_some(offset..self.len)),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.len);
        Ok((start < self.len).then(|| start..end.min(self.len)))
    }
}
