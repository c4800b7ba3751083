//! DOS dates and times.

use crate::clock;

/// Unix seconds of 1980-01-01 00:00:00 and 2107-12-31 23:59:58, the first and last FAT can say.
const FIRST: i64 = 315_532_800;
const LAST: i64 = 4_354_819_198;

/// A date and time as directory entries hold them, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DosTime {
    pub date: u16,
    pub time: u16,
}

impl DosTime {
    /// From Unix seconds, rounded down to 2 seconds and clamped to what FAT can say.
    pub fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST, LAST);
        let (days, within) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = clock::civil(days);
        let (hour, minute, second) = (within / 3600, within / 60 % 60, within % 60);
        Self {
            date: ((year - 1980) << 9 | month << 5 | day) as u16,
            time: (hour << 11 | minute << 5 | (second / 2)) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_utc_and_clamps() {
        let at = |seconds| DosTime::from_unix(seconds);
        // 2026-04-13 12:34:57 UTC
        assert_eq!(at(1_776_083_697).date, 46 << 9 | 4 << 5 | 13);
        assert_eq!(at(1_776_083_697).time, 12 << 11 | 34 << 5 | 28);
        assert_eq!(at(951_782_400).date, 20 << 9 | 2 << 5 | 29); // 2000-02-29
        assert_eq!((at(i64::MIN).date, at(0).time), (1 << 5 | 1, 0));
        assert_eq!(at(i64::MAX).date, 127 << 9 | 12 << 5 | 31);
        assert_eq!(at(i64::MAX).time, 23 << 11 | 59 << 5 | 29);
    }
}
