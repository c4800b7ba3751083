//! One symbol into the range encoder: the counterpart of `decode`.

use super::model::{
    ALIGN, ALIGN_BITS, History, IS_MATCH, IS_REP, IS_REP0, IS_REP0_LONG, IS_REP1, IS_REP2,
    LEN_CHOICE, LEN_CHOICE2, LEN_HIGH, LEN_LOW, LEN_MID, LEN_MIN, MATCH_LEN, Place, Probabilities,
    Properties, REP_LEN, SLOT, SLOT_DIRECT, SLOT_TREE, SPECIAL, at,
};
use super::range::Coder;

/// Encodes `byte` at `place`; `matched` gives the byte at the distance `reps[0]`.
#[inline(always)]
pub(super) fn literal(
    rc: &mut Coder<'_>,
    p: &mut Probabilities,
    history: &mut History,
    properties: &Properties,
    place: Place,
    byte: u8,
    matched: impl FnOnce(u32) -> u8,
) {
    let phase = place.position & properties.position_mask;
    rc.bit(at(p, IS_MATCH + history.state.index() * 16 + phase), 0);
    let set = properties.literal(place);
    match history.state.after_literal() {
        true => tree::<8>(rc, p, set, usize::from(byte)),
        false => matched_literal(rc, p, set, byte, matched(history.reps[0])),
    }
    history.state.literal();
}

/// Encodes a match of `len` bytes (2 to 273) from `distance` + 1 bytes back, as a repeated one if
/// that is possible. One byte is possible too if `distance` is the last one.
#[inline(always)]
pub(super) fn matched(
    rc: &mut Coder<'_>,
    p: &mut Probabilities,
    history: &mut History,
    properties: &Properties,
    position: usize,
    distance: u32,
    len: usize,
) {
    let state = history.state.index();
    let phase = position & properties.position_mask;
    rc.bit(at(p, IS_MATCH + state * 16 + phase), 1);
    let [a, b, c, d] = history.reps;
    let repeated = distance == a || distance == b || distance == c || distance == d;
    rc.bit(at(p, IS_REP + state), usize::from(repeated));
    if !repeated {
        length(rc, p, MATCH_LEN, phase, len);
        self::distance(rc, p, distance, len);
        history.reps = [distance, a, b, c];
        history.state.matched();
        return;
    }
    rc.bit(at(p, IS_REP0 + state), usize::from(distance != a));
    if distance == a {
        let long = usize::from(len != 1);
        rc.bit(at(p, IS_REP0_LONG + state * 16 + phase), long);
        if len == 1 {
            history.state.short();
            return;
        }
    } else {
        rc.bit(at(p, IS_REP1 + state), usize::from(distance != b));
        if distance == b {
            history.reps = [b, a, c, d];
        } else {
            rc.bit(at(p, IS_REP2 + state), usize::from(distance != c));
            history.reps = match distance == c {
                true => [c, a, b, d],
                false => [d, a, b, c],
            };
        }
    }
    length(rc, p, REP_LEN, phase, len);
    history.state.repeated();
}

#[inline(always)]
fn matched_literal(rc: &mut Coder<'_>, p: &mut Probabilities, set: usize, byte: u8, other: u8) {
    let (byte, mut other) = (usize::from(byte), usize::from(other));
    let mut agrees = 0x100;
    let mut node = 1;
    for i in (0..8).rev() {
        other <<= 1;
        let expected = other & agrees;
        let bit = (byte >> i) & 1;
        rc.bit(at(p, set + agrees + expected + node), bit);
        node = node << 1 | bit;
        agrees &= !(expected ^ (bit << 8));
    }
}

#[inline(always)]
fn tree<const BITS: u32>(rc: &mut Coder<'_>, p: &mut Probabilities, base: usize, value: usize) {
    let mut node = 1;
    for i in (0..BITS).rev() {
        let bit = (value >> i) & 1;
        rc.bit(at(p, base + node), bit);
        node = node << 1 | bit;
    }
}

#[inline(always)]
fn reverse_tree(rc: &mut Coder<'_>, p: &mut Probabilities, base: usize, bits: u32, value: u32) {
    let mut node = 1;
    for i in 0..bits {
        let bit = (value >> i & 1) as usize;
        rc.bit(at(p, base + node), bit);
        node = node << 1 | bit;
    }
}

