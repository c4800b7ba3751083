//! What edits will take, counted before the first of them: a file system that runs out in the middle
//! is of no use.
//!
//! All of it is an upper bound. Nothing that is replaced is counted as room, files lie in as many
//! pieces as they have blocks, and every name that comes to a large directory splits a block of it.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::Ext4;
use super::file_kind::FileKind;
use super::space::Need;
use crate::error::Result;

/// Extents that fit into an inode.
const INLINE_EXTENTS: u64 = 4;
/// Bytes of a node of an extent tree that are not for extents, and of an extent.
const NODE_OVERHEAD: u64 = 16;
const EXTENT: u64 = 12;
/// Longest target of a symbolic link that lies in the inode, bytes.
const INLINE_TARGET: u64 = 59;
/// Bytes of a directory entry before its name; entries are multiples of 4 bytes.
const ENTRY_HEAD: u64 = 8;
/// Longest directory entry, bytes.
const LONGEST_ENTRY: u64 = 264;
/// Bytes of a directory block that are for its checksum.
const DIRECTORY_TAIL: u64 = 12;

/// Adds up what edits of one file system take.
pub struct Estimate<'a> {
    fs: &'a Ext4,
    block_size: u64,
    need: Need,
    /// Paths that will have been made.
    made: BTreeSet<String>,
    /// Directories that are known to be there.
    there: BTreeSet<String>,
    /// By directory, the names that come to it.
    names: BTreeMap<String, Names>,
}

#[derive(Default)]
struct Names {
    count: u64,
    /// Of their entries.
    bytes: u64,
}

impl<'a> Estimate<'a> {
    pub fn new(fs: &'a Ext4) -> Result<Self> {
        Ok(Self {
            fs,
            block_size: fs.space()?.block_size,
            need: Need::default(),
            made: BTreeSet::new(),
            there: BTreeSet::new(),
            names: BTreeMap::new(),
        })
    }

    /// A file of `len` bytes at `path`, new or in the place of another.
    pub fn file(&mut self, path: &str, len: u64) -> Result<()> {
        self.need.blocks = self.need.blocks.saturating_add(self.blocks_of(len));
        self.name(path)
    }

    /// Another content of `len` bytes for the file that `path` leads to.
    pub fn rewritten(&mut self, path: &str, len: u64) -> Result<()> {
        match self.fs.stat_target(path)? {
            Some(_) => {
                self.need.blocks = self.need.blocks.saturating_add(self.blocks_of(len));
                Ok(())
            }
            None => self.file(path, len),
        }
    }

    /// A symbolic link at `path`.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        if target.len() as u64 > INLINE_TARGET {
            self.need.blocks += (target.len() as u64).div_ceil(self.block_size);
        }
        self.name(path)
    }

    /// A directory at `path`, if there is none.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || self.made.contains(path) || self.there.contains(path) {
            return Ok(());
        }
        if self.fs.stat_target(path)?.is_some() {
            self.there.insert(path.to_owned());
            return Ok(());
        }
        self.need.blocks += 1;
        self.name(path)
    }

    /// All that was added, with the blocks that directories grow by.
    pub fn total(&self) -> Result<Need> {
        let mut need = self.need;
        for (directory, names) in &self.names {
            let growth = self.growth(directory, names)?;
            need.blocks = need.blocks.saturating_add(growth);
        }
        Ok(need)
    }

    /// A name with an inode of its own.
    fn name(&mut self, path: &str) -> Result<()> {
        if !self.made.insert(path.to_owned()) {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.directory(parent)?;
        // The inode of what is replaced comes free, unless it has another name.
        match self.fs.stat(path)? {
            Some(stat) if stat.links == 1 || stat.kind == FileKind::Directory => return Ok(()),
            _ => self.need.inodes += 1,
        }
        let names = self.names.entry(parent.to_owned()).or_default();
        names.count += 1;
        names.bytes += (ENTRY_HEAD + name.len() as u64).next_multiple_of(4);
        Ok(())
    }

    /// Blocks that a directory grows by.
    fn growth(&self, directory: &str, names: &Names) -> Result<u64> {
        let of_block = self.block_size - DIRECTORY_TAIL - LONGEST_ENTRY;
        let appended = names.bytes.div_ceil(of_block);
        let before = match directory {
            "" => self.fs.stat("/")?,
            path => self.fs.stat_target(path)?,
        };
        // One that has an index grows by a block whenever the very block is full that a name must
        // go to.
        let blocks = match before {
            Some(stat) if stat.size > self.block_size => names.count.max(appended),
            _ => appended,
        };
        Ok(blocks + self.tree_blocks(blocks + INLINE_EXTENTS))
    }

    fn blocks_of(&self, len: u64) -> u64 {
        let blocks = len.div_ceil(self.block_size);
        blocks.saturating_add(self.tree_blocks(blocks))
    }

    /// Blocks of the tree over so many extents, every node of it half full.
    fn tree_blocks(&self, extents: u64) -> u64 {
        let of_node = (self.block_size - NODE_OVERHEAD) / EXTENT / 2;
        let mut nodes: u64 = 0;
        let mut level = extents;
        while level > INLINE_EXTENTS {
            level = level.div_ceil(of_node);
            nodes = nodes.saturating_add(level);
        }
        nodes
    }
}
