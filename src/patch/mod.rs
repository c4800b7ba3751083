//! Carries a [`Plan`] out on a copy-on-write disk: detects what the base has, grows its root file
//! system when the payload needs room, and edits both partitions.

pub(crate) mod accounts;
mod boot_files;
mod cloud_init;
mod config_txt;
mod needs;
mod payload;
mod root;
mod root_partition;
mod touched;
pub(crate) mod units;
mod used_ranges;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use payload::{LoadedPayload, check_elf};
pub use touched::touched;
pub use used_ranges::used_ranges;

use crate::config::DiskTable;
use crate::config::FirstBoot;
use crate::disk::partition_table::{self, Converted, NewIds, PartitionTable};
use crate::disk::{CowDisk, ReadAt, Window};
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{self, Ext4, Need};
use crate::fat::Fat;
use crate::job::Cancel;
use crate::overlay::Part;
use crate::plan::{Edit, PayloadRef, Plan, When};
use cloud_init::CloudInit;

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
}

/// Applies `plan` to `disk`. On an error the disk is in no defined state; its base is untouched.
pub fn apply(plan: &Plan, disk: &Arc<CowDisk>, options: &PatchOptions<'_>) -> Result<Patched> {
    let before = disk.len();
    let (chosen, fat) = chosen_root(disk)?;
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
    patch_root(disk, &table, &edits, &new_ids, time, options)?;
    patch_boot(disk, &table, fat.dated(time), &edits, &new_ids)?;
    let changed = disk.settle()?.len() as u64 * crate::disk::PAGE_SIZE;
    Ok(Patched {
        cloud_init,
        cloud_init_off: base.cloud_init.reason(),
        edits: edits.len(),
        grown: disk.len() - before,
        size: disk.len(),
        changed,
        time,
    })
}

/// The partition table with the root partition that cmdline.txt names, and the boot file system.
fn chosen_root(disk: &Arc<CowDisk>) -> Result<(root_partition::Chosen, Fat)> {
    let table = partition_table::read(disk.as_ref())?;
    let window = Window::new(disk.clone(), table.boot.start, table.boot.len)?;
    let fat = Fat::open(window, 0).context(|| "opening the boot file system (FAT32)".into())?;
    Ok((root_partition::choose(disk, table, &fat)?, fat))
}

/// The partition table that the plan wants.
fn wanted_table(plan: &Plan, disk: &CowDisk, chosen: &root_partition::Chosen) -> Result<Converted> {
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

fn root_window(disk: &Arc<CowDisk>, table: &PartitionTable) -> Result<Window> {
    Window::new(disk.clone(), table.root.start, table.root.len)
}

/// What a base tells about itself.
struct Base {
    cloud_init: CloudInit,
    space: ext4::Space,
}

impl Base {
    /// Looks at the root file system `fs` and at the boot file system `fat`; refuses a base that
    /// contradicts itself.
    fn probe(
        plan: &Plan,
        fs: &Ext4,
        disk: &Arc<CowDisk>,
        chosen: &root_partition::Chosen,
        fat: &Fat,
    ) -> Result<Self> {
        let fstab = units::text(fs, "/etc/fstab")?.unwrap_or_default();
        chosen.check_fstab(disk, &fstab)?;
        let line = boot_files::planned_kernel_line(fat, &plan.edits)?;
        Ok(Self {
            cloud_init: cloud_init::probe(fs, &line, &plan.edits)?,
            space: fs.space()?,
        })
    }

    /// Whether the identity goes through cloud-init's seed, and the edits that apply to this base.
    fn edits_of<'p>(&self, plan: &'p Plan) -> Result<(bool, Vec<&'p Edit>)> {
        let cloud_init = choose_identity(plan.identity, &self.cloud_init)?;
        let edits = plan.edits.iter();
        let edits = edits.filter(|edit| applies(edit.when, cloud_init, &self.cloud_init));
        Ok((cloud_init, edits.collect()))
    }
}

/// A base that is open to be looked at: whether a plan can be carried out on it.
pub struct OpenBase {
    disk: Arc<dyn ReadAt>,
    chosen: root_partition::Chosen,
    boot: Fat,
    pub root: Ext4,
    /// Labels of its file systems, and what has them.
    pub labels: Vec<(String, &'static str)>,
}

impl OpenBase {
    /// Finds the partitions of `disk` and opens both.
    pub fn open(disk: Arc<dyn ReadAt>) -> Result<Self> {
        let copy = Arc::new(CowDisk::new(disk.clone()));
        let (chosen, fat) = chosen_root(&copy)?;
        let window = root_window(&copy, &chosen.table)?;
        let labels = vec![
            (fat.label()?, "boot partition"),
            (ext4::label(&window)?, "root file system"),
        ];
        let time = ext4::last_written(&window)?;
        let root = open_root(window, time)?;
        Ok(Self {
            disk,
            chosen,
            boot: fat,
            root,
            labels,
        })
    }

