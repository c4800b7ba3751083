//! Partition tables: finding the boot and the root partition, and growing the root partition.
//!
//! MBR as Linux reads it (`block/partitions/msdos.c`), GPT as in the UEFI specification 2.10,
//! section 5.3. Both are edited in place, field by field, instead of being parsed and written anew:
//! whatever is not ours to change (boot code, disk id, GUIDs, names, attributes, reserved bytes)
//! stays as it was. In particular the first 446 bytes never change: fstab and cmdline.txt name the
//! disk id in them, and with zeroed boot code the first-boot `parted` makes up a new id.

use std::ops::Range;

use super::{CowDisk, ReadAt, SECTOR_SIZE};
use crate::error::{Error, Result, ResultExt};

/// Offset of the four MBR entries; what lies before is boot code and disk id.
const MBR_ENTRIES: usize = 446;
const MBR_ENTRY_SIZE: usize = 16;
const MBR_DISK_ID: usize = 440;

const TYPE_PROTECTIVE: u8 = 0xee;
const TYPE_LINUX: u8 = 0x83;
/// FAT12, FAT16 and FAT32, plain and hidden, with CHS or LBA addressing.
const FAT_TYPES: [u8; 6] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e];

const GPT_SIGNATURE: &[u8; 8] = b"EFI PART";
const GPT_EFI_SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const GPT_BASIC_DATA: &str = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";
const GPT_LINUX_FS: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const GPT_LINUX_ROOT_ARM64: &str = "b921b045-1df0-41c3-af44-4c6f280d3fae";
const GPT_UNUSED: &str = "00000000-0000-0000-0000-000000000000";

/// Bounds on what a GPT header may ask us to read: at most 512 KiB.
const GPT_MAX_ENTRIES: u32 = 1024;
const GPT_MAX_ENTRY_SIZE: u32 = 512;

const DAMAGED: &str = "the image is cut short or its partition table is damaged; download it again";

/// Which kind of partition table a disk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// An MBR (“dos”) table with the disk id at offset 440.
    Mbr { disk_id: u32 },
    /// A GUID partition table; the GUID is printed in lower case.
    Gpt { disk_guid: String },
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEntry {
    /// Number as Linux counts, from 1.
    pub number: u32,
    /// Offset on the disk in bytes.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// `PARTUUID` as Linux prints it, in lower case.
    pub partuuid: String,
}

impl PartitionEntry {
    /// The bytes of the disk that this partition covers.
    pub fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.len)
    }
}

/// The two partitions of a Raspberry Pi OS image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    pub kind: TableKind,
    /// The FAT partition that the firmware starts from.
    pub boot: PartitionEntry,
    /// The Linux root partition.
    pub root: PartitionEntry,
}

/// What a partition is for, as far as we care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Boot,
    Root,
    Other,
}

/// Everything the table says, the partitions in the order of the table.
struct Layout {
    kind: TableKind,
    partitions: Vec<(Role, PartitionEntry)>,
    gpt: Option<Gpt>,
}

/// Reads the partition table of `disk` and finds the boot and the root partition.
///
/// Refuses partitions that overlap or that end beyond the disk.
pub fn read(disk: &dyn ReadAt) -> Result<PartitionTable> {
    let layout = read_layout(disk)?;
    layout.check(disk.len())?;
    layout.table()
}

/// Makes the root partition `new_len` bytes long, and the disk long enough to hold it.
///
/// `new_len` is a multiple of 512 and not less than now; the root partition must be the last one on
/// the disk. Returns the table as it is then.
pub fn grow_root(disk: &CowDisk, table: &PartitionTable, new_len: u64) -> Result<PartitionTable> {
    let layout = read_layout(disk)?;
    layout.check(disk.len())?;
    let root = layout.table()?.root;
    if root != table.root {
        return Err(Error::failed(
            "the partition table changed since it was read, so its root partition is not grown",
        ));
    }
    layout.check_growth(&root, new_len)?;
    if new_len > root.len {
        match &layout.gpt {
            None => grow_mbr(disk, &root, new_len)?,
            Some(gpt) => gpt.grow(disk, &root, new_len)?,
        }
    }
    read(disk)
}

