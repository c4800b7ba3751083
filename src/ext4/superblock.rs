//! Our own reading of the superblock: where everything is, checked before anything trusts it.
//!
//! Format: Documentation/filesystems/ext4/super.rst in the Linux kernel.

use super::bytes::{le16, le32, low32, put16, put32};
use super::checksum::{Checksums, crc32c};
use super::features::{self, compat, incompat, ro_compat};
use crate::disk::{ReadAt, Window};
use crate::error::{Error, Result, ResultExt};

/// Offset of the superblock in the file system, bytes.
pub(super) const OFFSET: u64 = 1024;
/// Length of the superblock, bytes.
pub(super) const SIZE: usize = 1024;

pub(super) const MAGIC: u16 = 0xEF53;
const CHECKSUM: usize = 0x3FC;
/// `s_state`: cleanly put away.
const STATE_VALID: u16 = 1;
/// `s_state`: the kernel met an error.
const STATE_ERROR: u16 = 2;

/// Length of a descriptor with and without the 64bit feature.
const DESCRIPTOR_64: u64 = 64;
const DESCRIPTOR_32: u64 = 32;

/// A superblock whose geometry has been checked (see [`Superblock::read`]).
#[derive(Clone)]
pub(super) struct Superblock {
    pub(super) raw: [u8; SIZE],
}

/// Damage in a file system: what it is, and what to do about it.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::failed(format!("the ext4 file system is damaged: {what}"))
        .with_hint("download the base image again, or repair it with e2fsck -f")
}

impl Superblock {
    /// Reads and checks the primary superblock: magic, checksum, features, geometry. Not the
    /// state: see [`Superblock::check_state`].
    pub(super) fn read(window: &Window) -> Result<Self> {
        let mut raw = [0; SIZE];
        window
            .read_at(OFFSET, &mut raw)
            .context(|| "reading the ext4 superblock".into())?;
        let sb = Self { raw };
        if sb.u16(0x38) != MAGIC {
            return Err(Error::failed(format!(
                "no ext4 file system at offset {} of the image (superblock magic is {:#06x}, not 0xef53)",
                window.start(),
                sb.u16(0x38)
            ))
            .with_hint("is the root file system of the base image ext4, and is the image whole?"));
        }
        sb.check_checksum()?;
        if sb.u32(0x4C) == 0 {
            return Err(Error::refused(
                "the file system is ext2 revision 0, which imgbuild cannot edit",
            ));
        }
        features::check(sb.compat(), sb.incompat(), sb.ro_compat())?;
        sb.check_geometry(window.len())?;
        Ok(sb)
    }

    fn check_checksum(&self) -> Result<()> {
        if self.ro_compat() & ro_compat::METADATA_CSUM == 0 {
            return Ok(());
        }
        if self.raw[0x175] != 1 {
            return Err(damaged(format_args!(
                "superblock: checksum type {} is not crc32c",
                self.raw[0x175]
            )));
        }
        let (stored, computed) = (self.u32(CHECKSUM), crc32c(!0, &self.raw[..CHECKSUM]));
        if stored != computed {
            return Err(damaged(format_args!(
                "superblock: checksum is {stored:#010x}, its content gives {computed:#010x}"
            )));
        }
        Ok(())
    }

    /// Everything that later arithmetic relies on.
    fn check_geometry(&self, window_len: u64) -> Result<()> {
        let require = |ok: bool, what: &str| {
            if ok {
                Ok(())
            } else {
                Err(damaged(format_args!("superblock: {what}")))
            }
        };
        let log = self.u32(0x18);
        if log == 6 || (3..6).contains(&log) {
            return Err(Error::refused(format!(
                "the file system has blocks of {} KiB; imgbuild edits 1, 2 and 4 KiB",
                1u32 << log
            )));
        }
        require(log <= 2, "block size is impossible")?;
        let bs = self.block_size();
        let bits = bs * 8;
        let per_group = u64::from(self.u32(0x20));
        let fragments = u64::from(self.u32(0x24));
        let inodes = u64::from(self.inodes_per_group());
        let inode_size = u64::from(self.u16(0x58));
        require(
            per_group >= 64 && per_group <= bits && per_group % 8 == 0 && fragments == per_group,
            "blocks per group are impossible",
        )?;
        require(
            inodes >= 8 && inodes <= bits && inodes % 8 == 0,
            "inodes per group are impossible",
        )?;
        require(
            inode_size >= 128 && inode_size <= bs && inode_size.is_power_of_two(),
            "inode size is impossible",
        )?;
        require(
            self.u32(0x1C) == log,
            "cluster size differs from the block size",
        )?;
        require(
            u64::from(self.u32(0x14)) == u64::from(bs == 1024),
            "first data block is impossible",
        )?;
        require(
            !self.is_64bit() || self.u16(0xFE) == 64,
            "group descriptor size is not 64",
        )?;
        let blocks = self.blocks();
        require(
            blocks > self.first_data_block() + 8,
            "there are hardly any blocks",
        )?;
        let len = blocks.checked_mul(bs);
        if len.is_none_or(|len| len > window_len) {
            return Err(damaged(format_args!(
                "superblock: {blocks} blocks of {bs} bytes do not fit the partition of {window_len} bytes"
            )));
        }
        let groups = self.groups();
        require(
            u32::try_from(groups).is_ok() && u64::from(self.inodes()) == groups * inodes,
            "the number of inodes does not fit the number of groups",
        )?;
        let fixed =
            1 + self.gdt_blocks() + self.reserved_gdt_blocks() + 2 + self.inode_table_blocks();
        require(
            fixed < per_group && self.gdt_blocks() + 2 < blocks,
            "a group is too small for its own metadata",
        )?;
        let first_inode = u64::from(self.first_inode());
        require(
            first_inode >= 11 && first_inode < u64::from(self.inodes()),
            "first usable inode is impossible",
        )?;
        require(
            self.free_blocks() <= blocks && self.free_inodes() <= self.inodes(),
            "more is free than there is",
        )
    }

