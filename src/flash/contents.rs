//! What a disk or an image holds, as far as its partition table and the beginnings of its file systems
//! tell. It is asked before something is overwritten, and before something is taken for an image.
//!
//! Sources of the signatures: libblkid's superblock probes and file(1)'s magic.

use std::fmt;

use crate::disk::partition_table::{self, PartitionEntry, TableKind};
use crate::disk::{ReadAt, SECTOR_SIZE};
use crate::size::human;

/// So much is read of a file system: btrfs has its label this far from its beginning.
const PROBE: u64 = 68 << 10;
/// So much at both ends of a disk is looked through for anything at all.
const ENDS: u64 = 1 << 20;
/// More partitions than this are counted, not listed.
const LISTED: usize = 8;
/// The flags of the four entries of an MBR, which are 0 or this.
const FLAGS: [usize; 4] = [446, 462, 478, 494];
const ACTIVE: u8 = 0x80;

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: both ends are zeros, or 0xFF as erased cards are.
    Blank,
    /// A partition table, which may be empty.
    Partitions(Vec<Partition>),
    /// A file system, or the like, without a partition table.
    Volume(Volume),
    /// Anything else, in words.
    Other(&'static str),
}

/// An entry of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub entry: PartitionEntry,
    pub volume: Option<Volume>,
}

/// A file system, or what has such a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub kind: &'static str,
    /// Empty when it has none.
    pub label: String,
}

/// What is known by some bytes at its beginning.
struct Signature {
    what: &'static str,
    at: usize,
    magic: &'static [u8],
    /// Place and length of the label.
    label: Option<(usize, usize)>,
}

const fn sign(what: &'static str, at: usize, magic: &'static [u8]) -> Signature {
    Signature {
        what,
        at,
        magic,
        label: None,
    }
}

const fn labelled(
    what: &'static str,
    at: usize,
    magic: &'static [u8],
    label: (usize, usize),
) -> Signature {
    Signature {
        label: Some(label),
        ..sign(what, at, magic)
    }
}

/// File systems whose first sector could pass for an MBR.
const BOOT_SECTORS: [Signature; 5] = [
    labelled("FAT32", 82, b"FAT32   ", (71, 11)),
    labelled("FAT16", 54, b"FAT16   ", (43, 11)),
    labelled("FAT12", 54, b"FAT12   ", (43, 11)),
    sign("exFAT", 3, b"EXFAT   "),
    sign("NTFS", 3, b"NTFS    "),
];

const EXT4: &str = "ext4";
/// Low byte of the superblock's incompatible features, and the one that came with ext4.
const EXT_INCOMPAT: usize = 1024 + 96;
const EXTENTS: u8 = 0x40;

