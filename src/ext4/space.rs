//! What is free on a file system.

use super::superblock::Superblock;

/// What to do when a file system is full.
pub(super) const MORE_ROOM: &str =
    "raise `disk.size`, or leave it out: the image then grows as needed";

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of a block.
    pub block_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// Blocks that are free, those kept for root among them.
    pub free_blocks: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
    /// Blocks kept for root.
    pub reserved_blocks: u64,
}

impl Space {
    pub(super) fn of(sb: &Superblock) -> Self {
        Self {
            block_size: sb.block_size(),
            blocks: sb.blocks(),
            free_blocks: sb.free_blocks(),
            free_inodes: u64::from(sb.free_inodes()),
            reserved_blocks: sb.reserved_blocks(),
        }
    }

    /// Bytes in free blocks.
    pub fn free_bytes(&self) -> u64 {
        self.free_blocks.saturating_mul(self.block_size)
    }
}

/// What edits take of a file system, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    pub inodes: u64,
    pub blocks: u64,
}

impl Need {
    /// Whether there is as much.
    pub fn fits(&self, space: &Space) -> bool {
        self.inodes <= space.free_inodes && self.blocks <= space.free_blocks
    }
}