fn read_layout(disk: &dyn ReadAt) -> Result<Layout> {
    let mut sector = [0; SECTOR_SIZE as usize];
    if disk.len() >= SECTOR_SIZE {
        disk.read_at(0, &mut sector)
            .context(|| "reading the partition table".into())?;
    }
    if sector[510..] != [0x55, 0xaa] {
        return Err(Error::failed(
            "this is not a disk image: bytes 55 aa are missing at offset 510",
        )
        .with_hint(
            "give a raw image of Raspberry Pi OS, or one packed as .xz, .gz, .zst or .zip",
        ));
    }
    let protective = (0..4).any(|slot| mbr_entry(&sector, slot)[4] == TYPE_PROTECTIVE);
    match protective {
        true => Gpt::read(disk)?.into_layout(),
        false => read_mbr(&sector),
    }
}

impl Layout {
    fn check(&self, disk_len: u64) -> Result<()> {
        let mut ranges: Vec<_> = self.partitions.iter().map(|(_, p)| p).collect();
        ranges.sort_by_key(|p| (p.start, p.len));
        for pair in ranges.windows(2) {
            if pair[0].range().end > pair[1].start {
                let (a, b) = (pair[0].number, pair[1].number);
                return Err(
                    Error::failed(format!("partitions {a} and {b} overlap")).with_hint(DAMAGED)
                );
            }
        }
        match ranges.iter().find(|p| p.range().end > disk_len) {
            None => Ok(()),
            Some(p) => Err(Error::failed(format!(
                "the image is cut short: partition {} ends at byte {}, the image at {disk_len}",
                p.number,
                p.range().end
            ))
            .with_hint("download the image again; the copy at hand is not complete")),
        }
    }

    fn table(&self) -> Result<PartitionTable> {
        let find = |role, what: &str| {
            let found = self.partitions.iter().find(|(r, _)| *r == role);
            found.map(|(_, p)| p.clone()).ok_or_else(|| {
                Error::failed(format!("the image has no {what} partition")).with_hint(
                    "give an image of Raspberry Pi OS: a FAT boot partition and an ext4 root partition",
                )
            })
        };
        Ok(PartitionTable {
            kind: self.kind.clone(),
            boot: find(Role::Boot, "FAT boot")?,
            root: find(Role::Root, "Linux root")?,
        })
    }

    fn check_growth(&self, root: &PartitionEntry, new_len: u64) -> Result<()> {
        if let Some((_, after)) = self.partitions.iter().find(|(_, p)| p.start > root.start) {
            return Err(Error::failed(format!(
                "the root partition ({}) can not grow: partition {} lies behind it",
                root.number, after.number
            ))
            .with_hint("use an image whose root partition is the last one"));
        }
        if new_len < root.len || !new_len.is_multiple_of(SECTOR_SIZE) {
            return Err(Error::failed(format!(
                "the root partition of {} bytes can not become {new_len} bytes long: \
                 it only grows, by whole sectors of {SECTOR_SIZE} bytes",
                root.len
            )));
        }
        if root
            .start
            .checked_add(new_len)
            .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(Error::failed(format!(
                "a root partition of {new_len} bytes is too large"
            )));
        }
        Ok(())
    }
}

fn mbr_entry(sector: &[u8; 512], slot: usize) -> &[u8] {
    &sector[MBR_ENTRIES + slot * MBR_ENTRY_SIZE..][..MBR_ENTRY_SIZE]
}

