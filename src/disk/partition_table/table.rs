//! Partition tables: finding the boot and the root partition, and growing the root partition.
//!
//! `mbrman` reads and writes the MBR, `gpt` the GPT header and entries; what is not ours to change
//! (boot code, disk id, GUIDs, names, attributes) comes back as it was. In particular the first 446
//! bytes never change: fstab and cmdline.txt name the disk id in them, and with zeroed boot code the
//! first-boot `parted` makes up a new id.
//!
//! Of `mbrman` only the header is used, because `MBR::read_from` follows chains of logical
//! partitions with arithmetic that overflows on damaged images. Of `gpt` the header and the entries
//! are used but not `GptDisk`: that takes the backup when the primary is damaged, and its `write`
//! closes gaps between entries (which renumbers partitions), moves the array to sector 2 and pads
//! it to 128 entries; so where things lie on a grown disk is decided here.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use gpt::disk::LogicalBlockSize::Lb512;
use gpt::header::{Header, HeaderError, read_header_from_arbitrary_device};
use gpt::partition::{Partition, file_read_partitions};
use gpt::partition_types::{BASIC, EFI, LINUX_FS, LINUX_ROOT_ARM_64, Type};
use mbrman::{CHS, MBRHeader};

use crate::disk::cow_disk::CowDisk;
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result, ResultExt};

/// Bytes of a logical sector: what MBR, GPT and FAT count in here.
pub const SECTOR_SIZE: u64 = 512;

pub(super) const MBR_PROTECTIVE: u8 = 0xee;
pub(super) const MBR_LINUX: u8 = 0x83;
/// FAT12, FAT16 and FAT32, plain and hidden, with CHS or LBA addressing.
pub(super) const MBR_FAT: [u8; 6] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e];

const GPT_BOOT: [Type; 2] = [EFI, BASIC];
const GPT_ROOT: [Type; 2] = [LINUX_FS, LINUX_ROOT_ARM_64];
/// What `gpt` reads: it takes the checksum over a header of this size, and asserts the entries'.
const GPT_HEADER_SIZE: u32 = 92;
pub(super) const GPT_ENTRY_SIZE: u32 = 128;
/// Bounds what a header may ask us to read: at most 128 KiB.
const GPT_MAX_ENTRIES: u32 = 1024;
/// A disk that gets a new end for the backup of its GPT ends on a multiple of this many bytes.
pub(super) const GPT_ALIGNMENT: u64 = 1 << 20;

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
    /// `PARTLABEL`; only partitions of a GPT have one.
    pub label: String,
    /// Whether its type says that it is a Linux file system.
    pub is_linux: bool,
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
    /// The Linux root partition: the first Linux partition, unless [`PartitionTable::with_root`]
    /// has chosen another.
    pub root: PartitionEntry,
    /// All partitions, in the order of the table.
    pub partitions: Vec<PartitionEntry>,
}

impl PartitionTable {
    /// The table with partition `number` as the root partition; it must be in the table.
    pub fn with_root(mut self, number: u32) -> Result<Self> {
        let found = self.partitions.iter().find(|p| p.number == number);
        self.root = found.cloned().ok_or_else(|| {
            Error::failed(format!("the partition table has no partition {number}"))
        })?;
        Ok(self)
    }

    /// Offset at which the root partition of a disk of `size` bytes ends, when it is the last one
    /// and as long as it can be. Behind it lies the backup of a GPT.
    pub fn root_end(&self, size: u64) -> u64 {
        match self.kind {
            TableKind::Mbr { .. } => size & !(SECTOR_SIZE - 1),
            TableKind::Gpt { .. } => (size & !(GPT_ALIGNMENT - 1)).saturating_sub(GPT_ALIGNMENT),
        }
    }
}

/// What a partition is for, as far as we care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Boot,
    Root,
    Other,
}

/// Everything the table says, the partitions in the order of the table.
pub(super) struct Layout {
    pub(super) kind: TableKind,
    pub(super) partitions: Vec<(Role, PartitionEntry)>,
    pub(super) mbr: MBRHeader,
    pub(super) gpt: Option<Gpt>,
}

/// Reads the partition table of `disk` and finds the boot and the root partition.
///
/// Refuses partitions that overlap or that end beyond the disk.
pub fn read(disk: &dyn ReadAt) -> Result<PartitionTable> {
    let layout = read_layout(disk)?;
    layout.check(disk.len())?;
    layout.table()
}

