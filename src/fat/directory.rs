//! Directories: their entries, and the slots of 32 bytes that these are made of.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use super::damaged::damaged;
use super::name;
use super::time::DosTime;
use crate::error::Result;

/// Bytes of a slot.
pub(super) const SLOT: usize = 32;
/// A directory has at most this many slots (specification, section 6.2: 2 MiB).
pub(super) const MAX_SLOTS: usize = 65_536;

const ATTR_VOLUME: u8 = 0x08;
pub(super) const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_ARCHIVE: u8 = 0x20;
const ATTR_LONG_NAME: u8 = 0x0f;
const ATTR_MASK: u8 = 0x3f;

const FREE: u8 = 0xe5;
const END: u8 = 0x00;
/// Stands for a first byte of 0xe5, which would read as “free”.
const KANJI: u8 = 0x05;
/// Marks the slot that comes first on disk and holds the end of a long name.
const LAST_LONG: u8 = 0x40;
/// Where the 13 UTF-16 units of a long-name slot are.
const UNIT_OFFSETS: [usize; name::UNITS_PER_SLOT] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A file or folder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its long name, or its short one when there is no long one.
    pub name: String,
    short: [u8; 11],
    attributes: u8,
    /// First cluster; 0 for an empty file.
    pub cluster: u32,
    pub size: u32,
    time: DosTime,
    /// Its slots in the directory, the short name last.
    slots: Range<usize>,
}

impl Entry {
    pub fn file(name: &str, cluster: u32, size: u32, time: DosTime) -> Self {
        Self {
            name: name.to_owned(),
            short: [b' '; 11],
            attributes: ATTR_ARCHIVE,
            cluster,
            size,
            time,
            slots: 0..0,
        }
    }

    pub fn folder(name: &str, cluster: u32, time: DosTime) -> Self {
        Self {
            attributes: ATTR_DIRECTORY,
            ..Self::file(name, cluster, 0, time)
        }
    }

    pub fn is_dir(&self) -> bool {
        self.attributes & ATTR_DIRECTORY != 0
    }

    fn encode(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        slot[..11].copy_from_slice(&self.short);
        slot[11] = self.attributes;
        slot[14..16].copy_from_slice(&self.time.time.to_le_bytes());
        slot[16..18].copy_from_slice(&self.time.date.to_le_bytes());
        self.encode_content(&mut slot, self.time);
        slot
    }

    /// Writes what changes when a file gets new content.
    fn encode_content(&self, slot: &mut [u8], time: DosTime) {
        let cluster = self.cluster.to_le_bytes();
        slot[18..20].copy_from_slice(&time.date.to_le_bytes());
        slot[20..22].copy_from_slice(&cluster[2..]);
        slot[22..24].copy_from_slice(&time.time.to_le_bytes());
        slot[24..26].copy_from_slice(&time.date.to_le_bytes());
        slot[26..28].copy_from_slice(&cluster[..2]);
        slot[28..32].copy_from_slice(&self.size.to_le_bytes());
    }
}

/// The first slots of a new folder: itself and the one above (`up`, 0 for the root).
pub(super) fn dot_entries(own: u32, up: u32, time: DosTime) -> Vec<u8> {
    let dot = |short: &[u8; 11], cluster| {
        let mut entry = Entry::folder("", cluster, time);
        entry.short = *short;
        entry.encode()
    };
    [dot(b".          ", own), dot(b"..         ", up)].concat()
}

/// A directory in memory.
pub(super) struct Directory {
    pub chain: Vec<u32>,
    pub bytes: Vec<u8>,
    /// Files and folders, without `.` and `..`.
    pub entries: Vec<Entry>,
    cluster_size: usize,
    /// Slots that differ from the partition.
    changed: BTreeSet<usize>,
}

impl Directory {
    /// Reads the slots. Long names that do not fit their short name are passed over, as every
    /// other reader does.
    pub fn parse(chain: Vec<u32>, bytes: Vec<u8>, cluster_size: usize) -> Self {
        let mut entries = Vec::new();
        let mut long = LongName::default();
        for (index, slot) in bytes.chunks_exact(SLOT).enumerate() {
            match (slot[0], slot[11] & ATTR_MASK) {
                (END, _) => break,
                (FREE, _) => long = LongName::default(),
                (_, ATTR_LONG_NAME) => long.push(slot, index),
                (_, kind) if kind & ATTR_VOLUME != 0 => long = LongName::default(),
                _ => entries.extend(decode(slot, index, std::mem::take(&mut long))),
            }
        }
        Self {
            chain,
            bytes,
            entries,
            cluster_size,
            changed: BTreeSet::new(),
        }
    }

