//! Makes a GPT of an MBR table. Partitions keep their places and their numbers.
//!
//! The primary GPT (34 sectors with the protective MBR) goes into the gap before the first partition,
//! the backup behind a disk that is made longer for it. Entries begin at sector 2 and usable sectors
//! at 34, right behind them: Windows moves the entries of any other layout as soon as it sees the
//! card, and the first bootloaders of the Raspberry Pi 5 do not find them there (rpi-eeprom issue
//! 585). The boot partition is “basic data”, as in Raspberry Pi's own rpi-image-gen: the bootloaders
//! look for that type or EFI System, and laptops mount only the first of the two unasked.

use std::collections::BTreeMap;

use gpt::disk::LogicalBlockSize::Lb512;
use gpt::header::{Header, HeaderBuilder};
use gpt::partition::Partition;
use gpt::partition_types::{BASIC, EFI, LINUX_FS, LINUX_LVM, LINUX_RAID, LINUX_SWAP, Type};
use mbrman::{CHS, MBRHeader, MBRPartitionEntry};
use uuid::Uuid;

use super::table::SECTOR_SIZE;
use super::table::{
    GPT_ALIGNMENT, GPT_ENTRY_SIZE, Gpt, Layout, MBR_FAT, MBR_LINUX, MBR_PROTECTIVE, PartitionEntry,
    PartitionTable, Role, TableKind, read, read_layout, write_mbr,
};
use crate::disk::cow_disk::CowDisk;
use crate::disk::read_at::{ReadAt, is_zero};
use crate::error::{Error, Result, ResultExt};

/// As many as every tool makes room for.
const ENTRIES: u32 = 128;
const ENTRY_SECTORS: u64 = (ENTRIES * GPT_ENTRY_SIZE) as u64 / SECTOR_SIZE;
/// Protective MBR, header, entries.
const FIRST_USABLE: u64 = 2 + ENTRY_SECTORS;
/// Attribute of an entry whose MBR entry is active (UEFI 5.3.3, “Legacy BIOS Bootable”).
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// A disk with a GPT, and how its partitions were called before.
#[derive(Debug, Clone)]
pub struct Converted {
    pub table: PartitionTable,
    pub new_ids: NewIds,
}

/// `PARTUUID`s that changed: old and new, as Linux prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewIds(Vec<(String, String)>);

impl NewIds {
    /// `text` with every old id in it replaced by the new one, whatever its case.
    pub fn replace_in(&self, text: &str) -> String {
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_id) {
            let (before, word) = rest.split_at(start);
            let (word, after) = word.split_at(word.find(|c| !is_id(c)).unwrap_or(word.len()));
            let renamed = self
                .0
                .iter()
                .find(|(old, _)| old.eq_ignore_ascii_case(word));
            out.push_str(before);
            out.push_str(renamed.map_or(word, |(_, new)| new));
            rest = after;
        }
        out + rest
    }

    /// Whether no partition got another id.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Gives `disk` a GPT. One that has a GPT stays as it is.
///
/// GUIDs are derived from the MBR's disk id, `owner` (who is to have the disk) and the number of the
/// partition. Refuses a disk whose first sectors hold something else, and types of partitions that
/// have no counterpart. The disk becomes longer by up to two MiB, to a multiple of one.
pub fn to_gpt(disk: &CowDisk, owner: &str) -> Result<Converted> {
    let layout = read_layout(disk)?;
    layout.check(disk.len())?;
    let table = layout.table()?;
    let TableKind::Mbr { disk_id } = layout.kind else {
        let new_ids = NewIds::default();
        return Ok(Converted { table, new_ids });
    };
    check_front(disk, &layout)?;
    let entries = entries(&layout, |number| derived_guid(disk_id, owner, number))?;
    let numbers: Vec<u32> = entries.keys().copied().collect();
    let new_ids = layout.partitions.iter().filter_map(|(_, p)| {
        let entry = entries.get(&p.number)?;
        Some((p.partuuid.clone(), entry.part_guid.to_string()))
    });
    let new_ids = NewIds(new_ids.collect());
    let sectors = new_len(disk.len())? / SECTOR_SIZE;
    let header = header(derived_guid(disk_id, owner, 0), sectors)?;
    disk.grow(sectors * SECTOR_SIZE)?;
    Gpt { header, entries }.write(disk, &numbers, sectors - 1)?;
    write_mbr(disk, &protective(layout.mbr, sectors))?;
    let table = read(disk)?;
    Ok(Converted { table, new_ids })
}

