//! Where new data should go.
//!
//! The engine takes the first hole that is long enough, beginning at the group of the directory:
//! often one among the data of the base image. A compressed base is spliced, and whatever part of
//! it has one changed byte must be compressed anew, so new data is cheapest all together where the
//! base is empty. Groups that are not among the emptiest are therefore hidden from the engine, by
//! their free counts, until it finds no room in those that are left.

use super::bytes::bit;
use super::group_descriptor::{BLOCK_UNINIT, GroupDescriptor};
use super::superblock::Superblock;
use crate::disk::{ReadAt, Window};
use crate::error::Result;

/// For each group, whether new data should stay out of it: its longest run of free blocks is less
/// than half of the longest there is.
pub(super) fn crowded(
    window: &Window,
    sb: &Superblock,
    groups: &[GroupDescriptor],
) -> Result<Vec<bool>> {
    let runs = groups
        .iter()
        .enumerate()
        .map(|(number, group)| longest_free_run(window, sb, number as u64, group))
        .collect::<Result<Vec<u64>>>()?;
    let longest = runs.iter().copied().max().unwrap_or(0);
    Ok(runs
        .into_iter()
        .map(|run| run < longest.div_ceil(2))
        .collect())
}

fn longest_free_run(
    window: &Window,
    sb: &Superblock,
    number: u64,
    group: &GroupDescriptor,
) -> Result<u64> {
    if group.flags() & BLOCK_UNINIT != 0 {
        return Ok(u64::from(group.free_blocks()));
    }
    let mut bitmap = vec![0; sb.block_size() as usize];
    window.read_at(group.block_bitmap() * sb.block_size(), &mut bitmap)?;
    let (mut longest, mut run) = (0, 0);
    for index in 0..sb.group_blocks(number) {
        run = if bit(&bitmap, index) { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    Ok(longest)
}