    /// The name of the volume, if this is the root directory and it has one.
    pub fn label(&self) -> Option<String> {
        self.bytes
            .chunks_exact(SLOT)
            .take_while(|slot| slot[0] != END)
            .find(|slot| {
                let kind = slot[11] & ATTR_MASK;
                slot[0] != FREE && kind != ATTR_LONG_NAME && kind & ATTR_VOLUME != 0
            })
            .map(|slot| String::from_utf8_lossy(&slot[..11]).trim_end().to_owned())
    }

    pub fn find(&self, wanted: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|e| name::same(&e.name, wanted) || name::same(&name::display(&e.short), wanted))
    }

    /// Clusters to add before an entry named `name` fits.
    pub fn growth(&self, name: &str) -> usize {
        let end = (self.room(name::slots(name)) + name::slots(name)) * SLOT;
        end.saturating_sub(self.bytes.len())
            .div_ceil(self.cluster_size)
    }

    /// Whether an entry named `name` stays within what FAT allows in one folder.
    pub fn has_slots(&self, name: &str) -> bool {
        self.room(name::slots(name)) + name::slots(name) <= MAX_SLOTS
    }

    /// Adds clusters, which must be zeroed.
    pub fn grow(&mut self, clusters: &[u32]) {
        self.chain.extend(clusters);
        self.bytes.resize(self.chain.len() * self.cluster_size, 0);
    }

    /// Adds an entry; there must be room.
    pub fn insert(&mut self, mut entry: Entry) -> Result<()> {
        let count = name::slots(&entry.name);
        let start = self.room(count);
        if (start + count) * SLOT > self.bytes.len() {
            return Err(damaged("a folder has no room for another file"));
        }
        let behind = self.end() < start + count;
        entry.short = self.short_name(&entry.name)?;
        entry.slots = start..start + count;
        let units: Vec<u16> = entry.name.encode_utf16().collect();
        for (i, at) in (start..start + count - 1).enumerate() {
            let slot = long_slot(&units, count - 1 - i, i == 0, name::checksum(&entry.short));
            self.put(at, &slot);
        }
        self.put(start + count - 1, &entry.encode());
        // What lies behind the end mark may be anything; without the mark it would count.
        if behind && (start + count) * SLOT < self.bytes.len() {
            self.put(start + count, &[0; SLOT]);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Writes new cluster, size and times of an entry that is there.
    pub fn update(&mut self, entry: &Entry, time: DosTime) {
        let at = entry.slots.end - 1;
        let mut slot = [0; SLOT];
        slot.copy_from_slice(&self.bytes[at * SLOT..][..SLOT]);
        slot[11] |= ATTR_ARCHIVE;
        entry.encode_content(&mut slot, time);
        self.put(at, &slot);
    }

    /// Takes an entry out.
    pub fn delete(&mut self, entry: &Entry) {
        for at in entry.slots.clone() {
            let mut slot = [0; SLOT];
            slot.copy_from_slice(&self.bytes[at * SLOT..][..SLOT]);
            slot[0] = FREE;
            self.put(at, &slot);
        }
        self.entries.retain(|e| e.slots != entry.slots);
    }

    /// Byte ranges that changed since the last call, each within a cluster.
    pub fn take_changes(&mut self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|at| at * SLOT..(at + 1) * SLOT)
            .collect()
    }

    fn put(&mut self, at: usize, slot: &[u8; SLOT]) {
        let place = &mut self.bytes[at * SLOT..][..SLOT];
        if place != slot {
            place.copy_from_slice(slot);
            self.changed.insert(at);
        }
    }

    /// Index of the end mark, or of the slot after the last one.
    fn end(&self) -> usize {
        let mut slots = self.bytes.chunks_exact(SLOT);
        slots
            .position(|slot| slot[0] == END)
            .unwrap_or(self.bytes.len() / SLOT)
    }

    /// The first place for `count` slots in a row; it may reach beyond the last cluster.
    fn room(&self, count: usize) -> usize {
        let end = self.end();
        let mut free = 0;
        for (at, slot) in self.bytes.chunks_exact(SLOT).take(end).enumerate() {
            free = match slot[0] {
                FREE => free + 1,
                _ => 0,
            };
            if free == count {
                return at + 1 - count;
            }
        }
        end - free
    }

    fn short_name(&self, name: &str) -> Result<[u8; 11]> {
        let taken: HashSet<[u8; 11]> = self.entries.iter().map(|e| e.short).collect();
        name::short_for(name, |short| taken.contains(short))
    }
}

