//! Where new data should go.
//!
//! A compressed base is spliced by stretches of the disk ([`crate::disk::STRETCH`]): what has one
//! changed byte is packed anew. So new data is cheapest all together in stretches that are empty,
//! and new inodes in the tables beside the superblock, which changes anyway.
//!
//! The engine takes the first hole that is long enough, beginning at the group of the directory. It
//! is steered by what it gets to see: while it works, free blocks outside the chosen stretches are
//! marked as used, really and with all counts, and given back before anyone else looks. Inodes, and
//! groups whose bitmap was never written, are hidden by the free counts of groups that it takes when
//! it mounts. When it finds no room, it is shown more.

use std::ops::Range;

use super::block_map::BlockMap;
use super::group_descriptor::{GroupDescriptor, INODE_UNINIT};
use super::superblock::{self, Superblock};
use crate::disk::Window;
use crate::error::Result;

/// Fewest free inodes that make a group worth choosing.
const ENOUGH_INODES: u32 = 64;

/// Which room is given to new data, in which order.
#[derive(Default)]
pub(super) struct Steering {
    /// Blocks by stretches, the best first.
    stretches: Vec<Range<u64>>,
    /// How many of them are open to the engine.
    open: usize,
    /// The group that new inodes go to; `None`: any.
    inodes: Option<u64>,
    /// Free blocks that are marked as used for now.
    fenced: Vec<Range<u64>>,
}

/// What the engine found none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Blocks,
    Inodes,
}

impl Steering {
    /// Chooses, on a file system that no engine has open.
    pub(super) fn plan(window: &Window) -> Result<Self> {
        let map = BlockMap::read(window)?;
        Ok(Self {
            stretches: stretches(&map, window),
            open: 1,
            inodes: home(&map.sb, &map.groups, window),
            fenced: Vec::new(),
        })
    }

    /// The blocks that new data may go to; any when there are none.
    pub(super) fn open(&self) -> &[Range<u64>] {
        match self.is_everything() {
            true => &[],
            false => &self.stretches[..self.open],
        }
    }

    fn is_everything(&self) -> bool {
        self.open >= self.stretches.len()
    }

    /// Free blocks that the superblock does not count at the moment.
    pub(super) fn fenced_blocks(&self) -> u64 {
        self.fenced.iter().map(|run| run.end - run.start).sum()
    }

    /// Shows more: twice as many stretches, or all inodes. False when all that is missing was shown
    /// already.
    pub(super) fn widen(&mut self, missing: Missing) -> bool {
        match missing {
            Missing::Blocks if self.is_everything() => false,
            Missing::Blocks => {
                self.open = self.open.saturating_mul(2);
                true
            }
            Missing::Inodes => self.inodes.take().is_some(),
        }
    }

    /// Marks what is not open as used.
    pub(super) fn raise(&mut self, window: &Window) -> Result<()> {
        if self.is_everything() {
            return Ok(());
        }
        let mut map = BlockMap::read(window)?;
        let mut open = self.open().to_vec();
        for blocks in &open {
            for group in map.group_of(blocks.start)..=map.group_of(blocks.end - 1) {
                if map.is_uninit(group) {
                    map.initialise(group);
                }
            }
        }
        open.sort_by_key(|blocks| blocks.start);
        let mut at = map.sb.first_data_block();
        let mut closed = Vec::new();
        for blocks in open {
            closed.push(at..blocks.start);
            at = blocks.end;
        }
        closed.push(at..map.sb.blocks());
        for range in closed {
            for run in map.free_runs(range) {
                self.fence(&mut map, run);
            }
        }
        map.write()
    }

    /// Marks the free blocks of `run` as used, except in groups that are hidden as a whole.
    fn fence(&mut self, map: &mut BlockMap, run: Range<u64>) {
        for group in map.group_of(run.start)..=map.group_of(run.end - 1) {
            let start = map.sb.group_start(group).max(run.start);
            let end = map.sb.group_start(group + 1).min(run.end);
            if !map.is_uninit(group) {
                map.set(start..end, true);
                self.fenced.push(start..end);
            }
        }
    }

    /// Takes back what [`Steering::raise`] did.
    pub(super) fn lower(&mut self, window: &Window) -> Result<()> {
        if self.fenced.is_empty() {
            return Ok(());
        }
        let mut map = BlockMap::read(window)?;
        for run in std::mem::take(&mut self.fenced) {
            map.set(run, false);
        }
        map.write()
    }

    /// Whether the engine is to see no free blocks in groups whose bitmap was never written.
    pub(super) fn hides_uninit(&self) -> bool {
        !self.is_everything()
    }

    /// Whether the engine is to see no free inodes in `group`.
    pub(super) fn hides_inodes(&self, group: u64) -> bool {
        self.inodes.is_some_and(|home| home != group)
    }
}

/// The stretches that have free blocks, the best first: those that are empty, and among them those
/// whose bitmaps lie beside the superblock; then the superblock's own; then by what is free.
fn stretches(map: &BlockMap, window: &Window) -> Vec<Range<u64>> {
    let bs = map.sb.block_size();
    let own = window.stretch(superblock::OFFSET);
    let last = window.stretch(map.sb.blocks() * bs - 1);
    let is_near = |group: u64| {
        let group = map.groups.get(group as usize);
        group.is_some_and(|group| window.stretch(group.block_bitmap() * bs) == own)
    };
    let mut ranked = Vec::new();
    for stretch in own..=last {
        let bytes = window.of_stretch(stretch);
        let blocks = bytes.start.div_ceil(bs)..(bytes.end / bs).min(map.sb.blocks());
        let free: u64 = map
            .free_runs(blocks.clone())
            .iter()
            .map(|run| run.end - run.start)
            .sum();
        if free == 0 {
            continue;
        }
        let is_empty = stretch != own && free == blocks.end - blocks.start;
        let groups = map.group_of(blocks.start)..=map.group_of(blocks.end - 1);
        let rank = match (is_empty, stretch == own) {
            (true, _) if groups.into_iter().all(is_near) => (0, 0),
            (true, _) => (1, 0),
            (false, true) => (2, 0),
            (false, false) => (3, u64::MAX - free),
        };
        ranked.push((rank, blocks));
    }
    ranked.sort_by_key(|(rank, blocks)| (*rank, blocks.start));
    ranked.into_iter().map(|(_, blocks)| blocks).collect()
}

/// The group for new inodes: the first that has some to give where its table lies beside the
/// superblock, else the first of all.
fn home(sb: &Superblock, groups: &[GroupDescriptor], window: &Window) -> Option<u64> {
    let own = window.stretch(superblock::OFFSET);
    let is_near = |group: &GroupDescriptor| {
        let never_used = match group.flags() & INODE_UNINIT {
            0 => group.unused_inodes(),
            _ => sb.inodes_per_group(),
        };
        let index = sb.inodes_per_group().saturating_sub(never_used);
        let at = group.inode_table() * sb.block_size() + u64::from(index) * sb.inode_size();
        window.stretch(at) == own
    };
    groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.free_inodes() >= ENOUGH_INODES)
        .min_by_key(|(number, group)| (!is_near(group), *number))
        .map(|(number, _)| number as u64)
}
