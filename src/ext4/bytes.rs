//! Little-endian fields of on-disk structures whose length is already known to suffice.

/// The 16-bit field at `at`.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit field at `at`.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Sets the 16-bit field at `at`.
pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Sets the 32-bit field at `at`.
pub(super) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The low 16 bits of `value`.
pub(super) fn low16(value: u32) -> u16 {
    (value & 0xFFFF) as u16
}

/// The low 32 bits of `value`.
pub(super) fn low32(value: u64) -> u32 {
    (value & 0xFFFF_FFFF) as u32
}

/// Whether bit `index` of a bitmap is set.
pub(super) fn bit(bitmap: &[u8], index: u64) -> bool {
    bitmap
        .get((index / 8) as usize)
        .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// Sets (or clears) the bits of `range`, as far as the bitmap reaches.
pub(super) fn set_bits(bitmap: &mut [u8], range: std::ops::Range<u64>, value: bool) {
    for index in range {
        if let Some(byte) = bitmap.get_mut((index / 8) as usize) {
            let mask = 1 << (index % 8);
            *byte = if value { *byte | mask } else { *byte & !mask };
        }
    }
}

/// How many of the first `count` bits are clear. `count` is a multiple of 8 or the tail is
/// counted bit by bit.
pub(super) fn clear_bits(bitmap: &[u8], count: u64) -> u64 {
    let whole = (count / 8) as usize;
    let in_bytes: u64 = bitmap[..whole.min(bitmap.len())]
        .iter()
        .map(|byte| u64::from(byte.count_zeros()))
        .sum();
    let tail = (whole as u64 * 8..count)
        .filter(|&i| !bit(bitmap, i))
        .count();
    in_bytes + tail as u64
}

/// The runs of clear bits in `range`, ascending. Bits that the bitmap has not are not clear.
pub(super) fn clear_runs(bitmap: &[u8], range: std::ops::Range<u64>) -> Vec<std::ops::Range<u64>> {
    let end = range.end.min(bitmap.len() as u64 * 8);
    let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
    let mut at = range.start;
    while at < end {
        if at.is_multiple_of(8) && bitmap.get((at / 8) as usize) == Some(&0xFF) {
            at += 8;
            continue;
        }
        if !bit(bitmap, at) {
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ => runs.push(at..at + 1),
            }
        }
        at += 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_count_what_was_set() {
        let mut map = [0u8; 4];
        set_bits(&mut map, 3..13, true);
        assert!(bit(&map, 3) && bit(&map, 12) && !bit(&map, 13) && !bit(&map, 99));
        assert_eq!(clear_bits(&map, 32), 22);
        assert_eq!(clear_bits(&map, 14), 4);
        assert_eq!(clear_runs(&map, 0..99), [0..3, 13..32]);
        assert_eq!(clear_runs(&map, 2..14), [2..3, 13..14]);
        set_bits(&mut map, 0..32, false);
        assert_eq!(clear_bits(&map, 32), 32);
    }
}