/// All partitions of `disk`, whatever they are for and wherever they lie.
pub fn partitions(disk: &dyn ReadAt) -> Result<(TableKind, Vec<PartitionEntry>)> {
    let layout = read_layout(disk)?;
    let partitions = layout.partitions.into_iter().map(|(_, entry)| entry);
    Ok((layout.kind, partitions.collect()))
}

/// The byte ranges that the partition table itself takes: the first sector and, with a GPT, both
/// headers and both arrays of entries, as far as they are on the disk.
pub fn table_ranges(disk: &dyn ReadAt) -> Result<Vec<Range<u64>>> {
    let layout = read_layout(disk)?;
    let mut sectors = vec![0..1];
    if let Some(gpt) = &layout.gpt {
        sectors.extend(gpt.sectors());
    }
    let bytes = |range: Range<u64>| {
        let [start, end] = [range.start, range.end].map(|s| s.saturating_mul(SECTOR_SIZE));
        start.min(disk.len())..end.min(disk.len())
    };
    Ok(sectors.into_iter().map(bytes).collect())
}

/// Makes the root partition `new_len` bytes long, and the disk long enough to hold it.
///
/// `new_len` is a multiple of 512 and not less than now; the root partition must be the last one on
/// the disk. Returns the table as it is then.
pub fn grow_root(disk: &CowDisk, table: &PartitionTable, new_len: u64) -> Result<PartitionTable> {
    let layout = read_layout(disk)?;
    layout.check(disk.len())?;
    let root = layout.table()?.with_root(table.root.number)?.root;
    if root != table.root {
        return Err(Error::failed(
            "the partition table changed since it was read, so its root partition is not grown",
        ));
    }
    layout.check_growth(&root, new_len)?;
    if new_len > root.len {
        match layout.gpt {
            None => grow_mbr(disk, layout.mbr, &root, new_len)?,
            Some(gpt) => gpt.grow(disk, layout.mbr, &root, new_len)?,
        }
    }
    read(disk)?.with_root(root.number)
}

pub(super) fn read_layout(disk: &dyn ReadAt) -> Result<Layout> {
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
    let mbr = MBRHeader::read_from(&mut io::Cursor::new(&sector)).map_err(|e| {
        Error::failed("the MBR partition table is damaged")
            .with_source(e)
            .with_hint(DAMAGED)
    })?;
    let protective = mbr.iter().any(|(_, entry)| entry.sys == MBR_PROTECTIVE);
    match protective {
        true => Gpt::read(disk)?.into_layout(mbr),
        false => Ok(mbr_layout(mbr)),
    }
}

