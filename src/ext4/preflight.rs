//! Is this file system whole, put away cleanly, and of a kind we can edit? Asked before anything
//! is touched, and once more at the end.
//!
//! Everything the allocation relies on is read and compared: superblock, group descriptors, both
//! kinds of bitmaps, their checksums and their counts. Inodes, directories and extents are checked
//! by the engine as it comes to them.

use std::ops::Range;

use super::bytes::{bit, clear_bits};
use super::checksum::Checksums;
use super::group_descriptor::{self, BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT};
use super::superblock::{Superblock, damaged};
use crate::disk::{ReadAt, Window};
use crate::error::{Result, ResultExt};

/// What the check has read.
pub(super) struct Checked {
    pub(super) sb: Superblock,
    pub(super) groups: Vec<GroupDescriptor>,
}

/// Checks the file system in `window`.
pub(super) fn check(window: &Window) -> Result<Checked> {
    let sb = Superblock::read(window)?;
    sb.check_state()?;
    let groups = group_descriptor::read_all(window, &sb)?;
    let metadata = metadata(&sb, &groups)?;
    let (mut free_blocks, mut free_inodes) = (0, 0);
    for (number, group) in groups.iter().enumerate() {
        let number = number as u64;
        let reader = GroupCheck {
            window,
            sb: &sb,
            group,
            number,
        };
        reader.check_flags()?;
        reader.check_blocks(&metadata)?;
        reader.check_inodes()?;
        free_blocks += u64::from(group.free_blocks());
        free_inodes += u64::from(group.free_inodes());
    }
    for (what, sum, total) in [
        ("blocks", free_blocks, sb.free_blocks()),
        ("inodes", free_inodes, u64::from(sb.free_inodes())),
    ] {
        if sum != total {
            return Err(damaged(format_args!(
                "the groups have {sum} free {what}, the superblock says {total}"
            )));
        }
    }
    Ok(Checked { sb, groups })
}

/// A range of blocks that holds metadata, and what of.
struct Metadata {
    blocks: Range<u64>,
    what: &'static str,
    group: u64,
}

/// Where the metadata of all groups is, in order; it must lie inside the file system and nowhere
/// twice.
fn metadata(sb: &Superblock, groups: &[GroupDescriptor]) -> Result<Vec<Metadata>> {
    let mut all = Vec::with_capacity(groups.len() * 4);
    let mut add = |group: u64, what, start: u64, len: u64| {
        let end = start.checked_add(len).filter(|&end| end <= sb.blocks());
        match end {
            Some(end) if start >= sb.first_data_block() => {
                all.push(Metadata {
                    blocks: start..end,
                    what,
                    group,
                });
                Ok(())
            }
            _ => Err(damaged(format_args!(
                "group {group}: its {what} is at block {start}, outside the file system"
            ))),
        }
    };
    for (number, group) in groups.iter().enumerate() {
        let number = number as u64;
        if sb.has_super(number) {
            let len = sb.super_blocks(number).min(sb.group_blocks(number));
            add(number, "superblock copy", sb.group_start(number), len)?;
        }
        add(number, "block bitmap", group.block_bitmap(), 1)?;
        add(number, "inode bitmap", group.inode_bitmap(), 1)?;
        add(
            number,
            "inode table",
            group.inode_table(),
            sb.inode_table_blocks(),
        )?;
    }
    all.sort_by_key(|m| m.blocks.start);
    for pair in all.windows(2) {
        if pair[0].blocks.end > pair[1].blocks.start {
            return Err(damaged(format_args!(
                "the {} of group {} overlaps the {} of group {} at block {}",
                pair[0].what, pair[0].group, pair[1].what, pair[1].group, pair[1].blocks.start
            )));
        }
    }
    Ok(all)
}

/// The blocks that hold metadata, in order.
pub(super) fn metadata_blocks(
    sb: &Superblock,
    groups: &[GroupDescriptor],
) -> Result<Vec<Range<u64>>> {
    let all = metadata(sb, groups)?;
    Ok(all.into_iter().map(|m| m.blocks).collect())
}

/// The check of one group.
struct GroupCheck<'a> {
    window: &'a Window,
    sb: &'a Superblock,
    group: &'a GroupDescriptor,
    number: u64,
}

