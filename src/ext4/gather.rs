//! Moves what was changed in place to where the new data is.
//!
//! A name that comes to a directory changes one block of it, somewhere among the data of the base,
//! and so has a whole stretch of the disk packed anew ([`crate::disk::STRETCH`]). When nothing else
//! changes there, the blocks of the directory are moved to the stretch of the new data, and the old
//! ones, free now, are as the base has them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::block_map::BlockMap;
use super::inode::{self, Extent};
use crate::disk::{PAGE_SIZE, ReadAt, Window};
use crate::error::Result;

/// Longest run of blocks that is moved: copying more costs more than it saves.
const LONGEST: u64 = 128;

/// Moves what can be moved of the inodes `touched` into `room`, in a file system that no engine has
/// open. Only whole extents are moved, so that extent trees keep their shape.
pub(super) fn gather(window: &Window, touched: &BTreeSet<u32>, room: &[Range<u64>]) -> Result<()> {
    // Blocks that are not pages share pages with others.
    let map = BlockMap::read(window)?;
    if room.is_empty()
        || map.sb.block_size() != PAGE_SIZE
        || !window.start().is_multiple_of(PAGE_SIZE)
    {
        return Ok(());
    }
    let mut gathering = Gathering {
        window,
        map,
        room,
        changed: BTreeSet::new(),
        fixed: BTreeSet::new(),
    };
    gathering.find_changed()?;
    let runs = gathering.runs(touched)?;
    for run in gathering.worth_moving(runs) {
        gathering.relocate(run)?;
    }
    gathering.map.write()
}

/// An extent that has changed.
struct Run {
    inode: u32,
    /// Offset of the inode in the file system.
    at: u64,
    extent: Extent,
}

impl Run {
    fn blocks(&self) -> Range<u64> {
        self.extent.start..self.extent.start + self.extent.blocks
    }
}

struct Gathering<'a> {
    window: &'a Window,
    map: BlockMap,
    room: &'a [Range<u64>],
    /// Blocks outside the room that differ from the base.
    changed: BTreeSet<u64>,
    /// Stretches that differ from the base whatever is moved.
    fixed: BTreeSet<u64>,
}

impl Gathering<'_> {
    fn stretch(&self, block: u64) -> u64 {
        self.window.stretch(block * PAGE_SIZE)
    }

    fn find_changed(&mut self) -> Result<()> {
        let mut room = self.room.to_vec();
        room.sort_by_key(|blocks| blocks.start);
        let mut at = 0;
        for blocks in room {
            self.add_changed(at..blocks.start)?;
            self.fixed.insert(self.stretch(blocks.start));
            at = blocks.end;
        }
        self.add_changed(at..self.map.sb.blocks())
    }

    fn add_changed(&mut self, blocks: Range<u64>) -> Result<()> {
        let bytes = blocks.start * PAGE_SIZE..blocks.end * PAGE_SIZE;
        let pages = self.window.changed_pages(bytes)?;
        self.changed
            .extend(pages.iter().map(|page| page / PAGE_SIZE));
        Ok(())
    }

    /// The extents of `touched` that have changed blocks outside the room.
    fn runs(&self, touched: &BTreeSet<u32>) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut raw = vec![0; self.map.sb.inode_size() as usize];
        for &number in touched {
            let Some(at) = inode::offset(&self.map.sb, &self.map.groups, number) else {
                continue;
            };
            self.window.read_at(at, &mut raw)?;
            for extent in inode::extents(&raw) {
                let run = Run {
                    inode: number,
                    at,
                    extent,
                };
                let is_whole = run.extent.blocks <= LONGEST && self.map.all_used(run.blocks());
                if is_whole && self.changed.range(run.blocks()).next().is_some() {
                    runs.push(run);
                }
            }
        }
        Ok(runs)
    }

    /// Those of `runs` whose move leaves a stretch as the base has it.
    fn worth_moving(&mut self, runs: Vec<Run>) -> Vec<Run> {
        let in_runs: BTreeSet<u64> = runs.iter().flat_map(Run::blocks).collect();
        let others: Vec<u64> = self.changed.difference(&in_runs).copied().collect();
        for block in others {
            let stretch = self.stretch(block);
            self.fixed.insert(stretch);
        }
        let mut movable = Vec::new();
        for run in runs {
            if self.leaves_no_trace(&run) {
                movable.push(run);
                continue;
            }
            for block in self.changed_of(&run) {
                let stretch = self.stretch(block);
                self.fixed.insert(stretch);
            }
        }
        movable.retain(|run| {
            let mut blocks = self.changed_of(run).into_iter();
            blocks.any(|block| !self.fixed.contains(&self.stretch(block)))
        });
        movable
    }

    fn changed_of(&self, run: &Run) -> Vec<u64> {
        self.changed.range(run.blocks()).copied().collect()
    }

    /// Whether what a move changes, bitmaps and inode, lies in stretches that change anyway.
    fn leaves_no_trace(&self, run: &Run) -> bool {
        let blocks = run.blocks();
        let is_fixed = |block: u64| self.fixed.contains(&self.stretch(block));
        is_fixed(run.at / PAGE_SIZE)
            && [blocks.start, blocks.end - 1].into_iter().all(|block| {
                let group = self.map.groups.get(self.map.group_of(block) as usize);
                group.is_some_and(|group| is_fixed(group.block_bitmap()))
            })
    }

    /// Moves one extent, if there is room.
    fn relocate(&mut self, run: Run) -> Result<()> {
        let old = run.blocks();
        let len = run.extent.blocks;
        let mut free = self.room.iter().flat_map(|b| self.map.free_runs(b.clone()));
        let Some(start) = free
            .find(|free| free.end - free.start >= len)
            .map(|free| free.start)
        else {
            return Ok(());
        };
        let mut content = vec![0; (len * PAGE_SIZE) as usize];
        self.window.read_at(old.start * PAGE_SIZE, &mut content)?;
        self.window.write_at(start * PAGE_SIZE, &content)?;
        let mut raw = vec![0; self.map.sb.inode_size() as usize];
        self.window.read_at(run.at, &mut raw)?;
        run.extent.put_start(&mut raw, start);
        inode::seal(&self.map.sb, run.inode, &mut raw);
        self.window.write_at(run.at, &raw)?;
        self.map.set(start..start + len, true);
        self.map.set(old.clone(), false);
        self.window.revert(old.start * PAGE_SIZE, content.len())
    }
}
