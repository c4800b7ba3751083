//! Carries a [`Plan`] out on a copy-on-write disk: detects what the base has, grows its root file
//! system when the payload needs room, and edits both partitions.

mod accounts;
mod boot_files;
mod payload;
mod root;
mod touched;
mod units;
mod used_ranges;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use payload::{LoadedPayload, check_elf};
pub use touched::touched;
pub use used_ranges::used_ranges;

use crate::config::DiskTable;
use crate::disk::partition_table::{self, Converted, NewIds, PartitionTable};
use crate::disk::{CowDisk, ReadAt, Window};
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{self, Ext4};
use crate::fat::Fat;
use crate::job::Cancel;
use crate::overlay::Part;
use crate::plan::{Action, Content, Edit, IdentityPath, PayloadRef, Plan, When};

/// The root partition grows in steps of this many bytes; Raspberry Pi OS aligns to them too.
const GROWTH_STEP: u64 = 8 << 20;

/// Payloads by what the plan calls them.
pub type Payloads = BTreeMap<PayloadRef, LoadedPayload>;

/// What patching is given besides the plan.
pub struct PatchOptions<'a> {
    pub payloads: &'a Payloads,
    /// Unix time (seconds) that everything written gets. `None`: when the base was last written.
    pub time: Option<i64>,
    pub cancel: &'a Cancel,
}

/// What patching did.
#[derive(Debug, Clone)]
pub struct Patched {
    /// Whether the identity went through cloud-init's seed.
    pub cloud_init: bool,
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
}

/// Applies `plan` to `disk`. On an error the disk is in no defined state; its base is untouched.
pub fn apply(plan: &Plan, disk: &Arc<CowDisk>, options: &PatchOptions<'_>) -> Result<Patched> {
    let before = disk.len();
    let Converted { table, new_ids } = wanted_table(plan, disk)?;
    let window = root_window(disk, &table)?;
    let time = match options.time {
        Some(time) => time,
        None => ext4::last_written(&window)?,
    };
    let base = Base::probe(window, time)?;
    let cloud_init = choose_identity(plan.identity, base.cloud_init)?;
    let edits: Vec<&Edit> = plan
        .edits
        .iter()
        .filter(|edit| applies(edit.when, cloud_init, base.cloud_init))
        .collect();
    let table = make_room(plan, disk, table, &base, &edits, options)?;
    patch_root(disk, &table, &edits, &new_ids, time, options)?;
    patch_boot(disk, &table, &edits, &new_ids, time)?;
    let changed = disk.settle()?.len() as u64 * crate::disk::PAGE_SIZE;
    Ok(Patched {
        cloud_init,
        edits: edits.len(),
        grown: disk.len() - before,
        size: disk.len(),
        changed,
        time,
    })
}

/// The partition table that the plan wants.
fn wanted_table(plan: &Plan, disk: &CowDisk) -> Result<Converted> {
    match plan.table {
        DiskTable::Gpt => partition_table::to_gpt(disk, &plan.hostname)
            .context(|| "giving the image a GPT".into()),
        DiskTable::Keep => Ok(Converted {
            table: partition_table::read(disk)?,
            new_ids: NewIds::default(),
        }),
    }
}

fn root_window(disk: &Arc<CowDisk>, table: &PartitionTable) -> Result<Window> {
    Window::new(disk.clone(), table.root.start, table.root.len)
}

/// What the root file system of a base tells about it.
struct Base {
    cloud_init: bool,
    space: ext4::Space,
}

impl Base {
    fn probe(window: Window, time: i64) -> Result<Self> {
        let fs = open_root(window, time)?;
        let has = |path: &str| fs.stat(path).map(|s| s.is_some());
        let cloud_init = has("/etc/cloud/cloud.cfg")? && has("/usr/bin/cloud-init")?;
        let space = fs.space()?;
        fs.finish()?;
        Ok(Self { cloud_init, space })
    }
}

fn open_root(window: Window, time: i64) -> Result<Ext4> {
    Ext4::open(window, time).context(|| "opening the root file system (ext4)".into())
}

fn choose_identity(wanted: IdentityPath, has_cloud_init: bool) -> Result<bool> {
    match wanted {
        IdentityPath::Auto => Ok(has_cloud_init),
        IdentityPath::Offline => Ok(false),
        IdentityPath::CloudInit if has_cloud_init => Ok(true),
        IdentityPath::CloudInit => Err(Error::usage(
            "`firstboot` is \"cloud-init\", but the base image has no cloud-init",
        )
        .with_hint(
            "leave `firstboot` at \"auto\", or start from a Raspberry Pi OS of 2025-11 or later",
        )),
    }
}

fn applies(when: When, cloud_init: bool, base_has_it: bool) -> bool {
    match when {
        When::Always => true,
        When::CloudInit => cloud_init,
        When::Offline => !cloud_init,
        When::CloudInitUnused => !cloud_init && base_has_it,
    }
}

