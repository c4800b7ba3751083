//! Which partition is the root file system: the one that `root=` in cmdline.txt names, and /etc/fstab
//! on it too. Another one would be edited in vain: the node would boot what nobody touched.
//!
//! What can stand there: Documentation/admin-guide/kernel-parameters.txt of Linux (`root=`), fstab(5)
//! and `by-…` links of udev.

use std::fmt::Write;
use std::sync::Arc;

use super::cmdline;
use crate::disk::partition_table::{self, PartitionEntry, PartitionTable};
use crate::disk::{CowDisk, Window};
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{self, Ext4};
use crate::fat::Fat;

/// The root partition as cmdline.txt names it.
#[derive(Debug)]
pub struct Chosen {
    pub table: PartitionTable,
    /// The value of `root=`, if there is one.
    said: Option<String>,
}

/// The partition table with the root partition that cmdline.txt names, and the boot file system.
pub fn locate(disk: &Arc<CowDisk>) -> Result<(Chosen, Fat)> {
    let table = partition_table::read(disk.as_ref())?;
    let window = Window::new(disk.clone(), table.boot.start, table.boot.len)?;
    let fat = Fat::open(window, 0).context(|| "opening the boot file system (FAT32)".into())?;
    Ok((choose(disk, table, &fat)?, fat))
}

/// The part of `disk` that the root partition of `table` is.
pub fn root_window(disk: &Arc<CowDisk>, table: &PartitionTable) -> Result<Window> {
    Window::new(disk.clone(), table.root.start, table.root.len)
}

/// Opens the root file system for editing.
pub fn open_root(window: Window, time: i64) -> Result<Ext4> {
    Ext4::open(window, time).context(|| "opening the root file system (ext4)".into())
}

/// Chooses the root partition of `table` by cmdline.txt on the boot partition.
fn choose(disk: &Arc<CowDisk>, table: PartitionTable, fat: &Fat) -> Result<Chosen> {
    let Some(said) = cmdline::kernel_word(fat, "root=")? else {
        let table = the_only_one(table)?;
        return Ok(Chosen { table, said: None });
    };
    let found = find(disk, &table, &said)?;
    let [root] = found.as_slice() else {
        return Err(unclear(&table, &said, &found));
    };
    if !root.is_linux {
        return Err(Error::failed(format!(
            "cmdline.txt of the base names partition {} as the root file system (`root={said}`), but that is no Linux partition",
            root.number
        ))
        .with_hint(listed(&table)));
    }
    let number = root.number;
    Ok(Chosen {
        table: table.with_root(number)?,
        said: Some(said),
    })
}

/// Refuses an image whose cmdline.txt, after the edits, names another root partition than `table`,
/// the one that was edited.
pub fn check_still(disk: &Arc<CowDisk>, table: &PartitionTable, fat: &Fat) -> Result<()> {
    let now = choose(disk, table.clone(), fat)
        .context(|| "checking which root file system the image will boot".into())?;
    if now.table.root.number == table.root.number {
        return Ok(());
    }
    Err(Error::usage(format!(
        "`{}` is added to cmdline.txt and names partition {} as the root file system, but the base boots from partition {}",
        now.said.map(|said| format!("root={said}")).unwrap_or_default(),
        now.table.root.number,
        table.root.number
    ))
    .with_hint("leave `root=` out of `[cmdline]` of the role"))
}

impl Chosen {
    /// Refuses a base whose /etc/fstab (`fstab`) names another root file system than cmdline.txt.
    pub fn check_fstab(&self, disk: &Arc<CowDisk>, fstab: &str) -> Result<()> {
        let Some(device) = root_of_fstab(fstab) else {
            return Ok(());
        };
        let root = &self.table.root;
        if find(disk, &self.table, device)?.contains(root) {
            return Ok(());
        }
        let cmdline = match &self.said {
            Some(said) => format!("cmdline.txt says `root={said}`"),
            None => "it is the only Linux partition".to_owned(),
        };
        Err(Error::failed(format!(
            "the base contradicts itself about its root file system: {cmdline}, which is partition {}, but /etc/fstab there mounts `{device}` at /",
            root.number
        ))
        .with_hint(format!("make cmdline.txt and /etc/fstab of the base name the same partition; {}", listed(&self.table))))
    }
}

fn the_only_one(table: PartitionTable) -> Result<PartitionTable> {
    match table.partitions.iter().filter(|p| p.is_linux).count() {
        0 | 1 => Ok(table),
        count => Err(Error::failed(format!(
            "the base has {count} Linux partitions, and cmdline.txt does not say which is the root file system"
        ))
        .with_hint(format!(
            "name it in cmdline.txt of the base with `root=PARTUUID=…`; {}",
            listed(&table)
        ))),
    }
}

fn unclear(table: &PartitionTable, said: &str, found: &[PartitionEntry]) -> Error {
    let what = match found {
        [] => "no partition of the base is called that".to_owned(),
        several => {
            let numbers: Vec<String> = several.iter().map(|p| p.number.to_string()).collect();
            format!("partitions {} are all called that", numbers.join(" and "))
        }
    };
    Error::failed(format!(
        "cmdline.txt of the base says `root={said}`, but {what}"
    ))
    .with_hint(format!(
        "correct cmdline.txt of the base; {}",
        listed(table)
    ))
}

/// The Linux partitions, for a hint.
fn listed(table: &PartitionTable) -> String {
    let mut text = "its Linux partitions are".to_owned();
    for (i, partition) in table.partitions.iter().filter(|p| p.is_linux).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{comma} {} (`PARTUUID={}`)",
            partition.number, partition.partuuid
        );
    }
    text
}

