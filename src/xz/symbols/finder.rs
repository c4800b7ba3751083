//! Matches for new text, and for text whose matches were lost. A page is not worth an encoder's
//! search, but a few hundred kilobytes as literals would be twice as large as they need be.

const HASH_BITS: u32 = 14;
/// Places kept for every hash, the newest first.
const WAYS: usize = 4;
/// Bytes that are hashed, and so the shortest match that is found.
pub(super) const WORD: usize = 4;

/// Where words of such text stand.
pub(super) struct Finder {
    /// Positions plus one; made when the first word comes.
    table: Vec<[u32; WAYS]>,
}

impl Finder {
    pub fn new() -> Self {
        Self { table: Vec::new() }
    }

    fn slot(word: [u8; WORD]) -> usize {
        (u32::from_le_bytes(word).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
    }

    /// Remembers that `word` is at `position`, below 4 GiB.
    pub fn insert(&mut self, word: [u8; WORD], position: usize) {
        if self.table.is_empty() {
            self.table.resize(1 << HASH_BITS, [0; WAYS]);
        }
        if let Some([a, b, c, d]) = self.table.get_mut(Self::slot(word)) {
            (*d, *c, *b, *a) = (*c, *b, *a, position as u32 + 1);
        }
    }

    /// Where `word` may be, the nearest first.
    pub fn candidates(&self, word: [u8; WORD]) -> impl Iterator<Item = usize> {
        let found = self.table.get(Self::slot(word)).copied();
        let places = found.unwrap_or_default().into_iter();
        places.filter(|&p| p > 0).map(|p| p as usize - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_places_are_known() {
        let mut finder = Finder::new();
        assert_eq!(finder.candidates(*b"abcd").count(), 0);
        for position in 0..6 {
            finder.insert(*b"abcd", position);
        }
        let found: Vec<_> = finder.candidates(*b"abcd").collect();
        assert_eq!(found, [5, 4, 3, 2]);
    }
}