impl Layout {
    pub(super) fn check(&self, disk_len: u64) -> Result<()> {
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

    pub(super) fn table(&self) -> Result<PartitionTable> {
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
            partitions: self.partitions.iter().map(|(_, p)| p.clone()).collect(),
        })
    }

    fn check_growth(&self, root: &PartitionEntry, new_len: u64) -> Result<()> {
        if let Some((_, after)) = self.partitions.iter().find(|(_, p)| p.start > root.start) {
            return Err(Error::failed(format!(
                "the root partition ({}) cannot grow: partition {} lies behind it",
                root.number, after.number
            ))
            .with_hint("use an image whose root partition is the last one"));
        }
        if new_len < root.len || !new_len.is_multiple_of(SECTOR_SIZE) {
            return Err(Error::failed(format!(
                "the root partition of {} bytes cannot become {new_len} bytes long: \
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

fn mbr_layout(mbr: MBRHeader) -> Layout {
    let disk_id = u32::from_le_bytes(mbr.disk_signature);
    let used = mbr.iter().filter(|(_, e)| e.is_used() && e.sectors > 0);
    let partitions = used.map(|(number, entry)| {
        let role = match entry.sys {
            MBR_LINUX => Role::Root,
            kind if MBR_FAT.contains(&kind) => Role::Boot,
            _ => Role::Other,
        };
        let entry = PartitionEntry {
            number: number as u32,
            start: u64::from(entry.starting_lba) * SECTOR_SIZE,
            len: u64::from(entry.sectors) * SECTOR_SIZE,
            partuuid: format!("{disk_id:08x}-{number:02x}"),
            label: String::new(),
            is_linux: role == Role::Root,
        };
        (role, entry)
    });
    Layout {
        kind: TableKind::Mbr { disk_id },
        partitions: partitions.collect(),
        mbr,
        gpt: None,
    }
}

fn grow_mbr(disk: &CowDisk, mut mbr: MBRHeader, root: &PartitionEntry, new_len: u64) -> Result<()> {
    let end = root.start + new_len;
    let sectors = u32::try_from(new_len / SECTOR_SIZE);
    let last = u32::try_from(end / SECTOR_SIZE - 1);
    let (Ok(sectors), Ok(last)) = (sectors, last) else {
        return Err(Error::failed(format!(
            "the root partition cannot end at byte {end}: an MBR table reaches 2 TiB"
        ))
        .with_hint("set `disk.table` to \"gpt\", or make the root partition smaller"));
    };
    disk.grow(disk.len().max(end))?;
    let entry = &mut mbr[root.number as usize];
    entry.sectors = sectors;
    // As `sfdisk` writes it: only tools look at it, and only to complain.
    entry.last_chs =
        CHS::from_lba_exact(last, 1023, 255, 63).unwrap_or_else(|_| CHS::new(1023, 254, 63));
    write_mbr(disk, &mbr)
}

pub(super) fn write_mbr(disk: &CowDisk, mbr: &MBRHeader) -> Result<()> {
    mbr.write_into(&mut Device { disk, position: 0 })
        .context(|| "writing the MBR".into())
}

/// A GPT as read: its primary header and its entries, verified.
pub(super) struct Gpt {
    pub(super) header: Header,
    pub(super) entries: BTreeMap<u32, Partition>,
}

impl Gpt {
    fn read(disk: &dyn ReadAt) -> Result<Self> {
        let damaged = |why: &str| {
            Error::failed(format!("the GPT partition table is damaged: {why}")).with_hint(DAMAGED)
        };
        let mut head = [0; 2 * SECTOR_SIZE as usize];
        if disk.len() < head.len() as u64 {
            return Err(damaged("the image ends before it"));
        }
        disk.read_at(0, &mut head)
            .context(|| "reading the GPT header".into())?;
        let header =
            read_header_from_arbitrary_device(&mut io::Cursor::new(head), Lb512).map_err(|e| {
                match e {
                    HeaderError::InvalidGptSignature => damaged("no “EFI PART” in sector 1"),
                    _ => damaged("the checksum of its header does not match"),
                }
            })?;
        if header.header_size_le != GPT_HEADER_SIZE
            || header.part_size != GPT_ENTRY_SIZE
            || header.num_parts > GPT_MAX_ENTRIES
            || header.current_lba != 1
            || header.part_start < 2
        {
            return Err(damaged("its header makes no sense"));
        }
        let mut entries = vec![0; (header.num_parts * header.part_size) as usize];
        let at = header.part_start.checked_mul(SECTOR_SIZE);
        let at = at
            .filter(|at| {
                at.checked_add(entries.len() as u64)
                    .is_some_and(|end| end <= disk.len())
            })
            .ok_or_else(|| damaged("its entries lie beyond the end of the image"))?;
        disk.read_at(at, &mut entries)
            .context(|| "reading the GPT entries".into())?;
        let here = Header {
            part_start: 0,
            ..header.clone()
        };
        let entries = file_read_partitions(&mut io::Cursor::new(entries), &here, Lb512)
            .map_err(|_| damaged("the checksum of its entries does not match"))?;
        Ok(Self { header, entries })
    }

    fn into_layout(self, mbr: MBRHeader) -> Result<Layout> {
        let mut partitions = Vec::new();
        for (&number, entry) in self.entries.iter().filter(|(_, e)| e.is_used()) {
            let role = match &entry.part_type_guid {
                kind if GPT_BOOT.contains(kind) => Role::Boot,
                kind if GPT_ROOT.contains(kind) => Role::Root,
                _ => Role::Other,
            };
            let (Ok(start), Ok(len)) = (entry.bytes_start(Lb512), entry.bytes_len(Lb512)) else {
                return Err(Error::failed(format!(
                    "partition {number} of the GPT ends before it starts"
                ))
                .with_hint(DAMAGED));
            };
            let entry = PartitionEntry {
                number,
                start,
                len,
                partuuid: entry.part_guid.to_string(),
                label: entry.name.clone(),
                is_linux: role == Role::Root,
            };
            partitions.push((role, entry));
        }
        Ok(Layout {
            kind: TableKind::Gpt {
                disk_guid: self.header.disk_guid.to_string(),
            },
            partitions,
            mbr,
            gpt: Some(self),
        })
    }

    /// The sectors it takes, those of the backup included.
    fn sectors(&self) -> [Range<u64>; 3] {
        let Header {
            part_start,
            backup_lba,
            ..
        } = self.header;
        let backup = backup_lba.saturating_sub(self.entry_sectors());
        [
            1..2,
            part_start..part_start.saturating_add(self.entry_sectors()),
            backup..backup_lba.saturating_add(1),
        ]
    }

    /// Sectors of the entry array, of which a copy lies before the backup header.
    fn entry_sectors(&self) -> u64 {
        u64::from(self.header.num_parts * self.header.part_size).div_ceil(SECTOR_SIZE)
    }

    fn grow(
        mut self,
        disk: &CowDisk,
        mut mbr: MBRHeader,
        root: &PartitionEntry,
        new_len: u64,
    ) -> Result<()> {
        // A hybrid MBR repeats partitions of the GPT; changing one table and not the other would
        // leave them in disagreement.
        if mbr
            .iter()
            .any(|(_, e)| !matches!(e.sys, 0 | MBR_PROTECTIVE))
        {
            return Err(Error::failed(
                "the image has a hybrid MBR beside its GPT, so its root partition cannot grow",
            )
            .with_hint("use an image with a plain GPT or a plain MBR"));
        }
        let end = (root.start + new_len) / SECTOR_SIZE;
        let needed =
            ((end + self.entry_sectors() + 1) * SECTOR_SIZE).next_multiple_of(GPT_ALIGNMENT);
        let sectors = disk.len().max(needed) / SECTOR_SIZE;
        self.erase_backup(disk, root)?;
        disk.grow(disk.len().max(needed))?;
        if let Some(entry) = self.entries.get_mut(&root.number) {
            entry.last_lba = end - 1;
        }
        self.write(disk, &[root.number], sectors - 1)?;
        for (_, entry) in mbr.iter_mut().filter(|(_, e)| e.sys == MBR_PROTECTIVE) {
            let len = sectors.saturating_sub(entry.starting_lba.into());
            entry.sectors = u32::try_from(len).unwrap_or(u32::MAX);
        }
        write_mbr(disk, &mbr)
    }

    /// Writes the entries of `numbers`, a copy of the whole array before the backup header at sector
    /// `backup`, and both headers.
    pub(super) fn write(&self, disk: &CowDisk, numbers: &[u32], backup: u64) -> Result<()> {
        self.try_write(disk, numbers, backup)
            .context(|| "writing the GPT".into())
    }

    fn try_write(
        &self,
        disk: &CowDisk,
        numbers: &[u32],
        backup: u64,
    ) -> std::result::Result<(), HeaderError> {
        let device = &mut Device { disk, position: 0 };
        let mut header = self.header.clone();
        for (number, entry) in self.entries.iter().filter(|(n, _)| numbers.contains(n)) {
            let slot = u64::from(number - 1);
            entry.write_to_device(device, slot, header.part_start, Lb512, header.part_size)?;
        }
        let mut entries = vec![0; (header.num_parts * header.part_size) as usize];
        disk.read_at(header.part_start * SECTOR_SIZE, &mut entries)
            .map_err(io::Error::from)?;
        let backup_entries = backup - self.entry_sectors();
        disk.write_at(backup_entries * SECTOR_SIZE, &entries)
            .map_err(io::Error::from)?;
        header.backup_lba = backup;
        header.last_usable = backup_entries - 1;
        header.write_primary(device, Lb512)?;
        header.current_lba = backup;
        header.backup_lba = 1;
        header.part_start = backup_entries;
        header.write_backup(device, Lb512)?;
        Ok(())
    }

    /// Zeros the backup that the header names: the grown root partition will cover its place. What
    /// is not a backup, or lies before the end of the last partition, is left alone.
    fn erase_backup(&self, disk: &CowDisk, root: &PartitionEntry) -> Result<()> {
        let backup = self.header.backup_lba;
        let first = backup.saturating_sub(self.entry_sectors());
        if first < root.range().end / SECTOR_SIZE || backup >= disk.len() / SECTOR_SIZE {
            return Ok(());
        }
        let mut signature = [0; 8];
        disk.read_at(backup * SECTOR_SIZE, &mut signature)?;
        if signature != *b"EFI PART" {
            return Ok(());
        }
        let zeros = vec![0; ((backup - first + 1) * SECTOR_SIZE) as usize];
        disk.write_at(first * SECTOR_SIZE, &zeros)
    }
}

/// The disk as a stream, which is what the libraries write to.
#[derive(Clone, Copy)]
struct Device<'a> {
    disk: &'a CowDisk,
    position: u64,
}

/// `gpt` asks for it, to log.
impl std::fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk at {}", self.position)
    }
}

impl Read for Device<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.len().saturating_sub(self.position);
        let n = left.min(buf.len() as u64) as usize;
        self.disk.read_at(self.position, &mut buf[..n])?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for Device<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.disk.write_at(self.position, buf)?;
        self.position += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Device<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.disk.len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