/// One slot of a long name; `order` counts from 1 at the start of the name.
fn long_slot(units: &[u16], order: usize, last: bool, checksum: u8) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[0] = order as u8 | if last { LAST_LONG } else { 0 };
    slot[11] = ATTR_LONG_NAME;
    slot[13] = checksum;
    let first = (order - 1) * name::UNITS_PER_SLOT;
    for (i, at) in UNIT_OFFSETS.into_iter().enumerate() {
        // The name, then one 0, then ff.
        let unit = match units.get(first + i) {
            Some(&unit) => unit,
            None if first + i == units.len() => 0,
            None => 0xffff,
        };
        slot[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    slot
}

/// A long name while its slots are read, end of the name first.
#[derive(Default)]
struct LongName {
    start: usize,
    /// Order of the slot read last; 1 means complete.
    order: u8,
    checksum: u8,
    /// Slot contents, in the order on disk.
    parts: Vec<[u16; name::UNITS_PER_SLOT]>,
}

impl LongName {
    fn push(&mut self, slot: &[u8], index: usize) {
        let order = slot[0] & !LAST_LONG;
        let first = slot[0] & LAST_LONG != 0;
        let follows = self.order > 1 && order == self.order - 1 && slot[13] == self.checksum;
        if !(first || follows) || !(1..=20).contains(&order) {
            *self = Self::default();
            return;
        }
        if first {
            *self = Self {
                start: index,
                checksum: slot[13],
                ..Self::default()
            };
        }
        self.order = order;
        self.parts
            .push(UNIT_OFFSETS.map(|at| u16::from_le_bytes([slot[at], slot[at + 1]])));
    }

    /// The name and where its slots start, if it is complete and belongs to `short`.
    fn finish(self, short: &[u8; 11]) -> Option<(String, usize)> {
        if self.order != 1 || self.checksum != name::checksum(short) {
            return None;
        }
        let units: Vec<u16> = self.parts.into_iter().rev().flatten().collect();
        let len = units.iter().position(|&u| u == 0).unwrap_or(units.len());
        let name = String::from_utf16_lossy(&units[..len]);
        // A name with a slash or none at all could not be told apart in a path.
        (!name.is_empty() && !name.contains('/')).then_some((name, self.start))
    }
}

fn decode(slot: &[u8], index: usize, long: LongName) -> Option<Entry> {
    let mut short = [0; 11];
    short.copy_from_slice(&slot[..11]);
    if short == *b".          " || short == *b"..         " {
        return None;
    }
    let u16_at = |at: usize| u16::from_le_bytes([slot[at], slot[at + 1]]);
    let (name, start) = long
        .finish(&short)
        .unwrap_or_else(|| (short_display(&short, slot[12]), index));
    Some(Entry {
        name,
        short,
        attributes: slot[11],
        cluster: u32::from(u16_at(20)) << 16 | u32::from(u16_at(26)),
        size: u32::from(u16_at(30)) << 16 | u32::from(u16_at(28)),
        time: DosTime {
            date: u16_at(24),
            time: u16_at(22),
        },
        slots: start..index + 1,
    })
}

/// A short name as shown: bits 3 and 4 of byte 12 say “stem” and “extension in lower case”.
fn short_display(short: &[u8; 11], case: u8) -> String {
    let mut shown = *short;
    if shown[0] == KANJI {
        shown[0] = FREE;
    }
    if case & 0x08 != 0 {
        shown[..8].make_ascii_lowercase();
    }
    if case & 0x10 != 0 {
        shown[8..].make_ascii_lowercase();
    }
    name::display(&shown)
}
