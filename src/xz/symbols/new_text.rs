//! The new text: what is decoded, with patches on top.

use std::ops::Range;

use super::limits::MAX_TEXT;
use crate::error::{Error, Result};

/// How the bytes of a patch are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding<'a> {
    /// With the symbols that were there where they still fit, and with matches found anew.
    Edit,
    /// As they are: for what cannot be compressed.
    Stored,
    /// As this LZMA2 stream, made by an encoder with `lc` = 3 that knew no text before, and whose end
    /// mark is left out. Where the byte before is not below 32 (so that it selects the same literals
    /// as none) or the start not a multiple of 16, the bytes are stored instead.
    Stream(&'a [u8]),
}

/// New bytes for a range of the text.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// Where, counted from the start of the block.
    pub start: usize,
    pub bytes: &'a [u8],
    pub coding: Coding<'a>,
}

impl Replacement<'_> {
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }
}

const GRAIN_BITS: u32 = 12;
const GRAINS: usize = MAX_TEXT >> GRAIN_BITS;

/// Patches, sorted, with a fast answer to “is anything changed here”.
pub(super) struct NewText<'a> {
    patches: &'a [Replacement<'a>],
    /// 1 for every 4 KiB of text that a patch touches.
    touched: Box<[u8; GRAINS]>,
}

impl<'a> NewText<'a> {
    /// Errors unless the patches are sorted, apart from each other and within `len` bytes.
    pub fn new(patches: &'a [Replacement<'a>], len: usize) -> Result<Self> {
        let mut touched = Box::new([0; GRAINS]);
        let mut end = 0;
        for patch in patches {
            let fits = |stop: &usize| patch.start >= end && *stop <= len && *stop <= MAX_TEXT;
            let stop = patch.start.checked_add(patch.bytes.len()).filter(fits);
            end = stop.ok_or_else(|| {
                Error::failed(format!(
                    "a patch of {} bytes at {} does not fit into a block of {len}",
                    patch.bytes.len(),
                    patch.start
                ))
            })?;
            if !patch.bytes.is_empty() {
                for grain in patch.start >> GRAIN_BITS..=(end - 1) >> GRAIN_BITS {
                    touched[grain & (GRAINS - 1)] = 1;
                }
            }
        }
        Ok(Self { patches, touched })
    }

    /// Whether a patch may touch `len` bytes (1 to 4096) at `start`.
    #[inline(always)]
    pub fn may_touch(&self, start: usize, len: usize) -> bool {
        let first = start >> GRAIN_BITS;
        let last = start.wrapping_add(len).wrapping_sub(1) >> GRAIN_BITS;
        self.touched[first & (GRAINS - 1)] | self.touched[last & (GRAINS - 1)] != 0
    }

    /// Whether a patch touches `range`.
    pub fn touches(&self, range: Range<usize>) -> bool {
        let index = self
            .patches
            .partition_point(|p| p.range().end <= range.start);
        let behind = self.patches.iter().skip(index);
        behind
            .take_while(|patch| patch.start < range.end)
            .any(|patch| !patch.bytes.is_empty())
    }

    /// The byte of the new text at `position`, which must be decoded (in `text`) or patched.
    pub fn byte(&self, text: &[u8], position: usize) -> u8 {
        if self.may_touch(position, 1)
            && let Some(patch) = self.covering(position)
            && let Some(&byte) = patch.bytes.get(position - patch.start)
        {
            return byte;
        }
        text.get(position).copied().unwrap_or_default()
    }

    /// The new text from `position` on, as far as it lies in one piece.
    pub fn stretch<'t>(&'t self, text: &'t [u8], position: usize) -> &'t [u8] {
        let index = self.patches.partition_point(|p| p.range().end <= position);
        match self.patches.get(index) {
            Some(patch) if patch.start <= position => patch.bytes.get(position - patch.start..),
            Some(patch) => text.get(position..patch.start.min(text.len())),
            None => text.get(position..),
        }
        .unwrap_or_default()
    }

    /// How many bytes, up to `max`, are the same at `position` and `back` bytes before it.
    pub fn equal(&self, text: &[u8], position: usize, back: usize, max: usize) -> usize {
        let Some(source) = position.checked_sub(back) else {
            return 0;
        };
        let mut len = 0;
        while len < max {
            let a = self.stretch(text, position + len);
            let b = self.stretch(text, source + len);
            let n = a.len().min(b.len()).min(max - len);
            let same = common(&a[..n], &b[..n]);
            len += same;
            if same < n || n == 0 {
                break;
            }
        }
        len
    }

    /// The patch that changes `position`.
    pub fn covering(&self, position: usize) -> Option<&'a Replacement<'a>> {
        let index = self.patches.partition_point(|p| p.range().end <= position);
        self.patches.get(index).filter(|p| p.start <= position)
    }

    /// Copies the new text of `range` to the end of `out`.
    pub fn copy(&self, text: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
        let first = self
            .patches
            .partition_point(|p| p.range().end <= range.start);
        let mut at = range.start;
        for patch in self.patches.iter().skip(first) {
            if patch.start >= range.end {
                break;
            }
            let own = patch.range();
            out.extend(text.get(at..own.start.max(at)).unwrap_or_default());
            let within = own.start.max(at)..own.end.min(range.end);
            let part = within.start - own.start..within.end - own.start;
            out.extend(patch.bytes.get(part).unwrap_or_default());
            at = within.end;
        }
        out.extend(text.get(at..range.end).unwrap_or_default());
    }
}

/// How many bytes at the start of both are the same.
fn common(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 8;
    let (words, _) = a.as_chunks::<WORD>();
    let (others, _) = b.as_chunks::<WORD>();
    let same = words.iter().zip(others).take_while(|(a, b)| a == b).count() * WORD;
    let rest = a.iter().zip(b).skip(same);
    same + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(start: usize, bytes: &[u8]) -> Replacement<'_> {
        Replacement {
            start,
            bytes,
            coding: Coding::Edit,
        }
    }

    #[test]
    fn patches_lie_on_top() {
        let text: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let patches = [
            patch(0, b"abc"),
            patch(5, b""),
            patch(4095, b"xy"),
            patch(4097, b"z"),
        ];
        let overlay = NewText::new(&patches, text.len()).unwrap();
        let mut expected = text.clone();
        for patch in &patches {
            expected[patch.range()].copy_from_slice(patch.bytes);
        }
        let got: Vec<u8> = (0..text.len()).map(|i| overlay.byte(&text, i)).collect();
        assert!(got == expected);
        for range in [0..10_000, 1..2, 2..4096, 4096..4098, 9000..9000] {
            let mut out = Vec::new();
            overlay.copy(&text, range.clone(), &mut out);
            assert!(out == expected[range.clone()], "{range:?}");
        }
        assert!(overlay.may_touch(8191, 1) && !overlay.may_touch(8192, 273));
        assert_eq!(overlay.equal(&text, 9000, 256, 50), 50);
        assert_eq!(overlay.equal(&text, 256, 256, 50), 0);
        assert_eq!(overlay.equal(&text, 1, 2, 50), 0);
    }

    #[test]
    fn patches_must_fit() {
        for patches in [
            [patch(5, b"abc"), patch(7, b"a")],
            [patch(0, b"a"), patch(9, b"ab")],
            [patch(0, b"a"), patch(usize::MAX, b"ab")],
        ] {
            assert!(NewText::new(&patches, 10).is_err());
        }
    }
}
