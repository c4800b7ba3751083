//! How much of a base's compressed blocks edits change: what decides the cost of `.img.xz`.

use std::fmt;

use crate::disk::{CowDisk, ReadAt, STRETCH};
use crate::xz::Splice;

/// The blocks of an image that differ from its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedBlocks {
    /// Numbers of the blocks, counted from 0, ascending.
    pub changed: Vec<usize>,
    /// How many blocks the image has.
    pub total: usize,
    /// Whether they are the blocks of a compressed base, not just stretches of [`STRETCH`] bytes.
    pub of_base: bool,
}

impl ChangedBlocks {
    /// Looks at `disk`, which must be settled. `base` is the file that its base was read from, if
    /// its blocks can be used one by one. What the image has grown by counts as changed.
    pub fn of(disk: &CowDisk, base: Option<&Splice>) -> Self {
        let base_len = disk.base().len();
        let mut ends: Vec<u64> = match base {
            Some(splice) => {
                let blocks = splice.layout().blocks.iter();
                blocks.map(|block| block.range().end).collect()
            }
            None => steps(0, base_len),
        };
        ends.extend(steps(base_len, disk.len()));
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let changed = starts
            .zip(&ends)
            .enumerate()
            .filter(|(_, (start, end))| *start >= base_len || disk.is_dirty(*start..**end))
            .map(|(number, _)| number)
            .collect();
        Self {
            changed,
            total: ends.len(),
            of_base: base.is_some(),
        }
    }
}

/// Where stretches from `start` on end, the last at `end`.
fn steps(start: u64, end: u64) -> Vec<u64> {
    let count = end.saturating_sub(start).div_ceil(STRETCH);
    (1..=count)
        .map(|n| (start + n * STRETCH).min(end))
        .collect()
}

/// As in “4 of 56 xz blocks (0, 3, 21-22)”.
impl fmt::Display for ChangedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.of_base {
            true => "xz blocks",
            false => "blocks of 24 MiB",
        };
        write!(f, "{} of {} {what}", self.changed.len(), self.total)?;
        let mut separator = " (";
        for run in self.changed.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [] => {}
                [one] => write!(f, "{separator}{one}")?,
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ", ";
        }
        match self.changed.is_empty() {
            true => Ok(()),
            false => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::InMemory;

    #[test]
    fn counts_what_must_be_packed_anew() {
        let base = InMemory::from(vec![0; 1000]);
        let disk = CowDisk::new(Arc::new(base));
        assert_eq!(
            ChangedBlocks::of(&disk, None).to_string(),
            "0 of 1 blocks of 24 MiB"
        );
        disk.grow(5 * STRETCH + 1000).unwrap();
        disk.write_at(7, &[1]).unwrap();
        let changed = ChangedBlocks::of(&disk, None);
        assert_eq!(changed.to_string(), "6 of 6 blocks of 24 MiB (0-5)");
        let some = ChangedBlocks {
            changed: vec![0, 3, 21, 22],
            total: 56,
            of_base: true,
        };
        assert_eq!(some.to_string(), "4 of 56 xz blocks (0, 3, 21-22)");
    }
}
