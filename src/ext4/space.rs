//! What is free on a file system, and what files will need of it.

use super::superblock::Superblock;

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

/// Extents that fit into the inode itself.
const INLINE_EXTENTS: u64 = 4;
/// We write in pieces of this many bytes, and count each as an extent of its own: what a badly
/// fragmented file system would make of it.
const PIECE: u64 = 1 << 20;

/// An upper estimate, for planning, of the blocks of `block_size` bytes that new files with these
/// contents (bytes) take: data, extent blocks for the large ones, and their directory entries.
/// Symbolic links count with the length of their target, directories with 0.
pub fn blocks_needed(sizes: impl IntoIterator<Item = u64>, block_size: u64) -> u64 {
    let block_size = block_size.max(1024);
    let mut entries: u64 = 0;
    let mut blocks: u64 = 0;
    for size in sizes {
        entries += 1;
        let extents = size.div_ceil(PIECE);
        let nodes = if extents <= INLINE_EXTENTS {
            0
        } else {
            extents.div_ceil(block_size / 12 / 2) + 1
        };
        // A directory has at least one block; a file of up to one block is counted likewise.
        blocks = blocks.saturating_add(size.div_ceil(block_size).max(1) + nodes);
    }
    // An entry takes at most 263 bytes; half-full directory blocks after splits.
    blocks.saturating_add(entries.saturating_mul(2 * 263).div_ceil(block_size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_above_what_is_taken() {
        assert_eq!(blocks_needed([], 4096), 0);
        assert!(blocks_needed([1, 4096, 4097], 4096) >= 4);
        assert!(blocks_needed([1 << 30], 4096) > (1 << 18));
        assert!(blocks_needed([u64::MAX], 1024) > u64::MAX / 1025);
    }
}
