//! The checksums of ext4 metadata: crc32c (`metadata_csum`) and crc16 (`gdt_csum`).
//!
//! Format: Documentation/filesystems/ext4/checksums.rst in the Linux kernel.

use super::bytes::low16;

/// Offset of `bg_checksum` in a group descriptor.
const DESCRIPTOR_CHECKSUM: usize = 0x1E;

/// Which checksums a file system keeps, with what they are seeded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksums {
    /// None at all.
    None,
    /// crc16 of group descriptors only; salted with the file system's UUID.
    Descriptors { uuid: [u8; 16] },
    /// crc32c of all metadata.
    All { seed: u32 },
}

/// crc32c as ext4 uses it: no final inversion, and `seed` as the register it starts from.
pub(super) fn crc32c(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

/// crc16 (polynomial 0x8005 reflected), continued from `crc`.
fn crc16(mut crc: u16, data: &[u8]) -> u16 {
    for &byte in data {
        crc ^= u16::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xA001
            } else {
                crc >> 1
            };
        }
    }
    crc
}

impl Checksums {
    /// Whether group descriptors carry a checksum, which is what lets groups be uninitialised.
    pub(super) fn cover_descriptors(self) -> bool {
        self != Self::None
    }

    /// `bg_checksum` of the descriptor `raw` of `group`, or `None` when there is none to keep.
    pub(super) fn descriptor(self, group: u32, raw: &[u8]) -> Option<u16> {
        let (head, tail) = raw.split_at(DESCRIPTOR_CHECKSUM);
        let tail = &tail[2..];
        match self {
            Self::None => None,
            Self::Descriptors { uuid } => {
                let crc = crc16(crc16(!0, &uuid), &group.to_le_bytes());
                Some(crc16(crc16(crc, head), tail))
            }
            Self::All { seed } => {
                let crc = crc32c(crc32c(seed, &group.to_le_bytes()), head);
                Some(low16(crc32c(crc32c(crc, &[0, 0]), tail)))
            }
        }
    }

    /// Checksum of the part of a bitmap block that holds bits of the group.
    pub(super) fn bitmap(self, bits: &[u8]) -> Option<u32> {
        match self {
            Self::All { seed } => Some(crc32c(seed, bits)),
            _ => None,
        }
    }

    /// Checksum of an inode whose checksum fields have been zeroed in `raw`.
    pub(super) fn inode(self, number: u32, generation: u32, raw: &[u8]) -> Option<u32> {
        match self {
            Self::All { seed } => {
                let crc = crc32c(seed, &number.to_le_bytes());
                Some(crc32c(crc32c(crc, &generation.to_le_bytes()), raw))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crcs_have_the_published_check_values() {
        // The catalogued CRC-32C check value is the inverted register; CRC-16/ARC starts from 0.
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
