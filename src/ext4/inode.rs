//! What we read and write of an inode ourselves.
//!
//! Format: Documentation/filesystems/ext4/inodes.rst and ifork.rst in the Linux kernel.

use super::bytes::{le16, le32, low16, low32, put16, put32};
use super::group_descriptor::GroupDescriptor;
use super::superblock::Superblock;

const MODE: usize = 0x0;
const LINKS: usize = 0x1A;
const FLAGS: usize = 0x20;
/// `i_block`: the root of the extent tree, 60 bytes.
const ROOT: usize = 0x28;
const GENERATION: usize = 0x64;
const EXTRA_SIZE: usize = 0x80;
const CHECKSUM_LOW: usize = 0x7C;
const CHECKSUM_HIGH: usize = 0x82;

/// `i_flags`: the blocks are in extents; the content is in the inode.
const EXTENTS: u32 = 0x8_0000;
const INLINE_DATA: u32 = 0x1000_0000;
const EXTENT_MAGIC: u16 = 0xF30A;
/// Extents that an inode has room for.
const MOST_EXTENTS: usize = 4;
/// Longest extent that has been written; longer ones stand for blocks that read as zeros.
const LONGEST_EXTENT: u16 = 32_768;

/// A run of blocks that a file has, as the inode itself says.
pub(super) struct Extent {
    /// Offset of its entry in the inode.
    entry: usize,
    pub(super) start: u64,
    pub(super) blocks: u64,
}

impl Extent {
    /// Says in the inode `raw` that the run begins at `start`.
    pub(super) fn put_start(&self, raw: &mut [u8], start: u64) {
        put16(raw, self.entry + 6, low16((start >> 32) as u32));
        put32(raw, self.entry + 8, low32(start));
    }
}

/// Offset in the file system of inode `number`; `None` when there is none.
pub(super) fn offset(sb: &Superblock, groups: &[GroupDescriptor], number: u32) -> Option<u64> {
    let (group, index) = (
        number.checked_sub(1)? / sb.inodes_per_group(),
        (number - 1) % sb.inodes_per_group(),
    );
    let table = groups.get(group as usize)?.inode_table();
    let at = table
        .checked_mul(sb.block_size())?
        .checked_add(u64::from(index) * sb.inode_size())?;
    (at < sb.blocks() * sb.block_size()).then_some(at)
}

/// The extents of the file, folder or long symbolic link in `raw`; none when it is something else,
/// is gone, or has its extents in blocks of their own.
pub(super) fn extents(raw: &[u8]) -> Vec<Extent> {
    let is_ours = matches!(le16(raw, MODE) & 0xF000, 0x4000 | 0x8000 | 0xA000)
        && le16(raw, LINKS) != 0
        && le32(raw, FLAGS) & (EXTENTS | INLINE_DATA) == EXTENTS
        && le16(raw, ROOT) == EXTENT_MAGIC
        && le16(raw, ROOT + 6) == 0;
    let count = match is_ours {
        true => usize::from(le16(raw, ROOT + 2)).min(MOST_EXTENTS),
        false => 0,
    };
    let extent = |index: usize| {
        let entry = ROOT + 12 * (index + 1);
        let len = le16(raw, entry + 4);
        (1..=LONGEST_EXTENT).contains(&len).then(|| Extent {
            entry,
            start: u64::from(le16(raw, entry + 6)) << 32 | u64::from(le32(raw, entry + 8)),
            blocks: u64::from(len),
        })
    };
    (0..count).filter_map(extent).collect()
}

/// Brings the checksum of inode `number` up to date, where there is one.
pub(super) fn seal(sb: &Superblock, number: u32, raw: &mut [u8]) {
    let has_high = raw.len() > 128 && le16(raw, EXTRA_SIZE) >= 4;
    put16(raw, CHECKSUM_LOW, 0);
    if has_high {
        put16(raw, CHECKSUM_HIGH, 0);
    }
    let generation = le32(raw, GENERATION);
    if let Some(crc) = sb.checksums().inode(number, generation, raw) {
        put16(raw, CHECKSUM_LOW, low16(crc));
        if has_high {
            put16(raw, CHECKSUM_HIGH, low16(crc >> 16));
        }
    }
}
