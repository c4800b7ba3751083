//! Growing a file system offline, within the group descriptor blocks it has.
//!
//! The last group is filled up, new groups are laid out each with its own metadata at its start
//! (which flex_bg allows), the resize inode learns of the new backups, and superblock, descriptors
//! and all their backups are written anew. Nothing that exists is moved.

use super::bytes::set_bits;
use super::checksum::Checksums;
use super::group_descriptor::{BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT, INODE_ZEROED};
use super::preflight;
use super::resize_inode;
use super::space::Space;
use super::superblock::{self, Superblock};
use crate::disk::{ReadAt, Window, is_zero};
use crate::error::{Error, Result, ResultExt};

/// Fewest blocks beyond its metadata that a last group must have, as in resize2fs; a smaller one
/// is not made.
const RUNT: u64 = 50;
/// Bytes looked at in one go when making sure that a range is zero.
const ZERO_CHUNK: u64 = 1 << 20;

/// Largest length in bytes that [`grow`] can reach: as many groups as the group descriptor blocks
/// there are can describe.
pub fn max_len(window: &Window) -> Result<u64> {
    let sb = Superblock::read(window)?;
    Ok(max_blocks(&sb) * sb.block_size())
}

fn max_blocks(sb: &Superblock) -> u64 {
    let described = sb.gdt_blocks() * (sb.block_size() / sb.descriptor_size());
    let numbered = u64::from(u32::MAX / sb.inodes_per_group());
    let groups = described.min(numbered).max(sb.groups());
    let blocks = sb.first_data_block() + groups * sb.blocks_per_group();
    if sb.is_64bit() {
        blocks
    } else {
        blocks.min(u64::from(u32::MAX))
    }
}

/// What the file system will have once it is grown to `len` bytes; never less than it has.
pub fn space_at(window: &Window, len: u64) -> Result<Space> {
    let old = Superblock::read(window)?;
    let blocks = (len / old.block_size()).min(max_blocks(&old));
    let new = resized(&old, blocks.max(old.blocks()));
    let mut space = Space::of(&new);
    let last = old.groups() - 1;
    space.free_blocks += new.group_blocks(last) - old.group_blocks(last);
    for group in old.groups()..new.groups() {
        space.free_blocks += new
            .group_blocks(group)
            .saturating_sub(group_metadata(&new, group));
        space.free_inodes += u64::from(new.inodes_per_group());
    }
    Ok(space)
}

/// `old` with `blocks` blocks, without a last group too small to be of use.
fn resized(old: &Superblock, blocks: u64) -> Superblock {
    let mut new = old.clone();
    new.set_blocks(blocks);
    let last = new.groups() - 1;
    if last >= old.groups() && new.group_blocks(last) < group_metadata(&new, last) + RUNT {
        new.set_blocks(new.group_start(last));
    }
    new
}

/// Blocks that a new group has no use for: copies of the superblock, bitmaps, inode table.
fn group_metadata(sb: &Superblock, group: u64) -> u64 {
    sb.super_blocks(group) + 2 + sb.inode_table_blocks()
}

/// Grows the file system to `new_len` bytes, rounded down to whole blocks; `window` must be at
/// least that long. A last group too small to be of use is left out. The file system must be clean;
/// it is checked before and after.
pub fn grow(window: &Window, new_len: u64) -> Result<()> {
    if new_len > window.len() {
        return Err(Error::failed(format!(
            "the ext4 file system cannot grow to {new_len} bytes: its partition has {}",
            window.len()
        )));
    }
    let checked = preflight::check(window)?;
    let Some(mut growth) = Growth::plan(window, checked, new_len)? else {
        return Ok(());
    };
    growth
        .run()
        .context(|| format!("growing the ext4 file system to {new_len} bytes"))?;
    preflight::check(window).map_err(|error| {
        error
            .context("the ext4 file system does not hold together after growing it (this is a bug)")
    })?;
    Ok(())
}