    /// What the base is for `plan`, whose edits can switch cloud-init off.
    fn seen_by(&self, plan: &Plan) -> Result<Base> {
        let copy = Arc::new(CowDisk::new(self.disk.clone()));
        Base::probe(plan, &self.root, &copy, &self.chosen, &self.boot)
    }

    /// The edits of `plan` that apply to this base.
    pub fn edits_of<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p Edit>> {
        self.seen_by(plan)?.edits_of(plan).map(|(_, edits)| edits)
    }

    /// Whether all of the base is in an image of the size that `plan` fixes.
    pub fn check_size(&self, plan: &Plan) -> Result<()> {
        let size = plan.image_size;
        size.map_or(Ok(()), |size| refuse_to_shrink(size, self.disk.len()))
    }

    /// Whether the root file system has, or can be given, the room that `plan` takes.
    pub fn check_room(&self, plan: &Plan, payloads: &Payloads) -> Result<()> {
        let copy = Arc::new(CowDisk::new(self.disk.clone()));
        let table = wanted_table(plan, &copy, &self.chosen)?.table;
        let base = self.seen_by(plan)?;
        let (_, edits) = base.edits_of(plan)?;
        let need = needs::count(&self.root, &edits, payloads)?;
        let need = Wanted::new(need, plan.spare, base.space.block_size);
        wanted_len(plan, &copy, &table, &base, need).map(drop)
    }
}

fn open_root(window: Window, time: i64) -> Result<Ext4> {
    Ext4::open(window, time).context(|| "opening the root file system (ext4)".into())
}

fn choose_identity(wanted: FirstBoot, found: &CloudInit) -> Result<bool> {
    let refused = match (wanted, found) {
        (FirstBoot::Offline, _) => return Ok(false),
        (FirstBoot::Auto, found) => return Ok(*found == CloudInit::Ready),
        (FirstBoot::CloudInit, CloudInit::Ready) => return Ok(true),
        (FirstBoot::CloudInit, CloudInit::Absent) => {
            Error::usage("`firstboot` is \"cloud-init\", but the base image has no cloud-init")
                .with_hint(
                "leave `firstboot` at \"auto\", or start from a Raspberry Pi OS of 2025-11 or later",
            )
        }
        (FirstBoot::CloudInit, CloudInit::Off(reason)) => Error::usage(format!(
            "`firstboot` is \"cloud-init\", but cloud-init is switched off in the base image: {reason}"
        ))
        .with_hint("leave `firstboot` at \"auto\", or switch cloud-init on in the base"),
    };
    Err(refused)
}

fn applies(when: When, through_cloud_init: bool, found: &CloudInit) -> bool {
    match when {
        When::Always => true,
        When::CloudInit => through_cloud_init,
        When::Offline => !through_cloud_init,
        When::CloudInitUnused => !through_cloud_init && *found == CloudInit::Ready,
    }
}

/// Room that is wanted in the root file system.
#[derive(Clone, Copy)]
struct Wanted {
    need: Need,
    block_size: u64,
    /// Bytes to stay free.
    spare: u64,
}

impl Wanted {
    fn new(edits: Need, spare: u64, block_size: u64) -> Self {
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
fn make_room(
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
fn wanted_len(
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

fn refuse_to_shrink(size: u64, image: u64) -> Result<()> {
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

fn patch_root(
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    edits: &[&Edit],
    new_ids: &NewIds,
    time: i64,
    options: &PatchOptions<'_>,
) -> Result<()> {
    let mut fs = open_root(root_window(disk, table)?, time)?;
    fs.stop_at(options.cancel.clone());
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
    mut fat: Fat,
    edits: &[&Edit],
    new_ids: &NewIds,
) -> Result<()> {
    let edits: Vec<&Edit> = edits
        .iter()
        .filter(|e| e.part == Part::Boot)
        .copied()
        .collect();
    boot_files::apply(&mut fat, &edits)?;
    boot_files::rename_partitions(&mut fat, new_ids)?;
    root_partition::check_still(disk, table, &fat)?;
    fat.finish()
        .context(|| "finishing the boot file system (FAT32)".into())
}
