//! All block bitmaps of a file system: blocks taken and given back by ourselves, not the engine.

use std::collections::BTreeSet;
use std::ops::Range;

use super::bytes::{bit, clear_bits, clear_runs, set_bits};
use super::group_descriptor::{self, BLOCK_UNINIT, GroupDescriptor};
use super::superblock::{self, Superblock};
use crate::disk::{ReadAt, Window};
use crate::error::{Result, ResultExt};

/// The block bitmaps, with the counts that go with them, in memory until [`BlockMap::write`].
pub(super) struct BlockMap {
    window: Window,
    pub(super) sb: Superblock,
    pub(super) groups: Vec<GroupDescriptor>,
    bitmaps: Vec<Vec<u8>>,
    changed: BTreeSet<u64>,
}

impl BlockMap {
    /// Reads what the file system, which no engine must have open, says is free.
    pub(super) fn read(window: &Window) -> Result<Self> {
        let sb = Superblock::read(window)?;
        let groups = group_descriptor::read_all(window, &sb)?;
        let bitmaps = groups
            .iter()
            .enumerate()
            .map(|(number, group)| bitmap(window, &sb, number as u64, group))
            .collect::<Result<_>>()?;
        Ok(Self {
            window: window.clone(),
            sb,
            groups,
            bitmaps,
            changed: BTreeSet::new(),
        })
    }

    /// The group that `block` is in.
    pub(super) fn group_of(&self, block: u64) -> u64 {
        block.saturating_sub(self.sb.first_data_block()) / self.sb.blocks_per_group()
    }

    /// The runs of free blocks in `blocks`, ascending.
    pub(super) fn free_runs(&self, blocks: Range<u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (group, start, bits) in self.split(blocks) {
            let Some(bitmap) = self.bitmaps.get(group as usize) else {
                continue;
            };
            for run in clear_runs(bitmap, bits) {
                let run = start + run.start..start + run.end;
                match runs.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => runs.push(run),
                }
            }
        }
        runs
    }

    /// Whether all of `blocks` are there and in use.
    pub(super) fn all_used(&self, blocks: Range<u64>) -> bool {
        let is_used = |(group, _, mut bits): (u64, u64, Range<u64>)| {
            let bitmap = self.bitmaps.get(group as usize);
            bitmap.is_some_and(|bitmap| bits.all(|index| bit(bitmap, index)))
        };
        blocks.start >= self.sb.first_data_block()
            && blocks.end <= self.sb.blocks()
            && self.split(blocks).into_iter().all(is_used)
    }

    /// Whether the bitmap of `group` has never been written.
    pub(super) fn is_uninit(&self, group: u64) -> bool {
        self.groups
            .get(group as usize)
            .is_some_and(|g| g.flags() & BLOCK_UNINIT != 0)
    }

    /// Takes `blocks`, or gives them back. A group that was uninitialised is not any more.
    pub(super) fn set(&mut self, blocks: Range<u64>, used: bool) {
        for (group, _, bits) in self.split(blocks) {
            if let Some(bitmap) = self.bitmaps.get_mut(group as usize) {
                set_bits(bitmap, bits, used);
            }
            self.initialise(group);
        }
    }

    /// Has the bitmap of `group` written, whether or not anything in it changes.
    pub(super) fn initialise(&mut self, group: u64) {
        if let Some(descriptor) = self.groups.get_mut(group as usize) {
            descriptor.set_flags(descriptor.flags() & !BLOCK_UNINIT);
            self.changed.insert(group);
        }
    }

    /// Writes what was changed: bitmaps, descriptors, and the total in the superblock.
    pub(super) fn write(mut self) -> Result<()> {
        let bs = self.sb.block_size();
        let covered = (self.sb.blocks_per_group() / 8) as usize;
        let checksums = self.sb.checksums();
        let table = (self.sb.first_data_block() + 1) * bs;
        let mut total = self.sb.free_blocks();
        for &number in &self.changed {
            let (Some(group), Some(bitmap)) = (
                self.groups.get_mut(number as usize),
                self.bitmaps.get(number as usize),
            ) else {
                continue;
            };
            let free = clear_bits(bitmap, self.sb.group_blocks(number));
            total = (total + free).saturating_sub(u64::from(group.free_blocks()));
            group.set_free_blocks(u32::try_from(free).unwrap_or(0));
            if let Some(crc) = checksums.bitmap(&bitmap[..covered]) {
                group.set_block_bitmap_checksum(crc);
            }
            group.seal(checksums, number);
            self.window.write_at(group.block_bitmap() * bs, bitmap)?;
            let at = table + number * self.sb.descriptor_size();
            self.window.write_at(at, &group.raw)?;
        }
        self.sb.set_free_blocks(total);
        self.sb.seal();
        self.window.write_at(superblock::OFFSET, &self.sb.raw)
    }

    /// `blocks` by groups: the group, its first block, and the bits in it.
    fn split(&self, blocks: Range<u64>) -> Vec<(u64, u64, Range<u64>)> {
        let first = self.sb.first_data_block();
        let blocks = blocks.start.max(first)..blocks.end.min(self.sb.blocks());
        if blocks.is_empty() {
            return Vec::new();
        }
        let groups = self.group_of(blocks.start)..self.group_of(blocks.end - 1) + 1;
        groups
            .map(|group| {
                let start = self.sb.group_start(group);
                let end = start + self.sb.group_blocks(group);
                let bits = blocks.start.max(start) - start..blocks.end.min(end) - start;
                (group, start, bits)
            })
            .collect()
    }
}

/// The block bitmap of a group; of one that was never written, what it stands for.
fn bitmap(
    window: &Window,
    sb: &Superblock,
    number: u64,
    group: &GroupDescriptor,
) -> Result<Vec<u8>> {
    let bs = sb.block_size();
    let mut bitmap = vec![0; bs as usize];
    if group.flags() & BLOCK_UNINIT == 0 {
        window
            .read_at(group.block_bitmap() * bs, &mut bitmap)
            .context(|| format!("reading the block bitmap of ext4 group {number}"))?;
        return Ok(bitmap);
    }
    let (start, len) = (sb.group_start(number), sb.group_blocks(number));
    let inside = |first: u64, count: u64| {
        let within = |block: u64| block.clamp(start, start + len) - start;
        within(first)..within(first.saturating_add(count))
    };
    set_bits(&mut bitmap, 0..sb.super_blocks(number).min(len), true);
    set_bits(&mut bitmap, inside(group.block_bitmap(), 1), true);
    set_bits(&mut bitmap, inside(group.inode_bitmap(), 1), true);
    let table = inside(group.inode_table(), sb.inode_table_blocks());
    set_bits(&mut bitmap, table, true);
    set_bits(&mut bitmap, len..bs * 8, true);
    if clear_bits(&bitmap, len) != u64::from(group.free_blocks()) {
        // Something else is in there. Only who put it there knows where: hands off.
        bitmap.fill(0xFF);
    }
    Ok(bitmap)
}
