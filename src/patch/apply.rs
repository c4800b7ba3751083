//! Carries a plan out.

use std::sync::Arc;

use super::boot_files;
use super::fit::Base;
use super::made::{Made, MadePath};
use super::needs;
use super::options::PatchOptions;
use super::room::{Wanted, make_room, wanted_table};
use super::root::RootEditor;
use crate::disk::partition_table::{Converted, NewIds, PartitionTable};
use crate::disk::{CowDisk, ReadAt};
use crate::error::{Result, ResultExt};
use crate::ext4;
use crate::fat::Fat;
use crate::image::root_partition::{self, open_root, root_window};
use crate::overlay::Part;
use crate::plan::{Edit, Plan};

/// What patching did.
#[derive(Debug, Clone)]
pub struct Patched {
    /// Whether the identity went through cloud-init's seed.
    pub cloud_init: bool,
    /// Why the base's cloud-init would not run, when that is so.
    pub cloud_init_off: Option<String>,
    /// Edits that applied to this base.
    pub edits: usize,
    /// Bytes that the image grew by.
    pub grown: u64,
    /// Bytes of the whole image.
    pub size: u64,
    /// Bytes of the pages that differ from the base.
    pub changed: u64,
    /// The time that was used.
    pub time: i64,
    /// What was made, changed or removed, sorted.
    pub made: Vec<MadePath>,
}

/// Applies `plan` to `disk`. On an error the disk is in no defined state; its base is untouched.
pub fn apply(plan: &Plan, disk: &Arc<CowDisk>, options: &PatchOptions<'_>) -> Result<Patched> {
    let before = disk.len();
    let (chosen, fat) = root_partition::locate(disk)?;
    let Converted { table, new_ids } = wanted_table(plan, disk, &chosen)?;
    let window = root_window(disk, &table)?;
    let time = match options.time {
        Some(time) => time,
        None => ext4::last_written(&window)?,
    };
    let fs = open_root(window, time)?;
    let base = Base::probe(plan, &fs, disk, &chosen, &fat)?;
    let (cloud_init, edits) = base.edits_of(plan)?;
    let need = needs::count(&fs, &edits, options.payloads)?;
    fs.finish()?;
    let need = Wanted::new(need, plan.spare, base.space.block_size);
    let table = make_room(plan, disk, table, &base, need)?;
    let root = patch_root(disk, &table, &edits, &new_ids, time, options)?;
    let boot = patch_boot(disk, &table, fat.dated(time), &edits, &new_ids)?;
    let made = boot.paths(Part::Boot).chain(root.paths(Part::Root));
    let changed = disk.settle()?.len() as u64 * crate::disk::PAGE_SIZE;
    Ok(Patched {
        cloud_init,
        cloud_init_off: base.cloud_init.reason(),
        edits: edits.len(),
        grown: disk.len() - before,
        size: disk.len(),
        changed,
        time,
        made: made.collect(),
    })
}

fn patch_root(
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    edits: &[&Edit],
    new_ids: &NewIds,
    time: i64,
    options: &PatchOptions<'_>,
) -> Result<Made> {
    let mut fs = open_root(root_window(disk, table)?, time)?;
    fs.stop_at(options.cancel.clone());
    let mut editor = RootEditor::new(fs, time, options);
    for edit in edits.iter().filter(|e| e.part == Part::Root) {
        options.cancel.check()?;
        editor
            .apply(edit)
            .context(|| format!("{} of the root partition ({})", edit.path, edit.origin))?;
    }
    editor
        .rename_partitions(new_ids)
        .context(|| "naming the partitions in /etc/fstab".into())?;
    editor
        .finish()
        .context(|| "finishing the root file system (ext4)".into())
}

fn patch_boot(
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    mut fat: Fat,
    edits: &[&Edit],
    new_ids: &NewIds,
) -> Result<Made> {
    let edits: Vec<&Edit> = edits
        .iter()
        .filter(|e| e.part == Part::Boot)
        .copied()
        .collect();
    let mut made = Made::default();
    boot_files::apply(&mut fat, &edits, &mut made)?;
    boot_files::rename_partitions(&mut fat, new_ids, &mut made)?;
    root_partition::check_still(disk, table, &fat)?;
    fat.finish()
        .context(|| "finishing the boot file system (FAT32)".into())?;
    Ok(made)
}