/// Grows the image to its fixed size, or by what the edits need beyond the free room.
fn make_room(
    plan: &Plan,
    disk: &Arc<CowDisk>,
    table: PartitionTable,
    base: &Base,
    edits: &[&Edit],
    options: &PatchOptions<'_>,
) -> Result<PartitionTable> {
    let sizes = new_file_sizes(edits, options.payloads)?;
    let files = sizes.len() as u64;
    let space = base.space;
    let needed = ext4::blocks_needed(sizes, space.block_size)
        .saturating_mul(space.block_size)
        .saturating_add(plan.spare);
    let shortfall = needed.saturating_sub(space.free_bytes());
    let target = match plan.image_size {
        Some(size) => fixed_length(size, disk.len(), &table, shortfall)?,
        None if shortfall == 0 => return check_inodes(files, space, table),
        // New block groups carry inode tables and bitmaps of their own: about a sixteenth.
        None => table
            .root
            .len
            .saturating_add(shortfall)
            .saturating_add(shortfall / 15)
            .saturating_add(GROWTH_STEP)
            .next_multiple_of(GROWTH_STEP),
    };
    if target <= table.root.len {
        return Ok(table);
    }
    let window = root_window(disk, &table)?;
    let most = ext4::max_len(&window)?;
    if target > most {
        return Err(Error::failed(format!(
            "the root file system would have to grow to {} MiB for this payload, but it can not grow beyond {} MiB",
            target >> 20,
            most >> 20
        ))
        .with_hint("leave out payload, or start from a larger base image"));
    }
    let grown = partition_table::grow_root(disk, &table, target)
        .context(|| "growing the root partition".into())?;
    ext4::grow(&root_window(disk, &grown)?, grown.root.len)
        .context(|| "growing the root file system".into())?;
    Ok(grown)
}

/// Length of the root partition in an image of `size` bytes.
fn fixed_length(size: u64, image: u64, table: &PartitionTable, shortfall: u64) -> Result<u64> {
    if size < image {
        return Err(Error::usage(format!(
            "`disk.size` is {} MiB, but the base image takes {} MiB and can not shrink",
            size >> 20,
            image >> 20
        ))
        .with_hint("raise `disk.size`, or leave it out: the image then grows as needed"));
    }
    let len = table.root_end(size).saturating_sub(table.root.start);
    if len < table.root.len.saturating_add(shortfall) {
        return Err(Error::failed(format!(
            "`disk.size` of {} MiB leaves {} MiB too little for the payload",
            size >> 20,
            (table.root.len + shortfall - len) >> 20
        ))
        .with_hint("raise `disk.size`, or leave it out: the image then grows as needed"));
    }
    Ok(len)
}

fn check_inodes(files: u64, space: ext4::Space, table: PartitionTable) -> Result<PartitionTable> {
    if files > space.free_inodes {
        return Err(Error::failed(format!(
            "the root file system has {} free inodes, and the edits may need {files}",
            space.free_inodes
        ))
        .with_hint("set `disk.size` to make the image larger: new block groups bring new inodes"));
    }
    Ok(table)
}

/// Bytes of every file, link and folder that the edits may add to the root file system.
fn new_file_sizes(edits: &[&Edit], payloads: &Payloads) -> Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for edit in edits.iter().filter(|e| e.part == Part::Root) {
        match &edit.action {
            Action::Write(Content::Bytes { bytes, .. }, _) => sizes.push(bytes.len() as u64),
            Action::Write(Content::Payload(payload), _) | Action::Unpack(payload) => {
                sizes.extend(payload::find(payloads, payload)?.sizes());
            }
            _ => sizes.push(0),
        }
    }
    Ok(sizes)
}

fn patch_root(
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    edits: &[&Edit],
    new_ids: &NewIds,
    time: i64,
    options: &PatchOptions<'_>,
) -> Result<()> {
    let fs = open_root(root_window(disk, table)?, time)?;
    let mut editor = root::RootEditor::new(fs, time, options);
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
    edits: &[&Edit],
    new_ids: &NewIds,
    time: i64,
) -> Result<()> {
    let edits: Vec<&Edit> = edits
        .iter()
        .filter(|e| e.part == Part::Boot)
        .copied()
        .collect();
    if edits.is_empty() && new_ids.is_empty() {
        return Ok(());
    }
    let window = Window::new(disk.clone(), table.boot.start, table.boot.len)?;
    let mut fat =
        Fat::open(window, time).context(|| "opening the boot file system (FAT32)".into())?;
    boot_files::apply(&mut fat, &edits)?;
    boot_files::rename_partitions(&mut fat, new_ids)?;
    fat.finish()
        .context(|| "finishing the boot file system (FAT32)".into())
}
