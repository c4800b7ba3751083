//! The file allocation table, in memory, and the FSInfo sector that sums it up.

use std::collections::BTreeSet;
use std::ops::Range;

use super::damaged::damaged;
use super::geometry::Geometry;
use crate::disk::{ReadAt, Window};
use crate::error::{Result, ResultExt};

/// The upper 4 bits of an entry are reserved and kept.
const VALUE: u32 = 0x0fff_ffff;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// From here on an entry ends a chain.
const FIRST_END: u32 = 0x0fff_fff8;

/// The table is read in pieces of this many bytes: a compressed base keeps what small reads gave.
const PIECE: usize = 64 << 10;
/// Entries are written back in units of this many bytes.
const UNIT: usize = 512;

// FSInfo, specification section 5.
const INFO_LEAD: &[u8] = b"RRaA";
const INFO_STRUCT: &[u8] = b"rrAa";
const INFO_FREE: usize = 488;
const INFO_NEXT: usize = 492;
const INFO_TRAIL: [u8; 4] = [0, 0, 0x55, 0xaa];

pub(super) struct Table {
    /// Entries 0 and 1 are not clusters.
    entries: Vec<u32>,
    free: u32,
    /// Where to look for free clusters first; advice only.
    next: u32,
    /// Units of `entries` that differ from the partition.
    dirty: BTreeSet<usize>,
}

impl Table {
    /// Reads the table, whose copies must agree, and the FSInfo sector.
    pub fn read(window: &Window, geometry: &Geometry) -> Result<Self> {
        let len = (geometry.clusters as usize + 2) * 4;
        let read = |copy: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; len];
            let at = geometry.fat_offset + copy * geometry.fat_len;
            for (piece, part) in bytes.chunks_mut(PIECE).enumerate() {
                window
                    .read_at(at + (piece * PIECE) as u64, part)
                    .context(|| "reading the file allocation table".into())?;
            }
            Ok(bytes)
        };
        let bytes = read(0)?;
        if geometry.fats == 2
            && let Some(at) = bytes.iter().zip(&read(1)?).position(|(a, b)| a != b)
        {
            return Err(damaged(format_args!(
                "the two copies of its table differ at cluster {}",
                at / 4
            )));
        }
        let entries: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let free = entries[2..].iter().filter(|&e| e & VALUE == 0).count() as u32;
        Ok(Self {
            free,
            next: read_info(window, geometry)?,
            entries,
            dirty: BTreeSet::new(),
        })
    }

    /// Free clusters, counted, whatever FSInfo says.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Clusters that are not free, ascending.
    pub fn used(&self) -> impl Iterator<Item = u32> {
        let entries = self.entries.iter().enumerate().skip(2);
        entries
            .filter(|(_, entry)| **entry & VALUE != 0)
            .map(|(cluster, _)| cluster as u32)
    }

    /// The cluster after `cluster` in its chain, `None` at its end. Errors when the entry is not
    /// one of a chain.
    pub fn after(&self, cluster: u32) -> Result<Option<u32>> {
        match self.entries.get(cluster as usize).map(|e| e & VALUE) {
            Some(FIRST_END..) if cluster >= 2 => Ok(None),
            Some(next) if cluster >= 2 && next >= 2 && (next as usize) < self.entries.len() => {
                Ok(Some(next))
            }
            _ => Err(damaged(format_args!(
                "cluster {cluster} is not part of a chain"
            ))),
        }
    }

    /// All clusters of the chain that starts at `first`; none when that is 0.
    pub fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut next = (first != 0).then_some(first);
        while let Some(cluster) = next {
            // The check at opening found no loops; this bounds the work whatever happens.
            if chain.len() >= self.entries.len() {
                return Err(damaged(format_args!("the chain at cluster {first} loops")));
            }
            next = self.after(cluster)?;
            chain.push(cluster);
        }
        Ok(chain)
    }

    /// Takes `count` free clusters among `regions` (ascending), in order, from the hint on; `None`
    /// when there are not as many. They are not free any more, and are to be linked next. The hint
    /// stays: whoever writes next does best to go on where the base ends.
    pub fn allocate(&mut self, count: usize, regions: &[Range<u32>]) -> Option<Vec<u32>> {
        let end = self.entries.len() as u32;
        let start = match self.next {
            next if (2..end).contains(&next) => next,
            _ => 2,
        };
        let part = |from: u32, to: u32| {
            let clip = move |r: &Range<u32>| r.start.max(from)..r.end.min(to);
            regions.iter().flat_map(clip)
        };
        let found: Vec<u32> = part(start, end)
            .chain(part(2, start))
            .filter(|&cluster| self.is_free(cluster))
            .take(count)
            .collect();
        if found.len() < count {
            return None;
        }
        for &cluster in &found {
            self.set(cluster, END_OF_CHAIN);
        }
        Some(found)
    }

    /// Whether nothing uses `cluster`, which must be valid.
    pub fn is_free(&self, cluster: u32) -> bool {
        self.entries
            .get(cluster as usize)
            .is_some_and(|e| e & VALUE == 0)
    }

    /// Makes `chain` one chain.
    pub fn link(&mut self, chain: &[u32]) {
        for pair in chain.windows(2) {
            self.set(pair[0], pair[1]);
        }
        if let Some(&last) = chain.last() {
            self.set(last, END_OF_CHAIN);
        }
    }

    /// Makes all of `chain` free.
    pub fn free_chain(&mut self, chain: &[u32]) {
        for &cluster in chain {
            self.set(cluster, 0);
        }
    }

    fn set(&mut self, cluster: u32, value: u32) {
        let entry = &mut self.entries[cluster as usize];
        let was = *entry & VALUE;
        // A chain's end may be written in eight ways; the one that is there will do.
        if was == value || (value == END_OF_CHAIN && was >= FIRST_END) {
            return;
        }
        *entry = *entry & !VALUE | value;
        match (was, value) {
            (0, _) => self.free -= 1,
            (_, 0) => self.free += 1,
            _ => {}
        }
        self.dirty.insert(cluster as usize * 4 / UNIT);
    }

    /// Writes what changed to all copies of the table, and the new sums to FSInfo.
    pub fn flush(&mut self, window: &Window, geometry: &Geometry) -> Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        for unit in std::mem::take(&mut self.dirty) {
            let first = unit * UNIT / 4;
            let last = (first + UNIT / 4).min(self.entries.len());
            let bytes: Vec<u8> = self.entries[first..last]
                .iter()
                .flat_map(|e| e.to_le_bytes())
                .collect();
            for copy in 0..geometry.fats {
                let at = geometry.fat_offset + copy * geometry.fat_len + (unit * UNIT) as u64;
                window.write_at(at, &bytes)?;
            }
        }
        let mut sums = [0; 8];
        sums[..4].copy_from_slice(&self.free.to_le_bytes());
        sums[4..].copy_from_slice(&self.next.to_le_bytes());
        window.write_at(geometry.info_offset + INFO_FREE as u64, &sums)
    }
}

/// Checks FSInfo's signatures and returns its hint for the next free cluster.
fn read_info(window: &Window, geometry: &Geometry) -> Result<u32> {
    let mut info = [0; 512];
    window
        .read_at(geometry.info_offset, &mut info)
        .context(|| "reading the FSInfo sector".into())?;
    if info[..4] != *INFO_LEAD || info[484..488] != *INFO_STRUCT || info[508..] != INFO_TRAIL {
        return Err(damaged("its FSInfo sector has no signature"));
    }
    let mut next = [0; 4];
    next.copy_from_slice(&info[INFO_NEXT..INFO_NEXT + 4]);
    Ok(u32::from_le_bytes(next))
}