fn read_mbr(sector: &[u8; 512]) -> Result<Layout> {
    let disk_id = u32_at(sector, MBR_DISK_ID);
    let partitions = (0..4).filter_map(|slot| {
        let entry = mbr_entry(sector, slot);
        let (start, len) = (u32_at(entry, 8), u32_at(entry, 12));
        let role = match entry[4] {
            0 => return None,
            _ if len == 0 => return None,
            TYPE_LINUX => Role::Root,
            kind if FAT_TYPES.contains(&kind) => Role::Boot,
            _ => Role::Other,
        };
        let number = slot as u32 + 1;
        let entry = PartitionEntry {
            number,
            start: u64::from(start) * SECTOR_SIZE,
            len: u64::from(len) * SECTOR_SIZE,
            partuuid: format!("{disk_id:08x}-{number:02x}"),
        };
        Some((role, entry))
    });
    Ok(Layout {
        kind: TableKind::Mbr { disk_id },
        partitions: partitions.collect(),
        gpt: None,
    })
}

fn grow_mbr(disk: &CowDisk, root: &PartitionEntry, new_len: u64) -> Result<()> {
    let sectors = u32::try_from(new_len / SECTOR_SIZE).ok();
    let end = (root.start + new_len) / SECTOR_SIZE;
    let Some(sectors) = sectors.filter(|_| end <= 1 << 32) else {
        return Err(Error::failed(format!(
            "the root partition can not end at byte {}: an MBR table reaches 2 TiB",
            root.start + new_len
        ))
        .with_hint("use an image with a GPT table, or a smaller root partition"));
    };
    disk.grow(disk.len().max(root.start + new_len))?;
    let entry = (MBR_ENTRIES + (root.number as usize - 1) * MBR_ENTRY_SIZE) as u64;
    disk.write_at(entry + 5, &chs(end - 1))?;
    disk.write_at(entry + 12, &sectors.to_le_bytes())
}

/// The cylinder/head/sector address of a sector as `sfdisk` writes it: 255 heads of 63 sectors, and
/// `fe ff ff` for what 1024 cylinders do not reach. Only tools look at it, and only to complain.
fn chs(sector: u64) -> [u8; 3] {
    let (cylinder, rest) = (sector / (255 * 63), sector % (255 * 63));
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let (head, within) = (rest / 63, rest % 63 + 1);
    [
        head as u8,
        (within | (cylinder >> 8 << 6)) as u8,
        cylinder as u8,
    ]
}

/// A GPT as read: its first header sector and its entry array, verified.
struct Gpt {
    header: [u8; SECTOR_SIZE as usize],
    entries: Vec<u8>,
    entry_size: usize,
}

// Offsets in the header, UEFI 2.10 table 5.5.
const HEADER_SIZE: usize = 12;
const HEADER_CRC: usize = 16;
const MY_LBA: usize = 24;
const ALTERNATE_LBA: usize = 32;
const LAST_USABLE_LBA: usize = 48;
const DISK_GUID: usize = 56;
const ENTRIES_LBA: usize = 72;
const ENTRY_COUNT: usize = 80;
const ENTRY_SIZE: usize = 84;
const ENTRIES_CRC: usize = 88;
// Offsets in an entry, table 5.6.
const ENTRY_GUID: usize = 16;
const FIRST_LBA: usize = 32;
const LAST_LBA: usize = 40;

