//! What both sides of LZMA share: probabilities, the state, repeated distances, properties.

/// Number of probabilities kept; a power of two, so that a masked index is always within.
const PROBABILITIES: usize = 1 << 14;

/// All adaptive probabilities in one table; the constants below say which are where.
pub(super) type Probabilities = [u16; PROBABILITIES];

/// A probability of one half.
const EVEN: u16 = 1 << 10;

/// Position states at most (`pb` = 4).
const POSITIONS: usize = 16;
const STATES: usize = 12;

pub(super) const IS_MATCH: usize = 0;
pub(super) const IS_REP0_LONG: usize = IS_MATCH + STATES * POSITIONS;
pub(super) const IS_REP: usize = IS_REP0_LONG + STATES * POSITIONS;
pub(super) const IS_REP0: usize = IS_REP + STATES;
pub(super) const IS_REP1: usize = IS_REP0 + STATES;
pub(super) const IS_REP2: usize = IS_REP1 + STATES;
/// Four trees of 64 distance slots, one for each of the lengths 2, 3, 4 and longer.
pub(super) const SLOT: usize = IS_REP2 + STATES;
/// The low bits of distances of the slots 4 to 13.
pub(super) const SPECIAL: usize = SLOT + 4 * 64;
pub(super) const ALIGN: usize = SPECIAL + 128;
pub(super) const MATCH_LEN: usize = ALIGN + 16;
pub(super) const REP_LEN: usize = MATCH_LEN + LEN_SIZE;
/// Up to 16 sets of [`LITERAL_SET`].
pub(super) const LITERAL: usize = REP_LEN + LEN_SIZE;
pub(super) const LITERAL_SET: usize = 0x300;

/// Within the probabilities of a length: the choices, then the trees.
pub(super) const LEN_CHOICE: usize = 0;
pub(super) const LEN_CHOICE2: usize = 1;
pub(super) const LEN_LOW: usize = 2;
pub(super) const LEN_MID: usize = LEN_LOW + POSITIONS * 8;
pub(super) const LEN_HIGH: usize = LEN_MID + POSITIONS * 8;
const LEN_SIZE: usize = LEN_HIGH + 256;

const _: () = assert!(LITERAL + 16 * LITERAL_SET <= PROBABILITIES);

/// First of the distance slots that have bits without a probability, and first without tree bits.
pub(super) const SLOT_DIRECT: u32 = 14;
pub(super) const SLOT_TREE: u32 = 4;
pub(super) const ALIGN_BITS: u32 = 4;

pub(super) const LEN_MIN: usize = 2;
pub(super) const LEN_MAX: usize = 273;

/// The probability at `index`. No index is out of bounds: it wraps.
#[inline(always)]
pub(super) fn at(probabilities: &mut Probabilities, index: usize) -> &mut u16 {
    &mut probabilities[index & (PROBABILITIES - 1)]
}

/// The parameters of literals and positions, as one byte of an LZMA2 chunk tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Properties {
    byte: u8,
    /// High bits of the byte before that select the set of a literal (`lc`).
    context_bits: u32,
    /// Low bits of the position that select the set of a literal, as a mask (`lp`).
    literal_mask: usize,
    /// Low bits of the position that select other probabilities, as a mask (`pb`).
    pub position_mask: usize,
}

impl Properties {
    /// `lc` = 3, `lp` = 0, `pb` = 2: those of all xz presets.
    pub const USUAL: Self = Self {
        byte: 93,
        context_bits: 3,
        literal_mask: 0,
        position_mask: 3,
    };

    /// `None` for what LZMA2 does not allow: `lc` + `lp` above 4.
    pub fn parse(byte: u8) -> Option<Self> {
        let (lc, rest) = (u32::from(byte % 9), byte / 9);
        let (lp, pb) = (u32::from(rest % 5), u32::from(rest / 5));
        (pb <= 4 && lc + lp <= 4).then_some(Self {
            byte,
            context_bits: lc,
            literal_mask: (1 << lp) - 1,
            position_mask: (1 << pb) - 1,
        })
    }

    pub fn byte(&self) -> u8 {
        self.byte
    }

    /// Where the probabilities of a literal are that stands at `position` behind `before`.
    #[inline(always)]
    pub fn literal(&self, place: Place) -> usize {
        let context = usize::from(place.before) >> (8 - self.context_bits);
        let set = ((place.position & self.literal_mask) << self.context_bits) + context;
        LITERAL + LITERAL_SET * set
    }

    /// How many probabilities are in use.
    fn used(&self) -> usize {
        LITERAL + LITERAL_SET * ((self.literal_mask + 1) << self.context_bits)
    }
}

/// The kinds of the last symbols: below 7 the last one was a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State(u8);

impl State {
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    #[inline(always)]
    pub fn after_literal(self) -> bool {
        self.0 < 7
    }

    #[inline(always)]
    pub fn literal(&mut self) {
        const NEXT: [u8; 16] = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5, 0, 0, 0, 0];
        self.0 = NEXT[self.index() & 15];
    }

    #[inline(always)]
    pub fn matched(&mut self) {
        self.0 = if self.after_literal() { 7 } else { 10 };
    }

    #[inline(always)]
    pub fn repeated(&mut self) {
        self.0 = if self.after_literal() { 8 } else { 11 };
    }

    #[inline(always)]
    pub fn short(&mut self) {
        self.0 = if self.after_literal() { 9 } else { 11 };
    }
}

/// What came before, as far as the next symbol depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    pub state: State,
    /// The last four distances, each less one; the most recent first.
    pub reps: [u32; 4],
}

/// Where a symbol stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Bytes since the dictionary was reset.
    pub position: usize,
    /// The byte before; 0 if there is none.
    pub before: u8,
}

/// Everything that decides how the next symbol is coded.
pub(super) struct Model {
    pub probabilities: Box<Probabilities>,
    pub history: History,
    pub properties: Properties,
}

impl Model {
    pub fn new(properties: Properties) -> Self {
        Self {
            probabilities: Box::new([EVEN; PROBABILITIES]),
            history: History::default(),
            properties,
        }
    }

    /// A state reset of LZMA2.
    pub fn reset(&mut self, properties: Properties) {
        self.properties = properties;
        self.history = History::default();
        self.probabilities[..properties.used()].fill(EVEN);
    }

    /// Becomes what `other` is, without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        let used = other.properties.used();
        self.probabilities[..used].copy_from_slice(&other.probabilities[..used]);
        self.history = other.history;
        self.properties = other.properties;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_those_lzma2_allows() {
        let usual = Properties::USUAL;
        assert_eq!(Properties::parse(usual.byte()), Some(usual));
        let place = |position, before| Place { position, before };
        assert_eq!(usual.literal(place(5, 0xe0)), LITERAL + 7 * LITERAL_SET);
        let allowed = (0..=255).filter_map(Properties::parse);
        assert_eq!(allowed.clone().count(), 15 * 5);
        for properties in allowed {
            assert!(properties.used() <= PROBABILITIES);
            let last = properties.literal(place(usize::MAX, 255)) + LITERAL_SET;
            assert_eq!(last, properties.used());
        }
    }
}
