//! When a file system was last written, and what it is called.

use crate::disk::{ReadAt, Window};
use crate::error::Result;

/// Offsets of `s_wtime` and `s_wtime_hi` on the partition
/// (<https://docs.kernel.org/filesystems/ext4/super.html>).
const WRITE_TIME: u64 = 1024 + 0x30;
const WRITE_TIME_HIGH: u64 = 1024 + 0x274;
/// Offset and length of `s_volume_name`.
const LABEL: u64 = 1024 + 0x78;
const LABEL_LEN: usize = 16;

/// Unix time (seconds) of the last write, from the superblock, which is not checked here. It is the
/// base's own time, so it gives builds without SOURCE_DATE_EPOCH the same times everywhere.
pub fn last_written(window: &Window) -> Result<i64> {
    let mut low = [0; 4];
    let mut high = [0; 1];
    window.read_at(WRITE_TIME, &mut low)?;
    window.read_at(WRITE_TIME_HIGH, &mut high)?;
    Ok(i64::from(u32::from_le_bytes(low)) | i64::from(high[0]) << 32)
}

/// The label of the file system in `window`; empty when it has none.
pub fn label(window: &Window) -> Result<String> {
    let mut name = [0; LABEL_LEN];
    window.read_at(LABEL, &mut name)?;
    let len = name.iter().position(|b| *b == 0).unwrap_or(LABEL_LEN);
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}