/// The device that is mounted at `/`; `None` when the file leaves that to the kernel.
fn root_of_fstab(fstab: &str) -> Option<&str> {
    let lines = fstab.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    let mut fields = lines.map(|line| line.split_whitespace());
    let device = fields.find_map(|mut line| {
        let device = line.next()?;
        (line.next()? == "/").then_some(device)
    })?;
    let is_named = device.contains('=') || device.starts_with("/dev/");
    (is_named && device != "/dev/root").then_some(device)
}

/// What a partition can be called by.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    PartUuid(&'a str),
    /// The partition that many places behind the one with the `PARTUUID`.
    After(&'a str, i64),
    PartLabel(&'a str),
    Uuid(&'a str),
    Label(&'a str),
    Number(u32),
}

impl<'a> Name<'a> {
    fn parse(said: &'a str) -> Option<Self> {
        let (tag, value) = match said.strip_prefix("/dev/") {
            None => said.split_once('=')?,
            Some(device) => match device.strip_prefix("disk/by-") {
                Some(link) => link.split_once('/')?,
                None => return partition_number(device).map(Self::Number),
            },
        };
        let value = value.trim_matches('"');
        match tag.to_ascii_lowercase().as_str() {
            "partuuid" => match value.split_once("/PARTNROFF=") {
                Some((uuid, places)) => Some(Self::After(uuid, places.parse().ok()?)),
                None => Some(Self::PartUuid(value)),
            },
            "partlabel" => Some(Self::PartLabel(value)),
            "uuid" => Some(Self::Uuid(value)),
            "label" => Some(Self::Label(value)),
            _ => None,
        }
    }
}

/// 2 of `mmcblk0p2`, `nvme0n1p2` and `sda2`.
fn partition_number(device: &str) -> Option<u32> {
    let disk = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = device.get(disk.len()..)?.parse().ok()?;
    let is_numbered_disk = disk
        .strip_suffix('p')
        .is_some_and(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
    let is_lettered_disk = ["sd", "vd", "hd", "xvd"].iter().any(|kind| {
        let letters = disk.strip_prefix(kind).unwrap_or_default();
        !letters.is_empty() && letters.bytes().all(|b| b.is_ascii_lowercase())
    });
    (is_numbered_disk || is_lettered_disk).then_some(number)
}

/// The partitions that are called `said`.
fn find(disk: &Arc<CowDisk>, table: &PartitionTable, said: &str) -> Result<Vec<PartitionEntry>> {
    let Some(name) = Name::parse(said.trim_matches('"')) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for partition in &table.partitions {
        if is_called(disk, table, partition, &name)? {
            found.push(partition.clone());
        }
    }
    Ok(found)
}

fn is_called(
    disk: &Arc<CowDisk>,
    table: &PartitionTable,
    partition: &PartitionEntry,
    name: &Name<'_>,
) -> Result<bool> {
    let has_uuid = |p: &PartitionEntry, uuid: &str| p.partuuid.eq_ignore_ascii_case(uuid);
    Ok(match name {
        Name::PartUuid(uuid) => has_uuid(partition, uuid),
        Name::After(uuid, places) => table
            .partitions
            .iter()
            .filter(|p| has_uuid(p, uuid))
            .any(|p| i64::from(p.number).checked_add(*places) == Some(i64::from(partition.number))),
        Name::PartLabel(label) => partition.label == *label,
        Name::Number(number) => partition.number == *number,
        Name::Uuid(_) | Name::Label(_) => {
            let window = Window::new(disk.clone(), partition.start, partition.len)?;
            match (ext4::names(&window)?, name) {
                (Some(names), Name::Uuid(uuid)) => names.uuid.eq_ignore_ascii_case(uuid),
                (Some(names), Name::Label(label)) => names.label == *label,
                _ => false,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_the_ways_to_name_a_partition() {
        for (said, name) in [
            ("PARTUUID=5ca1ab1e-02", Name::PartUuid("5ca1ab1e-02")),
            (
                "PARTUUID=5ca1ab1e-01/PARTNROFF=1",
                Name::After("5ca1ab1e-01", 1),
            ),
            ("UUID=0b-c1", Name::Uuid("0b-c1")),
            ("LABEL=\"rootfs\"", Name::Label("rootfs")),
            ("PARTLABEL=root-a", Name::PartLabel("root-a")),
            (
                "/dev/disk/by-partuuid/5ca1ab1e-02",
                Name::PartUuid("5ca1ab1e-02"),
            ),
            ("/dev/disk/by-label/rootfs", Name::Label("rootfs")),
            ("/dev/mmcblk0p2", Name::Number(2)),
            ("/dev/nvme0n1p12", Name::Number(12)),
            ("/dev/sda3", Name::Number(3)),
        ] {
            assert_eq!(Name::parse(said), Some(name), "{said}");
        }
        for said in [
            "/dev/mmcblk0",
            "/dev/sda",
            "/dev/mapper/x1",
            "b302",
            "/dev/nfs",
            "",
        ] {
            assert_eq!(Name::parse(said), None, "{said}");
        }
    }

    #[test]
    fn fstab_names_the_root_or_leaves_it_to_the_kernel() {
        let fstab = "# LABEL=x / ext4\nproc /proc proc defaults 0 0\n UUID=1 / ext4 defaults 0 1\n";
        assert_eq!(root_of_fstab(fstab), Some("UUID=1"));
        for fstab in [
            "",
            "/dev/root / ext4 defaults 0 1\n",
            "overlay / overlay x 0 0\n",
            "UUID=1 /boot\n",
        ] {
            assert_eq!(root_of_fstab(fstab), None, "{fstab}");
        }
    }
}
