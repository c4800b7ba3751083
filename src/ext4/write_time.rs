//! When a file system was last written.

use crate::disk::{ReadAt, Window};
use crate::error::Result;

/// Offsets of `s_wtime` and `s_wtime_hi` on the partition
/// (<https://docs.kernel.org/filesystems/ext4/super.html>).
const WRITE_TIME: u64 = 1024 + 0x30;
const WRITE_TIME_HIGH: u64 = 1024 + 0x274;

/// Unix time (seconds) of the last write, from the superblock, which is not checked here. It is the
/// base's own time, so it gives builds without SOURCE_DATE_EPOCH the same times everywhere.
pub fn last_written(window: &Window) -> Result<i64> {
    let mut low = [0; 4];
    let mut high = [0; 1];
    window.read_at(WRITE_TIME, &mut low)?;
    window.read_at(WRITE_TIME_HIGH, &mut high)?;
    Ok(i64::from(u32::from_le_bytes(low)) | i64::from(high[0]) << 32)
}
