//! One symbol out of the range decoder.

use super::model::{
    ALIGN, ALIGN_BITS, History, IS_MATCH, IS_REP, IS_REP0, IS_REP0_LONG, IS_REP1, IS_REP2,
    LEN_CHOICE, LEN_CHOICE2, LEN_HIGH, LEN_LOW, LEN_MID, LEN_MIN, MATCH_LEN, Place, Probabilities,
    Properties, REP_LEN, SLOT, SLOT_DIRECT, SLOT_TREE, SPECIAL, at,
};
use super::range::Decoder;

/// What a symbol of LZMA says. A “short rep” is a match of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Literal(u8),
    /// Copy `len` bytes (1 to 273) from `distance` + 1 bytes back.
    Match {
        distance: u32,
        len: usize,
    },
}

/// Decodes the symbol at `place`; `matched` gives the byte at the distance `reps[0]`.
#[inline(always)]
pub(super) fn symbol(
    rc: &mut Decoder<'_>,
    p: &mut Probabilities,
    history: &mut History,
    properties: &Properties,
    place: Place,
    matched: impl FnOnce(u32) -> u8,
) -> Symbol {
    let state = history.state.index();
    let phase = place.position & properties.position_mask;
    if !rc.flag(at(p, IS_MATCH + state * 16 + phase)) {
        let set = properties.literal(place);
        let byte = match history.state.after_literal() {
            true => literal(rc, p, set),
            false => matched_literal(rc, p, set, matched(history.reps[0])),
        };
        history.state.literal();
        return Symbol::Literal(byte);
    }
    let [a, b, c, d] = history.reps;
    if !rc.flag(at(p, IS_REP + state)) {
        let len = length(rc, p, MATCH_LEN, phase);
        let distance = distance(rc, p, len);
        history.reps = [distance, a, b, c];
        history.state.matched();
        return Symbol::Match { distance, len };
    }
    if !rc.flag(at(p, IS_REP0 + state)) {
        if !rc.flag(at(p, IS_REP0_LONG + state * 16 + phase)) {
            history.state.short();
            return Symbol::Match {
                distance: a,
                len: 1,
            };
        }
    } else {
        history.reps = if !rc.flag(at(p, IS_REP1 + state)) {
            [b, a, c, d]
        } else if !rc.flag(at(p, IS_REP2 + state)) {
            [c, a, b, d]
        } else {
            [d, a, b, c]
        };
    }
    let len = length(rc, p, REP_LEN, phase);
    history.state.repeated();
    let distance = history.reps[0];
    Symbol::Match { distance, len }
}

#[inline(always)]
fn literal(rc: &mut Decoder<'_>, p: &mut Probabilities, set: usize) -> u8 {
    tree::<8>(rc, p, set) as u8
}

/// A literal behind a match differs from the byte the match would have gone on with, so that byte
/// selects the probabilities as long as its bits agree.
#[inline(always)]
fn matched_literal(rc: &mut Decoder<'_>, p: &mut Probabilities, set: usize, other: u8) -> u8 {
    let mut other = usize::from(other);
    let mut agrees = 0x100;
    let mut node = 1;
    for _ in 0..8 {
        other <<= 1;
        let expected = other & agrees;
        let bit = rc.bit(at(p, set + agrees + expected + node));
        node = node << 1 | bit;
        // Stays 0x100 if the bit is as expected.
        agrees &= !(expected ^ (bit << 8));
    }
    node as u8
}

/// A number of `BITS` bits, highest first. The tree's root is at `base` + 1.
#[inline(always)]
fn tree<const BITS: u32>(rc: &mut Decoder<'_>, p: &mut Probabilities, base: usize) -> usize {
    let mut node = 1;
    for _ in 0..BITS {
        node = node << 1 | rc.bit(at(p, base + node));
    }
    node - (1 << BITS)
}

/// A number of `bits` bits, lowest first. The tree's root is at `base` + 1.
#[inline(always)]
fn reverse_tree(rc: &mut Decoder<'_>, p: &mut Probabilities, base: usize, bits: u32) -> u32 {
    let mut node = 1;
    let mut value = 0;
    for i in 0..bits {
        let bit = rc.bit(at(p, base + node));
        node = node << 1 | bit;
        value |= (bit as u32) << i;
    }
    value
}

#[inline(always)]
fn length(rc: &mut Decoder<'_>, p: &mut Probabilities, base: usize, phase: usize) -> usize {
    if !rc.flag(at(p, base + LEN_CHOICE)) {
        return LEN_MIN + tree::<3>(rc, p, base + LEN_LOW + phase * 8);
    }
    if !rc.flag(at(p, base + LEN_CHOICE2)) {
        return LEN_MIN + 8 + tree::<3>(rc, p, base + LEN_MID + phase * 8);
    }
    LEN_MIN + 16 + tree::<8>(rc, p, base + LEN_HIGH)
}

#[inline(always)]
fn distance(rc: &mut Decoder<'_>, p: &mut Probabilities, len: usize) -> u32 {
    let class = (len - LEN_MIN).min(3);
    let slot = tree::<6>(rc, p, SLOT + class * 64) as u32;
    if slot < SLOT_TREE {
        return slot;
    }
    let bits = (slot >> 1) - 1;
    let base = (2 | (slot & 1)) << bits;
    if slot < SLOT_DIRECT {
        let root = SPECIAL + (base - slot) as usize - 1;
        return base + reverse_tree(rc, p, root, bits);
    }
    let mut high = 0;
    for _ in ALIGN_BITS..bits {
        high = high << 1 | rc.direct();
    }
    let low = reverse_tree(rc, p, ALIGN, ALIGN_BITS);
    base.wrapping_add(high << ALIGN_BITS).wrapping_add(low)
}
