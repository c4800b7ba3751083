//! Which parts of a file system hold something.

use std::ops::Range;

use super::bytes::bit;
use super::group_descriptor::{BLOCK_UNINIT, GroupDescriptor};
use super::preflight;
use super::superblock::Superblock;
use crate::disk::ranges::InUse;
use crate::disk::{ReadAt, Window};
use crate::error::{Result, ResultExt};

/// What the file system in `window` needs. It is checked before.
///
/// Metadata counts as used as a whole: superblock and descriptors with their backups and the blocks
/// kept for more of them, bitmaps, inode tables, journal. A zero in there is as needed as any byte.
pub fn used_ranges(window: &Window) -> Result<InUse> {
    let checked = preflight::check(window)?;
    let (sb, groups) = (&checked.sb, &checked.groups);
    // Below the first block, where there is one before it (blocks of 1 KiB), a boot loader may be.
    let mut blocks = vec![0..sb.first_data_block() + 1];
    blocks.extend(preflight::metadata_blocks(sb, groups)?);
    for (number, group) in groups.iter().enumerate() {
        // A bitmap that was never written: nothing but metadata is in the group.
        if group.flags() & BLOCK_UNINIT == 0 {
            add_used(window, sb, group, number as u64, &mut blocks)?;
        }
    }
    let size = sb.block_size();
    let bytes = |range: Range<u64>| range.start * size..range.end * size;
    Ok(InUse {
        ranges: blocks.into_iter().map(bytes).collect(),
        len: sb.blocks() * size,
    })
}

/// Adds the runs of blocks that the bitmap of a group has as used.
fn add_used(
    window: &Window,
    sb: &Superblock,
    group: &GroupDescriptor,
    number: u64,
    used: &mut Vec<Range<u64>>,
) -> Result<()> {
    let mut bitmap = vec![0; sb.block_size() as usize];
    window
        .read_at(group.block_bitmap() * sb.block_size(), &mut bitmap)
        .context(|| format!("reading the block bitmap of ext4 group {number}"))?;
    let start = sb.group_start(number);
    for index in 0..sb.group_blocks(number) {
        if !bit(&bitmap, index) {
            continue;
        }
        let block = start + index;
        match used.last_mut() {
            Some(last) if last.end == block => last.end += 1,
            _ => used.push(block..block + 1),
        }
    }
    Ok(())
}