/// A file system being grown.
struct Growth<'a> {
    window: &'a Window,
    old: Superblock,
    new: Superblock,
    groups: Vec<GroupDescriptor>,
    /// Blocks of metadata in the new groups.
    overhead: u64,
}

impl<'a> Growth<'a> {
    /// `None` when there is nothing to gain.
    fn plan(window: &'a Window, checked: preflight::Checked, new_len: u64) -> Result<Option<Self>> {
        let old = checked.sb;
        let blocks = new_len / old.block_size();
        if blocks < old.blocks() {
            return Err(Error::failed(format!(
                "the ext4 file system has {} bytes and cannot shrink to {new_len}",
                old.blocks() * old.block_size()
            )));
        }
        if blocks > max_blocks(&old) {
            let most = max_blocks(&old) * old.block_size();
            return Err(Error::refused(format!(
                "the ext4 file system can grow to {most} bytes ({} MiB) at most, not to {new_len}: its group descriptor blocks describe no more",
                most >> 20
            ))
            .with_hint("ask for less; the first boot can grow it further, onto the whole card"));
        }
        let new = resized(&old, blocks);
        if new.blocks() <= old.blocks() {
            return Ok(None);
        }
        if new.gdt_blocks() != old.gdt_blocks() {
            return Err(Error::failed(
                "growing ext4 would need more group descriptor blocks",
            ));
        }
        Ok(Some(Self {
            window,
            old,
            new,
            groups: checked.groups,
            overhead: 0,
        }))
    }

    fn run(&mut self) -> Result<()> {
        self.extend_last_group()?;
        for group in self.old.groups()..self.new.groups() {
            self.add_group(group)?;
        }
        if self.new.has_resize_inode() && self.new.reserved_gdt_blocks() > 0 {
            resize_inode::add_backups(self.window, &self.old, &self.new, &self.groups)?;
        }
        self.count();
        self.write_descriptors()
    }

    /// Gives the last group there was the blocks up to its end, or to that of the file system.
    fn extend_last_group(&mut self) -> Result<()> {
        let group = self.old.groups() - 1;
        let (before, after) = (self.old.group_blocks(group), self.new.group_blocks(group));
        let checksums = self.new.checksums();
        let Some(descriptor) = self.groups.last_mut() else {
            return Ok(());
        };
        let added = u32::try_from(after - before).unwrap_or(0);
        descriptor.set_free_blocks(descriptor.free_blocks() + added);
        if descriptor.flags() & BLOCK_UNINIT == 0 {
            let at = descriptor.block_bitmap() * self.new.block_size();
            let mut bitmap = vec![0; self.new.block_size() as usize];
            self.window.read_at(at, &mut bitmap)?;
            set_bits(&mut bitmap, before..after, false);
            self.window.write_at(at, &bitmap)?;
            stamp_block_bitmap(descriptor, checksums, &self.new, &bitmap);
        }
        descriptor.seal(checksums, group);
        Ok(())
    }