impl Gpt {
    fn read(disk: &dyn ReadAt) -> Result<Self> {
        let damaged = |why: &str| {
            Error::failed(format!("the GPT partition table is damaged: {why}")).with_hint(DAMAGED)
        };
        let mut header = [0; SECTOR_SIZE as usize];
        if disk.len() < 2 * SECTOR_SIZE {
            return Err(damaged("the image ends before it"));
        }
        disk.read_at(SECTOR_SIZE, &mut header)
            .context(|| "reading the GPT header".into())?;
        if header[..8] != *GPT_SIGNATURE {
            return Err(damaged("no “EFI PART” in sector 1"));
        }
        let size = u32_at(&header, HEADER_SIZE) as usize;
        if !(92..=header.len()).contains(&size) {
            return Err(damaged("its header has an impossible size"));
        }
        if header_crc(&header, size) != u32_at(&header, HEADER_CRC) {
            return Err(damaged("the checksum of its header does not match"));
        }
        let (count, entry_size) = (u32_at(&header, ENTRY_COUNT), u32_at(&header, ENTRY_SIZE));
        if u64_at(&header, MY_LBA) != 1
            || count > GPT_MAX_ENTRIES
            || !(128..=GPT_MAX_ENTRY_SIZE).contains(&entry_size)
        {
            return Err(damaged("its header makes no sense"));
        }
        let mut entries = vec![0; count as usize * entry_size as usize];
        let at = u64_at(&header, ENTRIES_LBA).checked_mul(SECTOR_SIZE);
        let at = at
            .filter(|at| {
                at.checked_add(entries.len() as u64)
                    .is_some_and(|end| end <= disk.len())
            })
            .ok_or_else(|| damaged("its entries lie beyond the end of the image"))?;
        disk.read_at(at, &mut entries)
            .context(|| "reading the GPT entries".into())?;
        if crc32fast::hash(&entries) != u32_at(&header, ENTRIES_CRC) {
            return Err(damaged("the checksum of its entries does not match"));
        }
        Ok(Self {
            header,
            entries,
            entry_size: entry_size as usize,
        })
    }

    fn into_layout(self) -> Result<Layout> {
        let mut partitions = Vec::new();
        for (slot, entry) in self.entries.chunks_exact(self.entry_size).enumerate() {
            let role = match guid(&entry[..16]).as_str() {
                GPT_UNUSED => continue,
                GPT_EFI_SYSTEM | GPT_BASIC_DATA => Role::Boot,
                GPT_LINUX_FS | GPT_LINUX_ROOT_ARM64 => Role::Root,
                _ => Role::Other,
            };
            let (first, last) = (u64_at(entry, FIRST_LBA), u64_at(entry, LAST_LBA));
            let number = slot as u32 + 1;
            let end = last
                .checked_add(1)
                .and_then(|end| end.checked_mul(SECTOR_SIZE));
            let Some(end) = end.filter(|_| first <= last) else {
                return Err(Error::failed(format!(
                    "partition {number} of the GPT ends before it starts"
                ))
                .with_hint(DAMAGED));
            };
            let start = first * SECTOR_SIZE;
            let entry = PartitionEntry {
                number,
                start,
                len: end - start,
                partuuid: guid(&entry[ENTRY_GUID..]),
            };
            partitions.push((role, entry));
        }
        Ok(Layout {
            kind: TableKind::Gpt {
                disk_guid: guid(&self.header[DISK_GUID..]),
            },
            partitions,
            gpt: Some(self),
        })
    }

