//! The partition table that a plan wants, and room for what it brings: the root partition and its file
//! system grow.

use std::fmt;
use std::sync::Arc;

use super::fit::Base;
use crate::config::DiskTable;
use crate::disk::partition_table::{self, Converted, NewIds, PartitionTable};
use crate::disk::{CowDisk, ReadAt, Window};
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{self, Need};
use crate::image::root_partition::{self, root_window};
use crate::plan::Plan;

/// The root partition grows in steps of this many bytes; Raspberry Pi OS aligns to them too.
const GROWTH_STEP: u64 = 8 << 20;

/// The partition table that the plan wants.
pub fn wanted_table(
    plan: &Plan,
    disk: &CowDisk,
    chosen: &root_partition::Chosen,
) -> Result<Converted> {
    match plan.table {
        DiskTable::Gpt => {
            let converted = partition_table::to_gpt(disk, &plan.hostname)
                .context(|| "giving the image a GPT".into())?;
            let table = converted.table.with_root(chosen.table.root.number)?;
            Ok(Converted { table, ..converted })
        }
        DiskTable::Keep => Ok(Converted {
            table: chosen.table.clone(),
            new_ids: NewIds::default(),
        }),
    }
}

/// Room that is wanted in the root file system.
#[derive(Clone, Copy)]
pub struct Wanted {
    need: Need,
    block_size: u64,
    /// Bytes to stay free.
    spare: u64,
}

impl Wanted {
    pub fn new(edits: Need, spare: u64, block_size: u64) -> Self {
        let spare_blocks = spare.div_ceil(block_size);
        Self {
            need: Need {
                blocks: edits.blocks.saturating_add(spare_blocks),
                ..edits
            },
            block_size,
            spare,
        }
    }

    fn fits(&self, space: &ext4::Space) -> bool {
        self.need.fits(space)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Need { blocks, inodes } = self.need;
        let bytes = blocks.saturating_mul(self.block_size);
        write!(f, "{} MiB and {inodes} inodes", bytes.div_ceil(1 << 20))?;
        match self.spare {
            0 => Ok(()),
            spare => write!(f, " ({} MiB of it for `disk.spare`)", spare >> 20),
        }
    }
}

/// Grows the image to its fixed size, or until `need` fits into the root file system.
pub fn make_room(
    plan: &Plan,
    disk: &Arc<CowDisk>,
    table: PartitionTable,
    base: &Base,
    need: Wanted,
) -> Result<PartitionTable> {
    let target = wanted_len(plan, disk, &table, base, need)?;
    if target <= table.root.len {
        return Ok(table);
    }
    let grown = partition_table::grow_root(disk, &table, target)
        .context(|| "growing the root partition".into())?;
    ext4::grow(&root_window(disk, &grown)?, grown.root.len)
        .context(|| "growing the root file system".into())?;
    Ok(grown)
}

/// Length of the root partition that `need` fits into.
pub fn wanted_len(
    plan: &Plan,
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    base: &Base,
    need: Wanted,
) -> Result<u64> {
    let window = root_window(disk, table)?;
    match plan.image_size {
        Some(size) => fixed_length(size, disk.len(), table, &window, need),
        None if need.fits(&base.space) => Ok(table.root.len),
        None => enough(table, &window, need)?.ok_or_else(|| too_much(&window, need)),
    }
}

/// The shortest length of the root partition, in steps, that `need` fits into; `None` when the file
/// system cannot become that long.
fn enough(table: &PartitionTable, window: &Window, need: Wanted) -> Result<Option<u64>> {
    let most = ext4::max_len(window)?;
    let first = (table.root.len + 1).next_multiple_of(GROWTH_STEP);
    for len in (first..=most).step_by(GROWTH_STEP as usize) {
        if need.fits(&ext4::space_at(window, len)?) {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

fn too_much(window: &Window, need: Wanted) -> Error {
    let most = match ext4::max_len(window) {
        Ok(most) => most,
        Err(error) => return error,
    };
    Error::failed(format!(
        "{need} are more than the root file system can have: it cannot grow beyond {} MiB",
        most >> 20
    ))
    .with_hint("leave out payload, or start from a larger base image")
}

/// Length of the root partition in an image of `size` bytes.
fn fixed_length(
    size: u64,
    image: u64,
    table: &PartitionTable,
    window: &Window,
    need: Wanted,
) -> Result<u64> {
    refuse_to_shrink(size, image)?;
    let len = table.root_end(size).saturating_sub(table.root.start);
    let most = ext4::max_len(window)?;
    if len > most.max(table.root.len) {
        return Err(Error::failed(format!(
            "with `disk.size` of {} MiB the root file system would have {} MiB, but it cannot grow beyond {} MiB",
            size >> 20,
            len >> 20,
            most >> 20
        ))
        .with_hint("lower `disk.size`: the first boot grows the root file system onto the whole card"));
    }
    let space = ext4::space_at(window, len)?;
    if need.fits(&space) {
        return Ok(len);
    }
    let Some(enough) = enough(table, window, need)? else {
        return Err(too_much(window, need));
    };
    let smallest = (size + enough.saturating_sub(len)).next_multiple_of(1 << 20);
    Err(Error::failed(format!(
        "`disk.size` of {} MiB is too little: {need} are needed, and the root file system would have {} MiB and {} inodes free",
        size >> 20,
        space.free_bytes() >> 20,
        space.free_inodes
    ))
    .with_hint(format!(
        "set `disk.size` to at least \"{}MiB\", or leave it out: the image then grows as needed",
        smallest >> 20
    )))
}

pub fn refuse_to_shrink(size: u64, image: u64) -> Result<()> {
    if size >= image {
        return Ok(());
    }
    Err(Error::usage(format!(
        "`disk.size` is {} MiB, but the base image takes {} MiB and cannot shrink",
        size >> 20,
        image >> 20
    ))
    .with_hint("raise `disk.size`, or leave it out: the image then grows as needed"))
}
