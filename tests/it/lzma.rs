//! The transcoder, judged by liblzma: whatever is patched, the result decodes to the patched text.

use imgbuild::job::Cancel;
use imgbuild::xz::symbols::{Block, Coding, Replacement, Transcoded, transcode, zeros};
use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::fuzz_cases::cases;

const DICTIONARY: u32 = 1 << 20;

/// `lc`, `lp`, `pb`.
type Bits = (u32, u32, u32);
const USUAL: Bits = (3, 0, 2);

fn filters(preset: u32, (lc, lp, pb): Bits) -> Filters {
    let mut options = LzmaOptions::new_preset(preset).unwrap();
    options
        .dict_size(DICTIONARY)
        .literal_context_bits(lc)
        .literal_position_bits(lp)
        .position_bits(pb);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    filters
}

/// Packs with liblzma.
fn pack(text: &[u8], preset: u32, bits: Bits) -> Vec<u8> {
    let mut stream = Stream::new_raw_encoder(&filters(preset, bits)).unwrap();
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 4096);
    loop {
        let rest = &text[stream.total_in() as usize..];
        let status = stream.process_vec(rest, &mut out, Action::Finish).unwrap();
        if status == Status::StreamEnd {
            return out;
        }
        out.reserve(1 << 16);
    }
}

/// Unpacks with liblzma; `None` if that finds it damaged, or if anything follows the end mark.
fn unpack(lzma2: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut stream = Stream::new_raw_decoder(&filters(0, USUAL)).unwrap();
    let mut out = Vec::with_capacity(len + 1);
    loop {
        let (rest, before) = (&lzma2[stream.total_in() as usize..], stream.total_out());
        match stream.process_vec(rest, &mut out, Action::Finish) {
            Ok(Status::StreamEnd) => break,
            Ok(_) if stream.total_out() > before => {}
            _ => return None,
        }
    }
    (stream.total_in() == lzma2.len() as u64).then_some(out)
}

fn block(lzma2: &[u8], len: usize) -> Block<'_> {
    Block {
        lzma2,
        len,
        dictionary: u64::from(DICTIONARY),
    }
}

fn edit(start: usize, bytes: &[u8]) -> Replacement<'_> {
    Replacement {
        start,
        bytes,
        coding: Coding::Edit,
    }
}

fn patched(text: &[u8], patches: &[Replacement<'_>]) -> Vec<u8> {
    let mut text = text.to_vec();
    for patch in patches {
        text[patch.start..][..patch.bytes.len()].copy_from_slice(patch.bytes);
    }
    text
}

/// Transcodes and has liblzma look at the result.
fn judged(lzma2: &[u8], text: &[u8], patches: &[Replacement<'_>]) -> Transcoded {
    let made = transcode(&block(lzma2, text.len()), patches, &Cancel::default()).unwrap();
    assert!(text.starts_with(&made.text));
    let got = unpack(&made.lzma2, text.len()).expect("a valid stream");
    assert!(got == patched(text, patches), "another text");
    made
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Words by their frequency, as language has them.
fn prose(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    let words: Vec<Vec<u8>> = (0..2000)
        .map(|_| {
            let len = 2 + random.next() % 9;
            (0..len)
                .map(|_| b"etaoinshrdlucmfwyp"[random.next() % 18])
                .collect()
        })
        .collect();
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        let rank = random.next() % 2000 * (random.next() % 1000) / 1000;
        text.extend(&words[rank * (random.next() % 1000) / 1000]);
        text.push(if random.next().is_multiple_of(12) {
            b'\n'
        } else {
            b' '
        });
    }
    text.truncate(len);
    text
}

/// One stretch of a text.
#[derive(Debug, Clone)]
enum Part {
    Zeros(usize),
    Noise(usize, u64),
    Prose(usize, u64),
    /// Text from before, from so far back.
    Again(Index, usize),
    /// Records that differ in a few bytes.
    Table(usize, usize),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (1usize..20_000).prop_map(Part::Zeros),
        (1usize..100_000, any::<u64>()).prop_map(|(len, seed)| Part::Noise(len, seed)),
        (1usize..40_000, any::<u64>()).prop_map(|(len, seed)| Part::Prose(len, seed)),
        (any::<Index>(), 1usize..5000).prop_map(|(from, len)| Part::Again(from, len)),
        (1usize..200, 1usize..400).prop_map(|(size, count)| Part::Table(size, count)),
    ]
}

fn text_of(parts: &[Part]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    for part in parts {
        match part {
            Part::Zeros(len) => text.resize(text.len() + len, 0),
            Part::Noise(len, seed) => text.extend(Random(seed | 1).bytes(*len)),
            Part::Prose(len, seed) => text.extend(prose(*len, *seed)),
            Part::Again(from, len) => {
                let from = from.index(text.len() + 1);
                let piece: Vec<u8> = text[from..].iter().take(*len).copied().collect();
                text.extend(piece);
            }
            Part::Table(size, count) => {
                for i in 0..*count {
                    text.extend((i as u32).to_le_bytes());
                    text.resize(text.len() + size, (size & 0xff) as u8);
                }
            }
        }
    }
    text
}

/// A patch: where, what, and whether it is a run of its own.
type Change = (Index, Part, u8);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let small = prop_oneof![
        (1usize..300).prop_map(Part::Zeros),
        (1usize..300, any::<u64>()).prop_map(|(len, seed)| Part::Noise(len, seed)),
        part(),
    ];
    prop::collection::vec((any::<Index>(), small, 0u8..6), 0..8)
}

