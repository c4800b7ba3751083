//! The file system as the engine sees it: a device without a journal.
//!
//! The engine would write every block twice, once into the journal. Nothing can crash between
//! two writes to a copy-on-write disk, so the journal is hidden: the superblock is shown without
//! `has_journal`, and gets it back on the way to the disk. That more than halves the writes and
//! leaves the journal as the base image has it. Only right while the journal is empty, which
//! [`Superblock::check_state`] has made sure of.

use fs_ext4::block_io::BlockDevice;
use fs_ext4::error::{Error as EngineError, Result as EngineResult};

use super::features::compat;
use super::superblock::{self, Superblock};
use crate::disk::{ReadAt, Window};
use crate::error::Error;

/// Bytes `OFFSET..END` of the device are the superblock.
const END: u64 = superblock::OFFSET + superblock::SIZE as u64;

/// A [`Window`] that hides the journal of the file system on it.
pub(super) struct JournalShim {
    window: Window,
    /// `s_feature_compat` and `s_journal_inum` as they are on disk.
    real: (u32, u32),
    /// Bytes of the file system: nothing is read or written beyond.
    len: u64,
}

impl JournalShim {
    /// Hides the journal of `sb`, which is the superblock of the file system in `window`.
    pub(super) fn new(window: Window, sb: &Superblock) -> Self {
        Self {
            window,
            real: (sb.compat(), sb.journal_inode()),
            len: sb.blocks() * sb.block_size(),
        }
    }

    /// The superblock as the engine sees it.
    fn shown(&self) -> crate::error::Result<Superblock> {
        let mut raw = [0; superblock::SIZE];
        self.window.read_at(superblock::OFFSET, &mut raw)?;
        let mut sb = Superblock { raw };
        sb.set_journal(self.real.0 & !compat::HAS_JOURNAL, 0);
        sb.seal();
        Ok(sb)
    }

    fn check(&self, offset: u64, len: usize) -> crate::error::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::failed(format!(
                "access to {len} bytes at offset {offset} is past the end of the file system at {}",
                self.len
            ))
            .with_hint("the ext4 file system of the base image is damaged; download it again")),
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> crate::error::Result<()> {
        self.check(offset, buf.len())?;
        self.window.read_at(offset, buf)?;
        if let Some((of_sb, of_buf)) = overlap(offset, buf.len()) {
            buf[of_buf].copy_from_slice(&self.shown()?.raw[of_sb]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> crate::error::Result<()> {
        self.check(offset, data.len())?;
        let Some((of_sb, of_data)) = overlap(offset, data.len()) else {
            return self.window.write_at(offset, data);
        };
        let mut sb = self.shown()?;
        sb.raw[of_sb].copy_from_slice(&data[of_data.clone()]);
        sb.set_journal(self.real.0, self.real.1);
        sb.seal();
        self.window.write_at(offset, &data[..of_data.start])?;
        self.window.write_at(superblock::OFFSET, &sb.raw)?;
        self.window
            .write_at(offset + of_data.end as u64, &data[of_data.end..])
    }
}

/// Where `len` bytes at `offset` meet the superblock: the range in it, and the range in them.
fn overlap(offset: u64, len: usize) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let start = offset.max(superblock::OFFSET);
    let end = (offset + len as u64).min(END);
    (start < end).then(|| {
        let in_sb = (start - superblock::OFFSET) as usize..(end - superblock::OFFSET) as usize;
        let in_buf = (start - offset) as usize..(end - offset) as usize;
        (in_sb, in_buf)
    })
}

/// Our error travels through the engine as an I/O error and comes out with its cause.
fn for_engine(error: Error) -> EngineError {
    EngineError::Io(error.into())
}

impl BlockDevice for JournalShim {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> EngineResult<()> {
        self.read(offset, buf).map_err(for_engine)
    }

    fn size_bytes(&self) -> u64 {
        self.len
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> EngineResult<()> {
        self.write(offset, data).map_err(for_engine)
    }

    fn is_writable(&self) -> bool {
        true
    }
}
