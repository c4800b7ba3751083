//! How a file system is called.

use uuid::Uuid;

use super::superblock;
use crate::disk::{ReadAt, Window};
use crate::error::Result;

/// Offsets in the superblock (<https://docs.kernel.org/filesystems/ext4/super.html>).
const MAGIC: usize = 0x38;
const UUID: usize = 0x68;
const LABEL: usize = 0x78;
const LABEL_LEN: usize = 16;

/// What `UUID=` and `LABEL=` name a file system by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// In lower case.
    pub uuid: String,
    pub label: String,
}

/// The names of the ext4 file system in `window`, from its superblock, which is not checked here;
/// `None` when there is none.
pub fn names(window: &Window) -> Result<Option<Names>> {
    let mut raw = [0; superblock::SIZE];
    if window.len() < superblock::OFFSET + raw.len() as u64 {
        return Ok(None);
    }
    window.read_at(superblock::OFFSET, &mut raw)?;
    if raw[MAGIC..MAGIC + 2] != superblock::MAGIC.to_le_bytes() {
        return Ok(None);
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&raw[UUID..UUID + 16]);
    let label = raw[LABEL..LABEL + LABEL_LEN].split(|b| *b == 0).next();
    Ok(Some(Names {
        uuid: Uuid::from_bytes(uuid).to_string(),
        label: String::from_utf8_lossy(label.unwrap_or_default()).into_owned(),
    }))
}