/// New data with the place where it goes.
struct New {
    start: usize,
    bytes: Vec<u8>,
    kind: u8,
    stream: Vec<u8>,
}

/// Puts changes in order, without those that would overlap.
fn in_order(text: &[u8], changes: &[Change]) -> Vec<New> {
    let mut all: Vec<New> = Vec::new();
    for (at, part, kind) in changes {
        let start = at.index(text.len() + 1);
        let mut bytes = text_of(std::slice::from_ref(part));
        // Text from before: what lies there now, moved a little.
        if bytes.is_empty() {
            bytes = text[start / 2..].iter().take(700).copied().collect();
        }
        bytes.truncate(text.len() - start);
        all.push(New {
            start,
            bytes,
            kind: *kind,
            stream: Vec::new(),
        });
    }
    all.sort_by_key(|new| new.start);
    let mut end = 0;
    all.retain(|new| {
        let fits = new.start >= end;
        if fits {
            end = new.start + new.bytes.len();
        }
        fits
    });
    let after = {
        let edits: Vec<Replacement<'_>> = all.iter().map(|n| edit(n.start, &n.bytes)).collect();
        patched(text, &edits)
    };
    for new in &mut all {
        let low = new.start == 0 || after[new.start - 1] < 32;
        if new.kind == 1 && low && new.start.is_multiple_of(16) && !new.bytes.is_empty() {
            new.stream = pack(&new.bytes, 1, USUAL);
            new.stream.pop();
        }
    }
    all
}

fn patches(all: &[New]) -> Vec<Replacement<'_>> {
    all.iter()
        .map(|new| Replacement {
            start: new.start,
            bytes: &new.bytes,
            coding: match new.kind {
                0 => Coding::Stored,
                1 if !new.stream.is_empty() => Coding::Stream(&new.stream),
                _ => Coding::Edit,
            },
        })
        .collect()
}

