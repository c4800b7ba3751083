//! What files are checked against: SHA-256, or SHA-1 where nothing better is published.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, from_hex, hex};

/// Bytes read or written at a time.
pub(super) const CHUNK: usize = 128 << 10;

/// A SHA-1 digest: 40 lower-case hex digits. Files are checked against it; nothing is kept under it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Sha1Digest([u8; 20]);

impl fmt::Display for Sha1Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Sha1Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Sha1Digest {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let bytes = from_hex(&text);
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a SHA-1"))
    }
}

impl From<Sha1Digest> for String {
    fn from(digest: Sha1Digest) -> Self {
        digest.to_string()
    }
}

/// What a file is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(Digest),
    Sha1(Sha1Digest),
    /// Nothing is known of the file; the digest is that of its URL.
    Unknown(Digest),
}

impl Checksum {
    /// The digest `text` is, told by its length.
    pub fn parse(text: &str) -> Option<Self> {
        let sha1 = || from_hex(text.trim()).map(|bytes| Self::Sha1(Sha1Digest(bytes)));
        Digest::parse(text).map(Self::Sha256).or_else(sha1)
    }

    /// What the algorithm is called.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) | Self::Unknown(_) => "sha256",
            Self::Sha1(_) => "SHA-1",
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha1(digest) => digest.fmt(f),
            Self::Unknown(url) => write!(f, "url-{url}"),
        }
    }
}

/// Hashes a file for the cache, and for the checksum that it is checked against.
#[derive(Debug)]
pub(super) struct Hasher {
    sha256: Sha256,
    sha1: Option<Sha1>,
}

impl Hasher {
    /// A hasher of what should come to `expected`.
    pub fn new(expected: &Checksum) -> Self {
        Self {
            sha256: Sha256::new(),
            sha1: matches!(expected, Checksum::Sha1(_)).then(Sha1::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
    }

    pub fn reset(&mut self) {
        self.sha256.reset();
        if let Some(sha1) = &mut self.sha1 {
            sha1.reset();
        }
    }

    /// What it has come to so far.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.sha256.clone())
    }

    /// Whether it has come to what was `expected`.
    pub fn meets(&self, expected: &Checksum) -> bool {
        matches!(expected, Checksum::Unknown(_)) || self.checksum() == *expected
    }

    /// The same, by the algorithm of the expected checksum.
    pub fn checksum(&self) -> Checksum {
        match &self.sha1 {
            Some(sha1) => Checksum::Sha1(Sha1Digest(sha1.clone().finalize().into())),
            None => Checksum::Sha256(self.sha256()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_told_by_its_length_and_found_by_its_algorithm() {
        for empty in [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709\n",
        ] {
            let expected = Checksum::parse(empty).unwrap();
            let mut hasher = Hasher::new(&expected);
            assert_eq!(hasher.checksum(), expected);
            hasher.update(b"a");
            assert_ne!(hasher.checksum(), expected);
            assert_eq!(hasher.sha256(), Digest::of_bytes(b"a"));
            hasher.reset();
            assert_eq!(hasher.checksum(), expected);
        }
        assert_eq!(Checksum::parse(&"a".repeat(41)), None);
        assert_eq!(Checksum::parse(&"g".repeat(40)), None);
    }
}