    /// Lays out a new group: backup superblock and descriptors if it is of those that have them,
    /// the two bitmaps, the inode table.
    fn add_group(&mut self, group: u64) -> Result<()> {
        let sb = &self.new;
        let (bs, checksums) = (sb.block_size(), sb.checksums());
        let start = sb.group_start(group);
        let block_bitmap = start + sb.super_blocks(group);
        let inode_table = block_bitmap + 2;
        let used = group_metadata(sb, group);
        let blocks = sb.group_blocks(group);

        let mut descriptor = GroupDescriptor::empty(sb);
        descriptor.place(block_bitmap, block_bitmap + 1, inode_table);
        descriptor.set_free_blocks(u32::try_from(blocks - used).unwrap_or(0));
        descriptor.set_free_inodes(sb.inodes_per_group());

        let mut bitmap = vec![0; bs as usize];
        set_bits(&mut bitmap, 0..used, true);
        set_bits(&mut bitmap, blocks..bs * 8, true);
        self.window.write_at(block_bitmap * bs, &bitmap)?;
        stamp_block_bitmap(&mut descriptor, checksums, sb, &bitmap);

        // An uninitialised inode bitmap is not read by anyone, but a written one is no harm and
        // is what a file system without descriptor checksums needs.
        let mut bitmap = vec![0; bs as usize];
        set_bits(&mut bitmap, u64::from(sb.inodes_per_group())..bs * 8, true);
        self.window.write_at((block_bitmap + 1) * bs, &bitmap)?;
        if checksums.cover_descriptors() {
            descriptor.set_flags(INODE_UNINIT | INODE_ZEROED);
            descriptor.set_unused_inodes(sb.inodes_per_group());
        }
        if let Some(crc) = checksums.bitmap(&bitmap[..sb.inodes_per_group() as usize / 8]) {
            descriptor.set_inode_bitmap_checksum(crc);
        }
        descriptor.seal(checksums, group);
        // Behind the file system there may be anything: a partition that was deleted, say.
        make_zero(self.window, inode_table * bs, sb.inode_table_blocks() * bs)?;
        make_zero(self.window, start * bs, sb.super_blocks(group) * bs)?;
        self.groups.push(descriptor);
        self.overhead += used;
        Ok(())
    }

    /// The totals in the superblock.
    fn count(&mut self) {
        let free_blocks = self.groups.iter().map(|g| u64::from(g.free_blocks())).sum();
        self.new.set_free_blocks(free_blocks);
        let added = (self.new.groups() - self.old.groups()) as u32;
        let inodes = added * self.new.inodes_per_group();
        self.new.set_inodes(self.old.inodes() + inodes);
        self.new.set_free_inodes(self.old.free_inodes() + inodes);
        let reserved = u128::from(self.old.reserved_blocks()) * u128::from(self.new.blocks())
            / u128::from(self.old.blocks());
        self.new
            .set_reserved_blocks(u64::try_from(reserved).unwrap_or(0));
        if self.old.overhead_blocks() != 0 {
            let overhead = u64::from(self.old.overhead_blocks()) + self.overhead;
            self.new
                .set_overhead_blocks(u32::try_from(overhead).unwrap_or(0));
        }
        self.new.seal();
    }

    /// Writes superblock and descriptors, the backups first.
    fn write_descriptors(&self) -> Result<()> {
        let bs = self.new.block_size();
        let table: Vec<u8> = self
            .groups
            .iter()
            .flat_map(|g| g.raw.iter().copied())
            .collect();
        for group in (1..self.new.groups()).filter(|&g| self.new.has_super(g)) {
            let at = self.new.group_start(group) * bs;
            self.window.write_at(at, &self.new.backup(group).raw)?;
            self.window.write_at(at + bs, &table)?;
        }
        self.window
            .write_at((self.new.first_data_block() + 1) * bs, &table)?;
        self.window.write_at(superblock::OFFSET, &self.new.raw)
    }
}

fn stamp_block_bitmap(
    descriptor: &mut GroupDescriptor,
    checksums: Checksums,
    sb: &Superblock,
    bitmap: &[u8],
) {
    let covered = (sb.blocks_per_group() / 8) as usize;
    if let Some(crc) = checksums.bitmap(&bitmap[..covered]) {
        descriptor.set_block_bitmap_checksum(crc);
    }
}

/// Writes zeros where a range is not zero; what is zero already stays untouched (and sparse).
fn make_zero(window: &Window, offset: u64, len: u64) -> Result<()> {
    let mut buffer = vec![0; ZERO_CHUNK.min(len) as usize];
    let mut done = 0;
    while done < len {
        let n = ZERO_CHUNK.min(len - done) as usize;
        window.read_at(offset + done, &mut buffer[..n])?;
        if !is_zero(&buffer[..n]) {
            buffer.fill(0);
            window.write_at(offset + done, &buffer[..n])?;
        }
        done += n as u64;
    }
    Ok(())
}