fn bits() -> impl Strategy<Value = Bits> {
    prop_oneof![
        3 => Just(USUAL),
        1 => Just((0, 0, 0)),
        1 => Just((4, 0, 0)),
        1 => Just((0, 4, 4)),
        1 => Just((2, 2, 1)),
        1 => Just((1, 3, 3)),
    ]
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_patch_comes_out(
        parts in prop::collection::vec(part(), 1..8),
        changes in changes(),
        preset in prop::sample::select(vec![0u32, 1, 6]),
        bits in bits(),
    ) {
        let text = text_of(&parts);
        let lzma2 = pack(&text, preset, bits);
        let all = in_order(&text, &changes);
        let made = judged(&lzma2, &text, &patches(&all));
        // The result is as good a base as any.
        let text = patched(&text, &patches(&all));
        let same = judged(&made.lzma2, &text, &[]);
        prop_assert!(same.lzma2 == made.lzma2);
        let zero = [0; 5];
        let at = text.len() / 3;
        judged(&made.lzma2, &text, &[edit(at, &zero[..(text.len() - at).min(5)])]);
    }

    /// Resets where no encoder here puts them: several streams in a row.
    #[test]
    fn resets_within_a_block_are_followed(
        parts in prop::collection::vec((part(), any::<bool>()), 2..6),
        changes in changes(),
    ) {
        let (mut text, mut lzma2) = (Vec::new(), Vec::new());
        for (part, keep) in &parts {
            let piece = text_of(std::slice::from_ref(part));
            if piece.is_empty() {
                continue;
            }
            let low = text.last().is_none_or(|&byte| byte < 32) && text.len().is_multiple_of(16);
            let mut stream = pack(&piece, 1, USUAL);
            stream.pop();
            if !text.is_empty() && low && *keep {
                // Without the reset of the dictionary; properties stay as they are, if they are known.
                stream[0] = match stream[0] {
                    1 => 2,
                    control => control & !0x20,
                };
            }
            text.extend(piece);
            lzma2.extend(stream);
        }
        lzma2.push(0);
        prop_assume!(!text.is_empty());
        prop_assume!(unpack(&lzma2, text.len()).is_some_and(|got| got == text));
        let all = in_order(&text, &changes);
        judged(&lzma2, &text, &patches(&all));
    }

    /// Damaged data is an error or decodes to what liblzma makes of it, too.
    #[test]
    fn damage_is_found_or_harmless(
        parts in prop::collection::vec(part(), 1..4),
        changes in changes(),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let text = text_of(&parts);
        prop_assume!(!text.is_empty());
        let mut lzma2 = pack(&text, 0, USUAL);
        for (at, byte) in flips {
            let at = at.index(lzma2.len());
            lzma2[at] = byte;
        }
        if let Some(cut) = cut {
            lzma2.truncate(cut.index(lzma2.len()));
        }
        let all = in_order(&text, &changes);
        let patches: Vec<Replacement<'_>> = all.iter().map(|n| edit(n.start, &n.bytes)).collect();
        if let Ok(made) = transcode(&block(&lzma2, text.len()), &patches, &Cancel::default()) {
            let other = unpack(&lzma2, text.len()).expect("liblzma agrees");
            prop_assert!(other == made.text);
            let got = unpack(&made.lzma2, text.len()).expect("a valid stream");
            prop_assert!(got == patched(&other, &patches));
        }
    }

    /// Bytes that were never a stream.
    #[test]
    fn noise_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..3000), control in 0u8..4) {
        let mut bytes = bytes;
        if let [first, .., last] = &mut bytes[..] {
            *first = [1, 0xe0, 0xff, *first][control as usize];
            *last = 0;
        }
        for len in [0, 1, 5000, 3 << 20] {
            let zero = [1; 1];
            let patches = [edit(len / 2, &zero[..len.min(1)])];
            let made = transcode(&block(&bytes, len), &patches, &Cancel::default());
            if let Ok(made) = made {
                prop_assert!(unpack(&made.lzma2, len).is_some());
            }
        }
    }
}

#[test]
fn nothing_to_do_copies_every_byte() {
    let mut text = prose(3 << 20, 1);
    text.extend(Random(5).bytes(200_000));
    text.extend(prose(100_000, 2));
    let lzma2 = pack(&text, 1, USUAL);
    assert!(judged(&lzma2, &text, &[]).lzma2 == lzma2);
    // A patch that changes nothing, too.
    let same = [
        edit(1000, &text[1000..9000]),
        edit(text.len() - 5000, &text[text.len() - 5000..]),
    ];
    assert!(judged(&lzma2, &text, &same).lzma2 == lzma2);
}

#[test]
fn a_small_change_costs_little() {
    let text = prose(4 << 20, 3);
    let lzma2 = pack(&text, 6, USUAL);
    let name = [edit(1_000_003, b"a new host name")];
    let page = prose(4096, 77);
    let whole_page = [edit(2 << 20, &page)];
    for patches in [&name[..], &whole_page] {
        let made = judged(&lzma2, &text, patches);
        let percent = made.lzma2.len() as f64 / lzma2.len() as f64 * 100.0;
        assert!(percent < 101.0, "{percent} % of the size before");
    }
    // What lies before the change is not touched.
    let made = judged(&lzma2, &text, &[edit(3 << 20, b"x")]);
    let half = lzma2.len() / 2;
    assert!(made.lzma2[..half] == lzma2[..half]);
}

