//! An `.xz` file, open: opened once, its index read once, for all that is done with its blocks.

use std::path::Path;

use super::container::XzLayout;
use crate::disk::{RawFile, ReadAt};
use crate::error::{Result, ResultExt};

/// An `.xz` file whose blocks can be used one by one.
#[derive(Debug)]
pub struct XzFile {
    file: RawFile,
    layout: XzLayout,
}

impl XzFile {
    /// Opens the file at `path`. `None` when it is not `.xz`, or one whose blocks cannot be used one by
    /// one (see [`XzLayout::read`]).
    pub fn open(path: &Path) -> Result<Option<Self>> {
        Self::of(RawFile::open(path)?)
    }

    /// The same for a file that is open.
    pub fn of(file: RawFile) -> Result<Option<Self>> {
        if !XzLayout::is_xz(&file)? {
            return Ok(None);
        }
        let failed = || format!("reading {}", file.path().display());
        let layout = XzLayout::read(&file).context(failed)?;
        Ok(layout.map(|layout| Self { file, layout }))
    }

    /// Where the blocks are.
    pub fn layout(&self) -> &XzLayout {
        &self.layout
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Fills `buf` with bytes of the file.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, buf)
    }

    /// Errors if the file is not as long as it was.
    pub(super) fn check_len(&self) -> Result<()> {
        self.file.check_len()
    }
}
