//! Which parts of a patched disk something needs: what must reach a card, whatever was on it before.

use std::ops::Range;
use std::sync::Arc;

use super::root_partition::locate;
use crate::disk::partition_table::{self, PartitionEntry};
use crate::disk::ranges::{InUse, between, not_zero, whole_pages};
use crate::disk::{CowDisk, ReadAt, Window};
use crate::error::{Result, ResultExt};
use crate::job::Cancel;
use crate::{ext4, fat};

/// This much of the disk is always in use, as far as no partition begins earlier: of a card that had
/// another partition table or boot loader, nothing of these may be left. `parted` leaves as much
/// before the first partition.
const HEAD: u64 = 1 << 20;

/// The byte ranges of `disk` that are in use: sorted, apart from each other, whole pages of 4 KiB
/// (but for the end of the disk).
///
/// In use are the partition table, what the FAT and the ext4 file system do not have as free, and
/// whatever else is not zero: gaps between partitions, partitions that are not ours, the space
/// behind a file system. Zeros in use are listed as everything in use is: on a card that held
/// something else they have to be written. What is not listed is free, and most often zero.
pub fn used_ranges(disk: &Arc<CowDisk>, cancel: &Cancel) -> Result<Vec<Range<u64>>> {
    let table = locate(disk)?.0.table;
    let (boot, root) = (&table.boot, &table.root);
    let mut used = partition_table::table_ranges(disk.as_ref())?;
    used.push(0..HEAD.min(boot.start).min(root.start));
    let mut file_systems = Vec::new();
    for (entry, read) in [
        (boot, fat::used_ranges as fn(&Window) -> Result<InUse>),
        (root, ext4::used_ranges),
    ] {
        cancel.check()?;
        file_systems.push(file_system(disk, entry, read, &mut used)?);
    }
    file_systems.sort_by_key(|range| range.start);
    for gap in between(&file_systems, disk.len()) {
        used.extend(not_zero(disk.as_ref(), gap, cancel)?);
    }
    Ok(whole_pages(used, disk.len()))
}

/// Adds what the file system of a partition needs to `used`; returns the part of the disk it is on.
fn file_system(
    disk: &Arc<CowDisk>,
    entry: &PartitionEntry,
    read: fn(&Window) -> Result<InUse>,
    used: &mut Vec<Range<u64>>,
) -> Result<Range<u64>> {
    let window = Window::new(disk.clone(), entry.start, entry.len)?;
    let in_use = read(&window).context(|| {
        let number = entry.number;
        format!("finding out what is in use on partition {number}")
    })?;
    let on_disk = |range: Range<u64>| entry.start + range.start..entry.start + range.end;
    used.extend(in_use.ranges.into_iter().map(on_disk));
    Ok(on_disk(0..in_use.len))
}