/// Length of a disk with room for the backup behind what is there now.
fn new_len(len: u64) -> Result<u64> {
    let backup = (ENTRY_SECTORS + 1) * SECTOR_SIZE;
    len.checked_add(backup)
        .and_then(|len| len.checked_next_multiple_of(GPT_ALIGNMENT))
        .filter(|len| *len <= i64::MAX as u64)
        .ok_or_else(|| Error::failed(format!("a disk of {len} bytes is too large for a GPT")))
}

fn check_front(disk: &CowDisk, layout: &Layout) -> Result<()> {
    let starts = layout.partitions.iter().map(|(_, p)| (p.start, p.number));
    if let Some((start, number)) = starts.min()
        && start < FIRST_USABLE * SECTOR_SIZE
    {
        return Err(Error::failed(format!(
            "there is no room for a GPT: partition {number} begins at sector {}, and the table takes {FIRST_USABLE}",
            start / SECTOR_SIZE
        ))
        .with_hint("leave `disk.table` at \"keep\", or use an image whose first partition begins at 1 MiB or later"));
    }
    let mut front = vec![0; ((FIRST_USABLE - 1) * SECTOR_SIZE) as usize];
    disk.read_at(SECTOR_SIZE, &mut front)
        .context(|| "reading what lies before the first partition".into())?;
    if !is_zero(&front) {
        return Err(Error::failed(format!(
            "there is no room for a GPT: something, such as a boot loader, lies in sectors 1 to {}",
            FIRST_USABLE - 1
        ))
        .with_hint(
            "leave `disk.table` at \"keep\"; images of Raspberry Pi OS have nothing there",
        ));
    }
    Ok(())
}

fn entries(layout: &Layout, guid: impl Fn(u32) -> Uuid) -> Result<BTreeMap<u32, Partition>> {
    let entries = layout.partitions.iter().map(|(role, partition)| {
        let mbr = layout.mbr.get(partition.number as usize);
        let mbr = mbr.ok_or_else(|| Error::failed("the MBR partition table is damaged"))?;
        let entry = Partition {
            part_type_guid: gpt_type(partition, mbr.sys)?,
            part_guid: guid(partition.number),
            first_lba: partition.start / SECTOR_SIZE,
            last_lba: (partition.range().end / SECTOR_SIZE).saturating_sub(1),
            flags: if mbr.is_active() { LEGACY_BOOTABLE } else { 0 },
            name: name(*role).to_owned(),
        };
        Ok((partition.number, entry))
    });
    entries.collect()
}

fn gpt_type(partition: &PartitionEntry, mbr_type: u8) -> Result<Type> {
    match mbr_type {
        MBR_LINUX => Ok(LINUX_FS),
        0x07 => Ok(BASIC),
        0x82 => Ok(LINUX_SWAP),
        0x8e => Ok(LINUX_LVM),
        0xef => Ok(EFI),
        0xfd => Ok(LINUX_RAID),
        fat if MBR_FAT.contains(&fat) => Ok(BASIC),
        other => Err(Error::failed(format!(
            "partition {} has the MBR type {other:02x}, which a GPT has no counterpart for",
            partition.number
        ))
        .with_hint("leave `disk.table` at \"keep\", or use an image of Raspberry Pi OS")),
    }
}

/// The labels that Raspberry Pi OS gives to the file systems.
fn name(role: Role) -> &'static str {
    match role {
        Role::Boot => "bootfs",
        Role::Root => "rootfs",
        Role::Other => "",
    }
}