#[inline(always)]
fn length(rc: &mut Coder<'_>, p: &mut Probabilities, base: usize, phase: usize, len: usize) {
    let len = len.wrapping_sub(LEN_MIN);
    rc.bit(at(p, base + LEN_CHOICE), usize::from(len >= 8));
    if len < 8 {
        return tree::<3>(rc, p, base + LEN_LOW + phase * 8, len);
    }
    rc.bit(at(p, base + LEN_CHOICE2), usize::from(len >= 16));
    match len < 16 {
        true => tree::<3>(rc, p, base + LEN_MID + phase * 8, len - 8),
        false => tree::<8>(rc, p, base + LEN_HIGH, len - 16),
    }
}

#[inline(always)]
fn distance(rc: &mut Coder<'_>, p: &mut Probabilities, distance: u32, len: usize) {
    let class = len.wrapping_sub(LEN_MIN).min(3);
    let slot = slot_of(distance);
    tree::<6>(rc, p, SLOT + class * 64, slot as usize);
    if slot < SLOT_TREE {
        return;
    }
    let bits = (slot >> 1) - 1;
    let base = (2 | (slot & 1)) << bits;
    let rest = distance.wrapping_sub(base);
    if slot < SLOT_DIRECT {
        let root = SPECIAL + (base - slot) as usize - 1;
        return reverse_tree(rc, p, root, bits, rest);
    }
    for i in (ALIGN_BITS..bits).rev() {
        rc.direct(rest >> i);
    }
    reverse_tree(rc, p, ALIGN, ALIGN_BITS, rest);
}

/// The distance slot: the two highest bits of the distance, and how many follow.
#[inline(always)]
fn slot_of(distance: u32) -> u32 {
    if distance < SLOT_TREE {
        return distance;
    }
    let bits = distance.ilog2();
    bits * 2 + (distance >> (bits - 1) & 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xz::symbols::decode::{Symbol, symbol};
    use crate::xz::symbols::model::{LEN_MAX, Model};
    use crate::xz::symbols::range::{CHUNK_SIZE, Decoder, Encoder};

    fn symbols() -> Vec<Symbol> {
        let distances = (0..32).flat_map(|bit| [1u32 << bit, (1 << bit) + 77, 0, 3, 130, 9]);
        distances
            .zip((LEN_MIN..=LEN_MAX).cycle().step_by(7))
            .flat_map(|(distance, len)| {
                [
                    Symbol::Literal(len as u8),
                    Symbol::Match { distance, len },
                    Symbol::Match { distance, len: 1 },
                    Symbol::Literal(0x5a),
                    Symbol::Literal(distance as u8),
                ]
            })
            .collect()
    }

    /// All lengths and kinds of distances in all properties come back.
    #[test]
    fn symbols_come_back() {
        let other = |distance: u32| (distance % 251) as u8;
        let place = |position: usize| Place {
            position,
            before: (position % 253) as u8,
        };
        for properties in (0..225).filter_map(Properties::parse) {
            let mut rc = Encoder::new();
            let mut model = Model::new(properties);
            let (p, h) = (&mut *model.probabilities, &mut model.history);
            let mut at = 0;
            for symbol in symbols() {
                at += match symbol {
                    Symbol::Literal(byte) => {
                        rc.with(|rc| literal(rc, p, h, &properties, place(at), byte, other));
                        1
                    }
                    Symbol::Match { distance, len } => {
                        rc.with(|rc| matched(rc, p, h, &properties, at, distance, len));
                        len
                    }
                };
            }
            let mut input = [0; CHUNK_SIZE];
            let len = rc.finish(|bytes| {
                input[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            });
            let mut rc = Decoder::new(&input).unwrap();
            model.reset(properties);
            let (p, h) = (&mut *model.probabilities, &mut model.history);
            let mut at = 0;
            for expected in symbols() {
                let got = symbol(&mut rc, p, h, &properties, place(at), other);
                assert_eq!(got, expected);
                at += match got {
                    Symbol::Literal(_) => 1,
                    Symbol::Match { len, .. } => len,
                };
            }
            assert!(rc.is_finished(len));
        }
    }
}
