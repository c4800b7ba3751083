//! Fingerprints: the full name of an OpenPGP key.

use std::fmt;

use pgp::types::Fingerprint as Parsed;

/// The fingerprint of a key of version 4 (SHA-1 of the key) or 6 (SHA-256). As text it is upper-case
/// hexadecimal without blanks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fingerprint {
    V4([u8; 20]),
    V6([u8; 32]),
}

impl Fingerprint {
    /// A version 4 fingerprint from five words, first word first.
    pub(super) const fn from_words(words: [u32; 5]) -> Self {
        let mut bytes = [0; 20];
        let mut at = 0;
        while at < 20 {
            bytes[at] = words[at / 4].to_be_bytes()[at % 4];
            at += 1;
        }
        Self::V4(bytes)
    }

    /// The fingerprint that `text` is: 40 or 64 hexadecimal digits in either case; blanks between
    /// them do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        match digits.len() {
            40 => from_hex(&digits).map(Self::V4),
            64 => from_hex(&digits).map(Self::V6),
            _ => None,
        }
    }

    /// `None` for keys of versions that are not trusted here (2, 3, 5).
    pub(super) fn from_parsed(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::V4(bytes) => Some(Self::V4(*bytes)),
            Parsed::V6(bytes) => Some(Self::V6(*bytes)),
            _ => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }
}

fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|b| write!(f, "{b:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_in_and_comes_out() {
        let text = "F4AADD86C4687D69AE04543E796C114AD12B2292";
        let spaced = "f4aa dd86 c468 7d69 ae04  543e 796c 114a d12b 2292\n";
        let words = [0xF4AADD86, 0xC4687D69, 0xAE04543E, 0x796C114A, 0xD12B2292];
        for same in [
            Fingerprint::parse(text),
            Fingerprint::parse(spaced),
            Some(Fingerprint::from_words(words)),
        ] {
            assert_eq!(same.unwrap().to_string(), text);
        }
        let long = "0123456789abcdef".repeat(4);
        let long = Fingerprint::parse(&long).unwrap();
        assert!(matches!(long, Fingerprint::V6(_)));
        assert_eq!(long.to_string(), "0123456789ABCDEF".repeat(4));
    }

    #[test]
    fn other_texts_are_none() {
        let (short, no_digit) = ("F4".repeat(19), "G".repeat(40));
        for text in [
            "",
            "D12B2292",
            &short,
            &no_digit,
            "\u{e4}".repeat(20).as_str(),
        ] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }
}