    /// Refuses a file system that was not put away cleanly: what is on it may not be what its
    /// journal or its orphan list say it should be.
    pub(super) fn check_state(&self) -> Result<()> {
        let refuse = |what: &str| {
            Err(Error::refused(format!("the ext4 file system was not put away cleanly: {what}"))
                .with_hint("run e2fsck -f on a copy of the base image (it replays the journal) and build from that"))
        };
        if self.incompat() & incompat::RECOVER != 0 {
            return refuse("its journal has not been replayed (needs_recovery)");
        }
        if self.state() & STATE_ERROR != 0 {
            return refuse("it is marked as having errors");
        }
        if self.state() & STATE_VALID == 0 {
            return refuse("it is marked as in use");
        }
        if self.ro_compat() & ro_compat::ORPHAN_PRESENT != 0 || self.u32(0xE8) != 0 {
            return refuse("it has orphaned files still to be deleted");
        }
        if self.has_journal() && (self.journal_inode() != 8 || self.u32(0xE4) != 0) {
            return Err(Error::refused(format!(
                "the journal of the ext4 file system is not its own inode 8 (inode {}, device {:#x})",
                self.journal_inode(),
                self.u32(0xE4)
            ))
            .with_hint("use a base image whose root file system has its journal inside"));
        }
        Ok(())
    }

    fn u16(&self, at: usize) -> u16 {
        le16(&self.raw, at)
    }

    fn u32(&self, at: usize) -> u32 {
        le32(&self.raw, at)
    }

    fn u64(&self, low: usize, high: usize) -> u64 {
        let high = if self.is_64bit() { self.u32(high) } else { 0 };
        u64::from(high) << 32 | u64::from(self.u32(low))
    }

    fn put_u64(&mut self, low: usize, high: usize, value: u64) {
        put32(&mut self.raw, low, low32(value));
        if self.is_64bit() {
            put32(&mut self.raw, high, low32(value >> 32));
        }
    }

    pub(super) fn compat(&self) -> u32 {
        self.u32(0x5C)
    }

    pub(super) fn incompat(&self) -> u32 {
        self.u32(0x60)
    }

    pub(super) fn ro_compat(&self) -> u32 {
        self.u32(0x64)
    }

    pub(super) fn state(&self) -> u16 {
        self.u16(0x3A)
    }

    pub(super) fn is_64bit(&self) -> bool {
        self.incompat() & incompat::BIT64 != 0
    }

    pub(super) fn has_journal(&self) -> bool {
        self.compat() & compat::HAS_JOURNAL != 0
    }

    pub(super) fn has_xattrs(&self) -> bool {
        self.compat() & compat::EXT_ATTR != 0
    }

    pub(super) fn has_resize_inode(&self) -> bool {
        self.compat() & compat::RESIZE_INODE != 0
    }

    pub(super) fn journal_inode(&self) -> u32 {
        self.u32(0xE0)
    }

    /// Makes the superblock say that there is (or is not) a journal in `inode`.
    pub(super) fn set_journal(&mut self, compat: u32, inode: u32) {
        put32(&mut self.raw, 0x5C, compat);
        put32(&mut self.raw, 0xE0, inode);
    }

    pub(super) fn inodes(&self) -> u32 {
        self.u32(0x0)
    }

    pub(super) fn set_inodes(&mut self, count: u32) {
        put32(&mut self.raw, 0x0, count);
    }

    pub(super) fn blocks(&self) -> u64 {
        self.u64(0x4, 0x150)
    }

    pub(super) fn set_blocks(&mut self, count: u64) {
        self.put_u64(0x4, 0x150, count);
    }

    /// Blocks kept for root.
    pub(super) fn reserved_blocks(&self) -> u64 {
        self.u64(0x8, 0x154)
    }

    pub(super) fn set_reserved_blocks(&mut self, count: u64) {
        self.put_u64(0x8, 0x154, count);
    }

