//! Group descriptors: where a group's bitmaps and inodes are, and how many are free.
//!
//! Format: Documentation/filesystems/ext4/group_descr.rst in the Linux kernel.

use super::bytes::{le16, le32, low16, low32, put16, put32};
use super::checksum::Checksums;
use super::superblock::{Superblock, damaged};
use crate::disk::{ReadAt, Window};
use crate::error::{Result, ResultExt};

/// `bg_flags`: the inode bitmap and table have never been written.
pub(super) const INODE_UNINIT: u16 = 1;
/// `bg_flags`: the block bitmap has never been written.
pub(super) const BLOCK_UNINIT: u16 = 2;
/// `bg_flags`: the inode table is zero where it is not used.
pub(super) const INODE_ZEROED: u16 = 4;

const CHECKSUM: usize = 0x1E;

/// One descriptor of 32 or 64 bytes.
#[derive(Clone)]
pub(super) struct GroupDescriptor {
    pub(super) raw: Vec<u8>,
}

impl GroupDescriptor {
    /// A descriptor of zeros for a file system like `sb`.
    pub(super) fn empty(sb: &Superblock) -> Self {
        Self {
            raw: vec![0; sb.descriptor_size() as usize],
        }
    }

    fn has_high(&self) -> bool {
        self.raw.len() >= 64
    }

    fn block(&self, low: usize, high: usize) -> u64 {
        let high = if self.has_high() {
            le32(&self.raw, high)
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(le32(&self.raw, low))
    }

    fn put_block(&mut self, low: usize, high: usize, value: u64) {
        put32(&mut self.raw, low, low32(value));
        if self.has_high() {
            put32(&mut self.raw, high, low32(value >> 32));
        }
    }

    fn count(&self, low: usize, high: usize) -> u32 {
        let high = if self.has_high() {
            le16(&self.raw, high)
        } else {
            0
        };
        u32::from(high) << 16 | u32::from(le16(&self.raw, low))
    }

    fn put_count(&mut self, low: usize, high: usize, value: u32) {
        put16(&mut self.raw, low, low16(value));
        if self.has_high() {
            put16(&mut self.raw, high, low16(value >> 16));
        }
    }

    pub(super) fn block_bitmap(&self) -> u64 {
        self.block(0x0, 0x20)
    }

    pub(super) fn inode_bitmap(&self) -> u64 {
        self.block(0x4, 0x24)
    }

    pub(super) fn inode_table(&self) -> u64 {
        self.block(0x8, 0x28)
    }

    /// Says where the two bitmaps and the inode table begin.
    pub(super) fn place(&mut self, block_bitmap: u64, inode_bitmap: u64, inode_table: u64) {
        self.put_block(0x0, 0x20, block_bitmap);
        self.put_block(0x4, 0x24, inode_bitmap);
        self.put_block(0x8, 0x28, inode_table);
    }

    pub(super) fn free_blocks(&self) -> u32 {
        self.count(0xC, 0x2C)
    }

    pub(super) fn set_free_blocks(&mut self, count: u32) {
        self.put_count(0xC, 0x2C, count);
    }

    pub(super) fn free_inodes(&self) -> u32 {
        self.count(0xE, 0x2E)
    }

    pub(super) fn set_free_inodes(&mut self, count: u32) {
        self.put_count(0xE, 0x2E, count);
    }

    /// Inodes at the end of the table that have never been used.
    pub(super) fn unused_inodes(&self) -> u32 {
        self.count(0x1C, 0x32)
    }

    pub(super) fn set_unused_inodes(&mut self, count: u32) {
        self.put_count(0x1C, 0x32, count);
    }

    pub(super) fn flags(&self) -> u16 {
        le16(&self.raw, 0x12)
    }

    pub(super) fn set_flags(&mut self, flags: u16) {
        put16(&mut self.raw, 0x12, flags);
    }

    /// Whether the stored checksum of the block bitmap is `crc`, as far as it is kept.
    pub(super) fn block_bitmap_checksum_is(&self, crc: u32) -> bool {
        self.checksum_is(0x18, 0x38, crc)
    }

    /// Whether the stored checksum of the inode bitmap is `crc`, as far as it is kept.
    pub(super) fn inode_bitmap_checksum_is(&self, crc: u32) -> bool {
        self.checksum_is(0x1A, 0x3A, crc)
    }

    pub(super) fn set_block_bitmap_checksum(&mut self, crc: u32) {
        self.put_count(0x18, 0x38, crc);
    }

    pub(super) fn set_inode_bitmap_checksum(&mut self, crc: u32) {
        self.put_count(0x1A, 0x3A, crc);
    }

    /// Descriptors of 32 bytes keep only the low half.
    fn checksum_is(&self, low: usize, high: usize, crc: u32) -> bool {
        let mask = if self.has_high() { u32::MAX } else { 0xFFFF };
        self.count(low, high) == crc & mask
    }

    /// Brings the descriptor's own checksum up to date, where there is one.
    pub(super) fn seal(&mut self, checksums: Checksums, group: u64) {
        if let Some(crc) = checksums.descriptor(group as u32, &self.raw) {
            put16(&mut self.raw, CHECKSUM, crc);
        }
    }
}

/// Reads the primary group descriptors and checks their checksums.
pub(super) fn read_all(window: &Window, sb: &Superblock) -> Result<Vec<GroupDescriptor>> {
    let size = sb.descriptor_size() as usize;
    let mut table = vec![0; size * sb.groups() as usize];
    let offset = (sb.first_data_block() + 1) * sb.block_size();
    window
        .read_at(offset, &mut table)
        .context(|| "reading the ext4 group descriptors".into())?;
    let checksums = sb.checksums();
    let mut all = Vec::with_capacity(table.len() / size);
    for (group, raw) in table.chunks_exact(size).enumerate() {
        if let Some(crc) = checksums.descriptor(group as u32, raw) {
            let stored = le16(raw, CHECKSUM);
            if stored != crc {
                return Err(damaged(format_args!(
                    "descriptor of group {group}: checksum is {stored:#06x}, its content gives {crc:#06x}"
                )));
            }
        }
        all.push(GroupDescriptor { raw: raw.to_vec() });
    }
    Ok(all)
}
