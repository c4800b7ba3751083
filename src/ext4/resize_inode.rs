//! The resize inode (7): the owner of the blocks kept for more group descriptors.
//!
//! Its double indirect block names the kept blocks of group 0; each of those is an indirect block
//! that names its counterparts in the backup groups. So every new backup group must be entered
//! there, or e2fsck calls the inode invalid. Layout as `ext2fs_create_resize_inode` in e2fsprogs
//! makes it.

use super::bytes::{le32, put32};
use super::group_descriptor::GroupDescriptor;
use super::inode;
use super::superblock::{Superblock, damaged};
use crate::disk::{ReadAt, Window};
use crate::error::Result;

const NUMBER: u32 = 7;
/// Offset of the double indirect pointer in an inode: the fourteenth of `i_block`.
const DOUBLE_INDIRECT: usize = 0x28 + 13 * 4;
/// Offset of `i_blocks_lo`: sectors of 512 bytes.
const SECTORS: usize = 0x1C;

/// Enters the backup groups that `new` has and `old` had not.
pub(super) fn add_backups(
    window: &Window,
    old: &Superblock,
    new: &Superblock,
    groups: &[GroupDescriptor],
) -> Result<()> {
    let bs = new.block_size();
    let at = inode::offset(new, groups, NUMBER).ok_or_else(|| damaged("there are no groups"))?;
    let mut inode = vec![0; new.inode_size() as usize];
    window.read_at(at, &mut inode)?;
    let map_block = u64::from(le32(&inode, DOUBLE_INDIRECT));
    if map_block == 0 || map_block >= old.blocks() {
        return Err(damaged("the resize inode (7) has no map"));
    }
    let mut map = vec![0; bs as usize];
    window.read_at(map_block * bs, &mut map)?;

    let (before, after) = (backups(old), backups(new));
    let pointers = bs / 4;
    if after.len() as u64 > pointers {
        return Err(damaged("the resize inode (7) cannot hold so many backups"));
    }
    let first = new.first_data_block() + 1 + new.gdt_blocks();
    for index in 0..new.reserved_gdt_blocks() {
        let block = first + index;
        let slot = ((new.gdt_blocks() + index) % pointers) as usize * 4;
        if u64::from(le32(&map, slot)) != block {
            return Err(damaged(format_args!(
                "the resize inode (7) does not own block {block}, which is kept for group descriptors"
            )));
        }
        list_backups(window, new, block, &before, &after)?;
    }

    let sectors = new.reserved_gdt_blocks() * (after.len() - before.len()) as u64 * (bs / 512);
    let total = u64::from(le32(&inode, SECTORS)) + sectors;
    let total =
        u32::try_from(total).map_err(|_| damaged("the resize inode (7) has too many blocks"))?;
    put32(&mut inode, SECTORS, total);
    inode::seal(new, NUMBER, &mut inode);
    window.write_at(at, &inode)
}

/// The groups that have a backup, ascending.
fn backups(sb: &Superblock) -> Vec<u64> {
    (1..sb.groups())
        .filter(|&group| sb.has_super(group))
        .collect()
}

/// Appends to the indirect block `block` its copies in the new backup groups.
fn list_backups(
    window: &Window,
    sb: &Superblock,
    block: u64,
    before: &[u64],
    after: &[u64],
) -> Result<()> {
    let bs = sb.block_size();
    let mut list = vec![0; bs as usize];
    window.read_at(block * bs, &mut list)?;
    for (position, &group) in after.iter().enumerate() {
        let copy = block + group * sb.blocks_per_group();
        let expected = if position < before.len() { copy } else { 0 };
        if u64::from(le32(&list, position * 4)) != expected {
            return Err(damaged(format_args!(
                "block {block} of the resize inode (7) does not name its copy in group {group}"
            )));
        }
        let copy = u32::try_from(copy)
            .map_err(|_| damaged("a block of the resize inode (7) has no 32-bit number"))?;
        put32(&mut list, position * 4, copy);
    }
    window.write_at(block * bs, &list)
}