const VOLUMES: [Signature; 14] = [
    labelled(EXT4, 1080, b"\x53\xef", (1144, 16)),
    labelled("btrfs", 65600, b"_BHRfS_M", (65835, 256)),
    labelled("XFS", 0, b"XFSB", (108, 12)),
    labelled("swap", 4086, b"SWAPSPACE2", (1052, 16)),
    labelled("ISO 9660", 32769, b"CD001", (32808, 32)),
    sign("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    sign("EROFS", 1024, b"\xe2\xe1\xf5\xe0"),
    sign("squashfs", 0, b"hsqs"),
    sign("LUKS encryption", 0, b"LUKS\xba\xbe"),
    sign("LVM", 512, b"LABELONE"),
    sign("Linux RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    sign("APFS", 32, b"NXSB"),
    sign("HFS+", 1024, b"H+"),
    sign("HFS+", 1024, b"HX"),
];

/// Disks of virtual machines, which have a format of their own.
const VIRTUAL_DISKS: [Signature; 5] = [
    sign("a qcow2 disk", 0, b"QFI\xfb"),
    sign("a VMDK disk", 0, b"KDMV"),
    sign("a VDI disk", 64, b"\x7f\x10\xda\xbe"),
    sign("a VHD disk", 0, b"conectix"),
    sign("a VHDX disk", 0, b"vhdxfile"),
];

const FILES: [Signature; 14] = [
    sign("a program", 0, b"\x7fELF"),
    sign("a script", 0, b"#!"),
    sign("a tar archive", 257, b"ustar"),
    sign("a 7z archive", 0, b"7z\xbc\xaf\x27\x1c"),
    sign("a RAR archive", 0, b"Rar!"),
    sign("a zip archive", 0, b"PK\x03\x04"),
    sign("a file packed with gzip", 0, b"\x1f\x8b"),
    sign("a file packed with xz", 0, b"\xfd7zXZ\0"),
    sign("a file packed with zstd", 0, b"\x28\xb5\x2f\xfd"),
    sign("a Debian package", 0, b"!<arch>\n"),
    sign("a PDF", 0, b"%PDF"),
    sign("a picture", 0, b"\x89PNG"),
    sign("a picture", 0, b"\xff\xd8\xff"),
    sign("a database", 0, b"SQLite format 3"),
];

const TEXT: &str = "text";
const UNKNOWN: &str = "data of an unknown kind";
const UNREADABLE: &str = "data that cannot be read";

impl Contents {
    /// Looks at `disk`. What cannot be read may be anything.
    pub fn of(disk: &dyn ReadAt) -> Self {
        Self::try_of(disk).unwrap_or(Self::Other(UNREADABLE))
    }

    fn try_of(disk: &dyn ReadAt) -> Option<Self> {
        let head = Head::read(disk, 0, disk.len())?;
        if let Some(volume) = head.volume(&BOOT_SECTORS) {
            return Some(Self::Volume(volume));
        }
        if let Some(entries) = table(disk, &head) {
            let partitions = entries.into_iter().map(|entry| Partition::of(disk, entry));
            return Some(Self::Partitions(partitions.collect()));
        }
        if let Some(volume) = head.volume(&VOLUMES) {
            return Some(Self::Volume(volume));
        }
        let known = VIRTUAL_DISKS.iter().chain(&FILES);
        if let Some(file) = head.find(known) {
            return Some(Self::Other(file.what));
        }
        if is_blank(disk)? {
            return Some(Self::Blank);
        }
        Some(Self::Other(if head.is_text() { TEXT } else { UNKNOWN }))
    }

    /// Whether it is a disk of a virtual machine.
    pub(super) fn is_virtual_disk(&self) -> bool {
        matches!(self, Self::Other(what) if VIRTUAL_DISKS.iter().any(|v| v.what == *what))
    }

    /// Whether it is text.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Other(TEXT))
    }
}

/// The entries of the partition table; `None` when there is none that makes sense.
fn table(disk: &dyn ReadAt, head: &Head) -> Option<Vec<PartitionEntry>> {
    let flags = FLAGS.map(|at| head.bytes.get(at).copied().unwrap_or(1));
    let (kind, entries) = partition_table::partitions(disk).ok()?;
    let sane =
        matches!(kind, TableKind::Gpt { .. }) || flags.iter().all(|f| [0, ACTIVE].contains(f));
    sane.then_some(entries)
}

/// Whether nothing is at both ends of `disk`.
fn is_blank(disk: &dyn ReadAt) -> Option<bool> {
    let last = disk.len().saturating_sub(ENDS);
    for (start, end) in [(0, ENDS.min(disk.len())), (last, disk.len())] {
        let mut bytes = vec![0; (end - start) as usize];
        disk.read_at(start, &mut bytes).ok()?;
        let first = bytes.first().copied().unwrap_or(0);
        if ![0, 0xff].contains(&first) || bytes.iter().any(|&byte| byte != first) {
            return Some(false);
        }
    }
    Some(true)
}

impl Partition {
    fn of(disk: &dyn ReadAt, entry: PartitionEntry) -> Self {
        let head = Head::read(disk, entry.start, entry.len);
        let volume = head.and_then(|head| head.volume(BOOT_SECTORS.iter().chain(&VOLUMES)));
        Self { entry, volume }
    }
}

/// The first bytes of a disk or of a partition.
struct Head {
    bytes: Vec<u8>,
}

impl Head {
    fn read(disk: &dyn ReadAt, start: u64, len: u64) -> Option<Self> {
        let len = disk.len().checked_sub(start)?.min(len).min(PROBE);
        let mut bytes = vec![0; len as usize];
        disk.read_at(start, &mut bytes).ok()?;
        Some(Self { bytes })
    }

    fn find<'a>(&self, among: impl IntoIterator<Item = &'a Signature>) -> Option<&'a Signature> {
        among.into_iter().find(|known| {
            let rest = self.bytes.get(known.at..).unwrap_or_default();
            rest.starts_with(known.magic)
        })
    }

    fn volume<'a>(&self, among: impl IntoIterator<Item = &'a Signature>) -> Option<Volume> {
        let found = self.find(among)?;
        let kind = match found.what {
            EXT4 if self
                .bytes
                .get(EXT_INCOMPAT)
                .is_some_and(|b| b & EXTENTS == 0) =>
            {
                "ext2 or ext3"
            }
            what => what,
        };
        let label = found
            .label
            .and_then(|(at, len)| self.bytes.get(at..at + len));
        Some(Volume {
            kind,
            label: printable(label.unwrap_or_default()),
        })
    }

    fn is_text(&self) -> bool {
        let cut = &self.bytes[..self.bytes.len().min(SECTOR_SIZE as usize)];
        let text = match std::str::from_utf8(cut) {
            Ok(text) => Some(text),
            // The cut may be within a letter.
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let plain = |c: char| !c.is_control() || c.is_ascii_whitespace();
        text.is_some_and(|text| !text.is_empty() && text.chars().all(plain))
    }
}

/// A label as it can be shown: what else a terminal would obey is left out.
fn printable(label: &[u8]) -> String {
    let end = label.iter().position(|&b| b == 0).unwrap_or(label.len());
    let text = String::from_utf8_lossy(&label[..end]);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    match text.trim() {
        "NO NAME" => String::new(),
        text => text.to_owned(),
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("nothing"),
            Self::Volume(volume) => write!(f, "{volume}, without a partition table"),
            Self::Other(what) => f.write_str(what),
            Self::Partitions(list) if list.is_empty() => f.write_str("an empty partition table"),
            Self::Partitions(list) => {
                let noun = if list.len() == 1 {
                    "partition"
                } else {
                    "partitions"
                };
                let shown: Vec<String> =
                    list.iter().take(LISTED).map(ToString::to_string).collect();
                write!(f, "{} {noun}: {}", list.len(), shown.join(", "))?;
                match list.len().saturating_sub(LISTED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, len) = (self.entry.number, human(self.entry.len));
        match &self.volume {
            Some(volume) => write!(f, "{number} ({volume}, {len})"),
            None => write!(f, "{number} ({len})"),
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label.as_str() {
            "" => f.write_str(self.kind),
            label => write!(f, "{} `{label}`", self.kind),
        }
    }
}
