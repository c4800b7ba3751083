//! Which clusters cost least.
//!
//! A compressed base is spliced by stretches of the disk ([`crate::disk::STRETCH`]): what has one
//! changed byte is packed anew. The table and the root directory change with every file, so their
//! stretch, and any other with a change in it, costs nothing more; after that an empty one costs
//! least. A file whose clusters lie elsewhere, among kernels and firmware, gets new ones, and so does
//! the part of a folder that changes.

use std::ops::Range;

use super::directory::Directory;
use super::file_system::Fat;
use crate::error::Result;

impl Fat {
    /// Whether all of `chain` lies in stretches that change anyway.
    pub(super) fn changes_anyway(&self, chain: &[u32]) -> bool {
        let stretch = |cluster| self.window.stretch(self.geometry.cluster_offset(cluster));
        let mut stretches: Vec<u64> = chain.iter().map(|&cluster| stretch(cluster)).collect();
        stretches.dedup();
        stretches
            .into_iter()
            .all(|stretch| self.is_changed(stretch))
    }

    /// Takes `count` free clusters where the disk changes anyway, or else where it is empty; `None`
    /// when there is neither. Not linked yet.
    pub(super) fn allocate_cheaply(&mut self, count: usize) -> Option<Vec<u32>> {
        let (changed, others): (Vec<u64>, Vec<u64>) = self
            .stretches()
            .partition(|&stretch| self.is_changed(stretch));
        let regions: Vec<Range<u32>> = changed.into_iter().map(|s| self.clusters_of(s)).collect();
        if let Some(found) = self.table.allocate(count, &regions) {
            return Some(found);
        }
        let empty: Vec<Range<u32>> = others
            .into_iter()
            .map(|stretch| self.clusters_of(stretch))
            .filter(|clusters| clusters.clone().all(|cluster| self.table.is_free(cluster)))
            .collect();
        self.table.allocate(count, &empty)
    }

    /// Frees `chain` without touching what the base has in it; what we may have written is zeroed.
    pub(super) fn leave(&mut self, chain: &[u32]) -> Result<()> {
        for &cluster in chain {
            if self.changes_anyway(&[cluster]) {
                self.zero(&[cluster])?;
            }
        }
        self.table.free_chain(chain);
        Ok(())
    }

    /// Moves the cluster at `index` of a folder's chain to where it costs less, if it does. The
    /// first one stays: others know the folder by it.
    pub(super) fn move_folder_cluster(&mut self, dir: &mut Directory, index: usize) -> Result<()> {
        let old = dir.chain[index];
        if index == 0 || self.changes_anyway(&[old]) {
            return Ok(());
        }
        let Some(new) = self.allocate_cheaply(1) else {
            return Ok(());
        };
        dir.chain.splice(index..=index, new.iter().copied());
        self.leave(&[old])?;
        self.table.link(&dir.chain);
        let size = self.geometry.cluster_size as usize;
        self.write_chain(&new, &dir.bytes[index * size..(index + 1) * size])
    }

    /// The stretches that data lies in.
    fn stretches(&self) -> impl Iterator<Item = u64> + use<> {
        let last = self.geometry.clusters + 1;
        let stretch = |cluster| self.window.stretch(self.geometry.cluster_offset(cluster));
        stretch(2)..=stretch(last)
    }

    fn is_changed(&self, stretch: u64) -> bool {
        let root = self.geometry.cluster_offset(self.geometry.root_cluster);
        stretch == self.window.stretch(root) || self.window.is_stretch_dirty(stretch)
    }

    /// The clusters that lie wholly in `stretch`.
    fn clusters_of(&self, stretch: u64) -> Range<u32> {
        self.geometry.clusters_in(self.window.of_stretch(stretch))
    }
}
