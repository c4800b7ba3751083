//! Which parts of a patched disk something needs: what must reach a card, whatever was on it before.

use std::ops::Range;
use std::sync::Arc;

use super::root_partition::locate;
use crate::disk::partition_table::{self, PartitionEntry};
use crate::disk::ranges::{InUse, between, not_zero, whole_pages};
use crate::disk::{CowDisk, ReadAt, Window};
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;
use crate::{ext4, fat};

/// This much of the disk is always in use, as far as no partition begins earlier: of a card that had
/// another partition table or boot loader, nothing of these may be left. `parted` leaves as much
/// before the first partition.
const HEAD: u64 = 1 << 20;

/// What is known of the parts of a disk that are in use.
#[derive(Debug)]
pub enum Used {
    /// These are, and nothing else.
    Ranges(Vec<Range<u64>>),
    /// All may be: nothing is known of what is on the disk, and this is why.
    Unknown(Error),
}

impl Used {
    /// The ranges, of a disk that has to be known.
    pub fn known(self) -> Result<Vec<Range<u64>>> {
        match self {
            Self::Ranges(ranges) => Ok(ranges),
            Self::Unknown(why) => Err(why),
        }
    }
}

/// The byte ranges of `disk` that are in use: sorted, apart from each other, whole pages of 4 KiB
/// (but for the end of the disk).
///
/// In use are the partition table, what the FAT and the ext4 file system do not have as free, and
/// whatever else is not zero: gaps between partitions, partitions that are not ours, the space
/// behind a file system. Zeros in use are listed as everything in use is: on a card that held
/// something else they have to be written. What is not listed is free, and most often zero.
pub fn used_ranges(disk: &Arc<CowDisk>, cancel: &Cancel) -> Result<Used> {
    cancel.check()?;
    let mut used = Vec::new();
    let mut file_systems = match of_file_systems(disk, &mut used) {
        Ok(found) => found,
        Err(why) => return Ok(Used::Unknown(why)),
    };
    file_systems.sort_by_key(|range| range.start);
    for gap in between(&file_systems, disk.len()) {
        used.extend(not_zero(disk.as_ref(), gap, cancel)?);
    }
    Ok(Used::Ranges(whole_pages(used, disk.len())))
}

/// Adds what the partition table and the file systems say is in use to `used`; returns where the file
/// systems are.
fn of_file_systems(disk: &Arc<CowDisk>, used: &mut Vec<Range<u64>>) -> Result<Vec<Range<u64>>> {
    let table = locate(disk)?.0.table;
    let (boot, root) = (&table.boot, &table.root);
    used.extend(partition_table::table_ranges(disk.as_ref())?);
    used.push(0..HEAD.min(boot.start).min(root.start));
    Ok(vec![
        file_system(disk, boot, fat::used_ranges, used)?,
        file_system(disk, root, ext4::used_ranges, used)?,
    ])
}

/// Adds what the file system of a partition needs to `used`; returns the part of the disk it is on.
fn file_system(
    disk: &Arc<CowDisk>,
    entry: &PartitionEntry,
    read: impl Fn(&Window) -> Result<InUse>,
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