/// The id of a partition, and with number 0 that of the disk.
fn derived_guid(disk_id: u32, owner: &str, number: u32) -> Uuid {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"imgbuild:gpt");
    let name = format!("{disk_id:08x} {number} {owner}");
    Uuid::new_v5(&namespace, name.as_bytes())
}

fn header(disk_guid: Uuid, sectors: u64) -> Result<Header> {
    HeaderBuilder::new()
        .disk_guid(disk_guid)
        .backup_lba(sectors - 1)
        .first_usable(FIRST_USABLE)
        .num_parts(ENTRIES)
        .part_size(GPT_ENTRY_SIZE)
        .build(Lb512)
        .context(|| "making a GPT header".into())
}

/// One entry over the whole disk, or as much of it as an MBR reaches (UEFI 5.2.3). Boot code and disk
/// id stay: they mean nothing beside a GPT, and a first boot that were to change the disk id in fstab
/// then looks for one that is not there.
fn protective(mut mbr: MBRHeader, sectors: u64) -> MBRHeader {
    for (_, entry) in mbr.iter_mut() {
        *entry = MBRPartitionEntry::empty();
    }
    mbr.partition_1 = MBRPartitionEntry {
        sys: MBR_PROTECTIVE,
        first_chs: CHS::new(0, 0, 2),
        last_chs: CHS::new(1023, 255, 63),
        starting_lba: 1,
        sectors: u32::try_from(sectors - 1).unwrap_or(u32::MAX),
        ..MBRPartitionEntry::empty()
    };
    mbr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_replaced_as_whole_words() {
        let ids = NewIds(vec![
            ("9abcdef0-01".into(), "aaaa".into()),
            ("9abcdef0-02".into(), "bbbb".into()),
        ]);
        for (before, after) in [
            (
                "root=PARTUUID=9abcdef0-02 rootwait",
                "root=PARTUUID=bbbb rootwait",
            ),
            ("PARTUUID=9ABCDEF0-01\t/boot", "PARTUUID=aaaa\t/boot"),
            ("PARTUUID=\"9abcdef0-02\" /", "PARTUUID=\"bbbb\" /"),
            (
                "/dev/disk/by-partuuid/9abcdef0-01",
                "/dev/disk/by-partuuid/aaaa",
            ),
            (
                "9abcdef0-021 x9abcdef0-02 9abcdef0",
                "9abcdef0-021 x9abcdef0-02 9abcdef0",
            ),
            ("# ü 9abcdef0-02ü\n\n", "# ü bbbbü\n\n"),
            ("", ""),
        ] {
            assert_eq!(ids.replace_in(before), after);
        }
        assert_eq!(NewIds::default().replace_in("a-b c"), "a-b c");
    }

    #[test]
    fn guids_differ_by_disk_owner_and_number() {
        let guid = |disk, owner: &str, number| derived_guid(disk, owner, number);
        let all = [
            guid(1, "a", 0),
            guid(2, "a", 0),
            guid(1, "b", 0),
            guid(1, "a", 1),
        ];
        for (i, one) in all.iter().enumerate() {
            assert_eq!(one.get_version_num(), 5);
            assert!(all[..i].iter().all(|other| other != one));
        }
        // As Python's uuid module has it.
        assert_eq!(
            guid(1, "a", 0).to_string(),
            "08b26a45-4d27-540d-9767-8c2032f84bb2"
        );
    }

    #[test]
    fn a_disk_grows_to_a_multiple_of_a_mib_with_room_for_the_backup() {
        const MIB: u64 = 1 << 20;
        let backup = 33 * 512;
        assert_eq!(new_len(5 * MIB).unwrap(), 6 * MIB);
        assert_eq!(new_len(5 * MIB - backup).unwrap(), 5 * MIB);
        assert_eq!(new_len(5 * MIB - backup + 1).unwrap(), 6 * MIB);
        assert!(new_len(u64::MAX - 5).is_err());
    }
}