    pub(super) fn free_blocks(&self) -> u64 {
        self.u64(0xC, 0x158)
    }

    pub(super) fn set_free_blocks(&mut self, count: u64) {
        self.put_u64(0xC, 0x158, count);
    }

    pub(super) fn free_inodes(&self) -> u32 {
        self.u32(0x10)
    }

    pub(super) fn set_free_inodes(&mut self, count: u32) {
        put32(&mut self.raw, 0x10, count);
    }

    /// Blocks of metadata as counted by mke2fs, 0 when it was not.
    pub(super) fn overhead_blocks(&self) -> u32 {
        self.u32(0x248)
    }

    pub(super) fn set_overhead_blocks(&mut self, count: u32) {
        put32(&mut self.raw, 0x248, count);
    }

    /// 1 for blocks of 1 KiB, else 0: the block that group 0 begins with.
    pub(super) fn first_data_block(&self) -> u64 {
        u64::from(self.u32(0x14))
    }

    /// Bytes of a block: 1024, 2048 or 4096.
    pub(super) fn block_size(&self) -> u64 {
        1024 << self.u32(0x18).min(2)
    }

    pub(super) fn blocks_per_group(&self) -> u64 {
        u64::from(self.u32(0x20))
    }

    pub(super) fn inodes_per_group(&self) -> u32 {
        self.u32(0x28)
    }

    /// Bytes of an inode on disk.
    pub(super) fn inode_size(&self) -> u64 {
        u64::from(self.u16(0x58))
    }

    /// The first inode that is not reserved.
    pub(super) fn first_inode(&self) -> u32 {
        self.u32(0x54)
    }

    pub(super) fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.raw[0x68..0x78]);
        uuid
    }

    /// Block groups, the last of which may be short.
    pub(super) fn groups(&self) -> u64 {
        (self.blocks() - self.first_data_block()).div_ceil(self.blocks_per_group())
    }

    /// The block `group` begins with.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        self.first_data_block() + group * self.blocks_per_group()
    }

    /// How many blocks `group` has.
    pub(super) fn group_blocks(&self, group: u64) -> u64 {
        self.blocks_per_group()
            .min(self.blocks().saturating_sub(self.group_start(group)))
    }

    /// Bytes of a group descriptor.
    pub(super) fn descriptor_size(&self) -> u64 {
        if self.is_64bit() {
            DESCRIPTOR_64
        } else {
            DESCRIPTOR_32
        }
    }

    /// Blocks the group descriptors take.
    pub(super) fn gdt_blocks(&self) -> u64 {
        self.groups()
            .div_ceil(self.block_size() / self.descriptor_size())
    }

    /// Blocks kept after the group descriptors for more of them.
    pub(super) fn reserved_gdt_blocks(&self) -> u64 {
        u64::from(self.u16(0xCE))
    }

    /// Blocks of one group's inode table.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group()) * self.inode_size()).div_ceil(self.block_size())
    }

    /// Whether `group` begins with a superblock and group descriptors (the primary or a backup).
    pub(super) fn has_super(&self, group: u64) -> bool {
        if group <= 1 || self.ro_compat() & ro_compat::SPARSE_SUPER == 0 {
            return true;
        }
        [3, 5, 7].into_iter().any(|base| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        })
    }

    /// Blocks at the start of `group` taken by superblock, descriptors and those kept for more.
    pub(super) fn super_blocks(&self, group: u64) -> u64 {
        if self.has_super(group) {
            1 + self.gdt_blocks() + self.reserved_gdt_blocks()
        } else {
            0
        }
    }

    /// What the metadata is checksummed with.
    pub(super) fn checksums(&self) -> Checksums {
        if self.ro_compat() & ro_compat::METADATA_CSUM != 0 {
            let seed = if self.incompat() & incompat::CSUM_SEED != 0 {
                self.u32(0x270)
            } else {
                crc32c(!0, &self.uuid())
            };
            Checksums::All { seed }
        } else if self.ro_compat() & ro_compat::GDT_CSUM != 0 {
            Checksums::Descriptors { uuid: self.uuid() }
        } else {
            Checksums::None
        }
    }

    /// Brings the checksum up to date, where there is one.
    pub(super) fn seal(&mut self) {
        if self.ro_compat() & ro_compat::METADATA_CSUM != 0 {
            let crc = crc32c(!0, &self.raw[..CHECKSUM]);
            put32(&mut self.raw, CHECKSUM, crc);
        }
    }

    /// The copy of this superblock for the backup in `group`, as libext2fs writes it: it says
    /// which group it is in, and never that the file system is clean.
    pub(super) fn backup(&self, group: u64) -> Self {
        let mut copy = self.clone();
        put16(&mut copy.raw, 0x5A, group as u16);
        put16(&mut copy.raw, 0x3A, self.state() & !STATE_VALID);
        copy.seal();
        copy
    }
}