#[test]
fn new_text_is_compressed() {
    let mut text = prose(1 << 20, 3);
    text.resize(3 << 20, 0);
    let lzma2 = pack(&text, 6, USUAL);
    let new = prose(200_000, 78);
    let made = judged(&lzma2, &text, &[edit((1 << 20) + 8192, &new)]);
    let cost = made.lzma2.len() - lzma2.len();
    let best = pack(&new, 6, USUAL).len();
    assert!(cost < best * 2, "{cost} bytes, {best} by liblzma");
    // Zeros over text cost next to nothing, noise no more than itself.
    let zero = vec![0; 900_000];
    let made = judged(&lzma2, &text, &[edit(4096, &zero)]);
    assert!(made.lzma2.len() < lzma2.len() / 3);
    let noise = Random(9).bytes(600_000);
    let made = judged(&lzma2, &text, &[edit(2 << 20, &noise)]);
    assert!(made.lzma2.len() < lzma2.len() + noise.len() + 4096);
}

#[test]
fn runs_at_every_edge() {
    let text = prose(300_000, 4);
    let lzma2 = pack(&text, 6, USUAL);
    let new = text_of(&[Part::Table(100, 2885)]);
    assert!(new.len() >= 300_000);
    let run = |start: usize, end: usize| New {
        start,
        bytes: new[start..end].to_vec(),
        kind: 1,
        stream: pack(&new[start..end], 1, USUAL)[..]
            .split_last()
            .unwrap()
            .1
            .to_vec(),
    };
    let ranges: [&[(usize, usize)]; 5] = [
        &[(0, 300_000)],
        &[(0, 100_000)],
        &[(0, 16), (16, 5000)],
        &[(100_000, 300_000)],
        &[(4096, 100_000), (200_000, 300_000)],
    ];
    for ranges in ranges {
        for kind in [0, 1] {
            let mut all: Vec<New> = ranges.iter().map(|r| run(r.0, r.1)).collect();
            for new in &mut all {
                let low = new.start == 0 || text[new.start - 1] < 32;
                new.kind = if low { kind } else { 0 };
            }
            let made = judged(&lzma2, &text, &patches(&all));
            // A run at the end need not be decoded.
            let (start, end) = *ranges.last().unwrap();
            let needed = if end == text.len() { start } else { end };
            assert!(made.text.len() >= needed);
            assert!(end < text.len() || made.text.len() < needed + 300);
        }
    }
}

#[test]
fn zeros_are_zeros() {
    for len in [
        1,
        2,
        3,
        273,
        274,
        275,
        1 << 16,
        (2 << 20) + 1,
        (24 << 20) - 512,
    ] {
        let lzma2 = zeros(len);
        assert!(unpack(&lzma2, len).unwrap() == vec![0; len], "{len}");
        assert!(lzma2.len() < 100 + len / 4000, "{}", lzma2.len());
    }
    // Long matches only: the chunk is full by its text.
    let len = 5 << 20;
    judged(
        &zeros(len),
        &vec![0; len],
        &[edit(3, b"a"), edit(4 << 20, b"b")],
    );
}

#[test]
fn cancelling_and_limits() {
    let text = prose(100_000, 4);
    let lzma2 = pack(&text, 0, USUAL);
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(transcode(&block(&lzma2, text.len()), &[], &cancel).is_err());
    let cancel = Cancel::default();
    for len in [0, text.len() - 1, text.len() + 1, 65 << 20] {
        assert!(
            transcode(&block(&lzma2, len), &[], &cancel).is_err(),
            "{len}"
        );
    }
    // A dictionary that is smaller than the matches need.
    let small = Block {
        dictionary: 4096,
        ..block(&lzma2, text.len())
    };
    assert!(transcode(&small, &[], &cancel).is_err());
}