impl GroupCheck<'_> {
    fn damaged(&self, what: impl std::fmt::Display) -> crate::error::Error {
        damaged(format_args!("group {}: {what}", self.number))
    }

    /// Groups can be uninitialised only where the descriptors have checksums.
    fn check_flags(&self) -> Result<()> {
        let uninit = self.group.flags() & (INODE_UNINIT | BLOCK_UNINIT) != 0;
        if uninit && !self.sb.checksums().cover_descriptors() {
            return Err(
                self.damaged("it is flagged as uninitialised, which this file system has not")
            );
        }
        Ok(())
    }

    fn read_bitmap(&self, block: u64, what: &str) -> Result<Vec<u8>> {
        let mut bitmap = vec![0; self.sb.block_size() as usize];
        self.window
            .read_at(block * self.sb.block_size(), &mut bitmap)
            .context(|| format!("reading the {what} bitmap of ext4 group {}", self.number))?;
        Ok(bitmap)
    }

    fn check_blocks(&self, metadata: &[Metadata]) -> Result<()> {
        let blocks = self.sb.group_blocks(self.number);
        let stored = u64::from(self.group.free_blocks());
        if self.group.flags() & BLOCK_UNINIT != 0 {
            if stored > blocks {
                return Err(self.damaged(format_args!("{stored} of its {blocks} blocks are free")));
            }
            return Ok(());
        }
        let bitmap = self.read_bitmap(self.group.block_bitmap(), "block")?;
        let covered = (self.sb.blocks_per_group() / 8) as usize;
        if let Some(crc) = self.sb.checksums().bitmap(&bitmap[..covered])
            && !self.group.block_bitmap_checksum_is(crc)
        {
            return Err(self.damaged("the checksum of its block bitmap does not match"));
        }
        let free = clear_bits(&bitmap, blocks);
        if free != stored {
            return Err(self.damaged(format_args!(
                "its block bitmap has {free} free blocks, its descriptor says {stored}"
            )));
        }
        self.check_metadata_is_used(metadata, &bitmap)
    }

    /// No file may be given a block that holds metadata.
    fn check_metadata_is_used(&self, metadata: &[Metadata], bitmap: &[u8]) -> Result<()> {
        let start = self.sb.group_start(self.number);
        let end = start + self.sb.group_blocks(self.number);
        // Ranges do not overlap, so only one can begin before the group and reach into it.
        let first = metadata.partition_point(|m| m.blocks.end <= start);
        for range in metadata[first..]
            .iter()
            .take_while(|m| m.blocks.start < end)
        {
            let mut inside = range.blocks.start.max(start)..range.blocks.end.min(end);
            if let Some(block) = inside.find(|&block| !bit(bitmap, block - start)) {
                return Err(self.damaged(format_args!(
                    "block {block} is free in its bitmap but holds the {} of group {}",
                    range.what, range.group
                )));
            }
        }
        Ok(())
    }

    fn check_inodes(&self) -> Result<()> {
        let inodes = u64::from(self.sb.inodes_per_group());
        let stored = u64::from(self.group.free_inodes());
        let unused = u64::from(self.group.unused_inodes());
        if stored > inodes || unused > inodes {
            return Err(self.damaged(format_args!(
                "{stored} free and {unused} unused inodes of {inodes} are impossible"
            )));
        }
        if self.group.flags() & INODE_UNINIT != 0 {
            if stored != inodes || self.number == 0 {
                return Err(self.damaged("it has inodes in use but is flagged as having none"));
            }
            return Ok(());
        }
        let bitmap = self.read_bitmap(self.group.inode_bitmap(), "inode")?;
        let checksums = self.sb.checksums();
        if let Some(crc) = checksums.bitmap(&bitmap[..(inodes / 8) as usize])
            && !self.group.inode_bitmap_checksum_is(crc)
        {
            return Err(self.damaged("the checksum of its inode bitmap does not match"));
        }
        let free = clear_bits(&bitmap, inodes);
        if free != stored {
            return Err(self.damaged(format_args!(
                "its inode bitmap has {free} free inodes, its descriptor says {stored}"
            )));
        }
        if checksums != Checksums::None && (inodes - unused..inodes).any(|i| bit(&bitmap, i)) {
            return Err(self.damaged("an inode is in use that its descriptor says never was"));
        }
        let first = self.number * inodes;
        let reserved = u64::from(self.sb.first_inode() - 1)
            .saturating_sub(first)
            .min(inodes);
        if (0..reserved).any(|i| !bit(&bitmap, i)) {
            return Err(self.damaged("a reserved inode is free in its bitmap"));
        }
        Ok(())
    }
}
