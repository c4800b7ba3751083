//! Where things are on a FAT32 partition: the BIOS parameter block.

use std::ops::Range;

use super::damaged::damaged;
use crate::disk::{ReadAt, Window};
use crate::error::{Error, Result, ResultExt};

/// More clusters than this are refused: the table is held in memory (64 MiB with this many).
const MAX_CLUSTERS: u64 = 16 << 20;

/// The layout of a FAT32 partition. Offsets and sizes are bytes of the partition.
pub(super) struct Geometry {
    pub cluster_size: u64,
    /// Clusters for data. They are numbered from 2.
    pub clusters: u32,
    pub root_cluster: u32,
    pub fat_offset: u64,
    /// Length of one copy of the table.
    pub fat_len: u64,
    /// Copies of the table: 1 or 2.
    pub fats: u64,
    pub info_offset: u64,
    data_offset: u64,
}

impl Geometry {
    /// Reads and checks the boot sector (specification, section 3).
    pub fn read(window: &Window) -> Result<Self> {
        let mut boot = [0; 512];
        if window.len() < 512 {
            return Err(damaged("the partition is too small"));
        }
        window
            .read_at(0, &mut boot)
            .context(|| "reading the boot sector".into())?;
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;

        if boot[510..] != [0x55, 0xaa] {
            return Err(damaged("its boot sector has no 55 aa at offset 510"));
        }
        let sector = u16_at(11);
        let per_cluster = u64::from(boot[13]);
        if !(512..=4096).contains(&sector) || !sector.is_power_of_two() {
            return Err(damaged(format_args!("sectors of {sector} bytes")));
        }
        if !per_cluster.is_power_of_two() {
            return Err(damaged(format_args!("clusters of {per_cluster} sectors")));
        }
        if u16_at(22) != 0 || u16_at(17) != 0 {
            return Err(
                Error::failed("the boot partition is FAT12 or FAT16").with_hint(
                    "use an image whose boot partition is FAT32, as that of Raspberry Pi OS is",
                ),
            );
        }
        let (reserved, fats, fat_sectors) = (u16_at(14), u64::from(boot[16]), u32_at(36));
        if reserved == 0 || fat_sectors == 0 || !(1..=2).contains(&fats) {
            return Err(damaged("its boot sector makes no sense"));
        }
        if u16_at(42) != 0 || u16_at(40) & 0x80 != 0 {
            return Err(Error::failed(
                "the boot partition uses a kind of FAT32 that is not supported (version or unmirrored tables)",
            ));
        }
        let total = match u16_at(19) {
            0 => u32_at(32),
            small => small,
        };
        if total * sector > window.len() {
            return Err(damaged(format_args!(
                "it claims {} bytes, the partition has {}",
                total * sector,
                window.len()
            )));
        }
        let data = reserved + fats * fat_sectors;
        let clusters = total.saturating_sub(data) / per_cluster;
        if clusters == 0 || clusters > MAX_CLUSTERS || fat_sectors * sector / 4 < clusters + 2 {
            return Err(damaged(format_args!(
                "{clusters} clusters do not fit its tables of {fat_sectors} sectors"
            )));
        }
        let (root_cluster, info) = (u32_at(44), u16_at(48));
        if !(2..clusters + 2).contains(&root_cluster) || !(1..reserved).contains(&info) {
            return Err(damaged(
                "its root directory or FSInfo sector lies outside of it",
            ));
        }
        Ok(Self {
            cluster_size: sector * per_cluster,
            clusters: clusters as u32,
            root_cluster: root_cluster as u32,
            fat_offset: reserved * sector,
            fat_len: fat_sectors * sector,
            fats,
            info_offset: info * sector,
            data_offset: data * sector,
        })
    }

    /// Where the data clusters begin: after the reserved sectors and the tables.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Where the data clusters end.
    pub fn len(&self) -> u64 {
        self.data_offset + u64::from(self.clusters) * self.cluster_size
    }

    /// Offset of a data cluster, which must be valid.
    pub fn cluster_offset(&self, cluster: u32) -> u64 {
        self.data_offset + u64::from(cluster.saturating_sub(2)) * self.cluster_size
    }

    /// The clusters that lie wholly in `bytes` of the partition.
    pub fn clusters_in(&self, bytes: Range<u64>) -> Range<u32> {
        let end = u64::from(self.clusters) + 2;
        let index = |at: u64| at.saturating_sub(self.data_offset);
        let first = index(bytes.start).div_ceil(self.cluster_size) + 2;
        let last = index(bytes.end) / self.cluster_size + 2;
        first.min(end) as u32..last.min(end) as u32
    }

    /// Clusters that `len` bytes need.
    pub fn clusters_for(&self, len: u64) -> usize {
        len.div_ceil(self.cluster_size) as usize
    }
}