    /// Sectors of the entry array, of which a copy lies before the backup header.
    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(SECTOR_SIZE)
    }

    fn grow(&self, disk: &CowDisk, root: &PartitionEntry, new_len: u64) -> Result<()> {
        self.check_not_hybrid(disk)?;
        let end = (root.start + new_len) / SECTOR_SIZE;
        let old_sectors = disk.len() / SECTOR_SIZE;
        let sectors = old_sectors.max(end + self.entry_sectors() + 1);
        self.erase_backup(disk, root)?;
        disk.grow(disk.len().max(sectors * SECTOR_SIZE))?;

        let mut entries = self.entries.clone();
        let slot = (root.number as usize - 1) * self.entry_size;
        entries[slot + LAST_LBA..][..8].copy_from_slice(&(end - 1).to_le_bytes());
        let backup_lba = sectors - 1;
        let backup_entries = backup_lba - self.entry_sectors();
        let mut header = self.header;
        put_u64(&mut header, ALTERNATE_LBA, backup_lba);
        put_u64(&mut header, LAST_USABLE_LBA, backup_entries - 1);
        put_u32(&mut header, ENTRIES_CRC, crc32fast::hash(&entries));
        let primary_entries = u64_at(&header, ENTRIES_LBA);
        write_header(disk, &mut header, 1)?;
        disk.write_at(primary_entries * SECTOR_SIZE, &entries)?;

        put_u64(&mut header, MY_LBA, backup_lba);
        put_u64(&mut header, ALTERNATE_LBA, 1);
        put_u64(&mut header, ENTRIES_LBA, backup_entries);
        write_header(disk, &mut header, backup_lba)?;
        disk.write_at(backup_entries * SECTOR_SIZE, &entries)?;
        grow_protective(disk, sectors)
    }

    /// A hybrid MBR repeats partitions of the GPT; changing one table and not the other would leave
    /// them in disagreement.
    fn check_not_hybrid(&self, disk: &CowDisk) -> Result<()> {
        let mut sector = [0; SECTOR_SIZE as usize];
        disk.read_at(0, &mut sector)?;
        let hybrid = (0..4).any(|slot| !matches!(mbr_entry(&sector, slot)[4], 0 | TYPE_PROTECTIVE));
        match hybrid {
            false => Ok(()),
            true => Err(Error::failed(
                "the image has a hybrid MBR beside its GPT, so its root partition can not grow",
            )
            .with_hint("use an image with a plain GPT or a plain MBR")),
        }
    }

    /// Zeros the backup that the header names: the grown root partition will cover its place. What
    /// is not a backup, or lies before the end of the last partition, is left alone.
    fn erase_backup(&self, disk: &CowDisk, root: &PartitionEntry) -> Result<()> {
        let backup = u64_at(&self.header, ALTERNATE_LBA);
        let first = backup.saturating_sub(self.entry_sectors());
        if first < root.range().end / SECTOR_SIZE || backup >= disk.len() / SECTOR_SIZE {
            return Ok(());
        }
        let mut signature = [0; GPT_SIGNATURE.len()];
        disk.read_at(backup * SECTOR_SIZE, &mut signature)?;
        if signature != *GPT_SIGNATURE {
            return Ok(());
        }
        let zeros = vec![0; ((backup - first + 1) * SECTOR_SIZE) as usize];
        disk.write_at(first * SECTOR_SIZE, &zeros)
    }
}

/// Puts the right checksum into `header` and writes it to sector `lba`.
fn write_header(disk: &CowDisk, header: &mut [u8; SECTOR_SIZE as usize], lba: u64) -> Result<()> {
    let size = u32_at(header, HEADER_SIZE) as usize;
    let crc = header_crc(header, size);
    put_u32(header, HEADER_CRC, crc);
    disk.write_at(lba * SECTOR_SIZE, header)
}

/// Makes the protective MBR entry cover `sectors` sectors of disk, or as much as it can say.
fn grow_protective(disk: &CowDisk, sectors: u64) -> Result<()> {
    let mut sector = [0; SECTOR_SIZE as usize];
    disk.read_at(0, &mut sector)?;
    for slot in 0..4 {
        let entry = mbr_entry(&sector, slot);
        if entry[4] == TYPE_PROTECTIVE {
            let start = u64::from(u32_at(entry, 8));
            let len = u32::try_from(sectors.saturating_sub(start)).unwrap_or(u32::MAX);
            let at = (MBR_ENTRIES + slot * MBR_ENTRY_SIZE + 12) as u64;
            disk.write_at(at, &len.to_le_bytes())?;
        }
    }
    Ok(())
}

/// The checksum of a GPT header: over its first `size` bytes with the checksum itself as zero.
fn header_crc(header: &[u8; SECTOR_SIZE as usize], size: usize) -> u32 {
    let mut copy = *header;
    put_u32(&mut copy, HEADER_CRC, 0);
    crc32fast::hash(&copy[..size])
}

/// Prints a GUID of the disk: the first three fields are little-endian (UEFI 2.10 appendix A).
fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (i, &at) in order.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[at]));
    }
    text
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
