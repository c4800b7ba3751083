//! Why a file is believed to be the right one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One reason to believe that a file is the right one. As text it is what `imgbuild.lock` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Verified {
    /// A key with this fingerprint signed it, or the list that its sha256 is in.
    OpenPgp(String),
    /// Its sha256 was given.
    Given,
    /// Its sha256 is in the Imager index.
    Index,
    /// Its sha256 is in a checksum file published with it.
    PublishedSums,
    /// Only its SHA-1 is, in a checksum file read over a safe connection.
    PublishedSha1,
    /// Nothing is published: it is what the first download brought.
    FirstUse,
    /// It is the user's own file.
    Local,
}

const WORDS: [(&str, Verified); 6] = [
    ("given", Verified::Given),
    ("index", Verified::Index),
    ("sums", Verified::PublishedSums),
    ("sums-sha1", Verified::PublishedSha1),
    ("first-use", Verified::FirstUse),
    ("local", Verified::Local),
];
const OPENPGP: &str = "openpgp:";

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::OpenPgp(fingerprint) = self {
            return write!(f, "{OPENPGP}{fingerprint}");
        }
        let word = WORDS.iter().find(|(_, verified)| verified == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl TryFrom<String> for Verified {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(fingerprint) = text.strip_prefix(OPENPGP) {
            return Ok(Self::OpenPgp(fingerprint.to_owned()));
        }
        let known = WORDS.iter().find(|(word, _)| *word == text);
        known
            .map(|(_, verified)| verified.clone())
            .ok_or_else(|| format!("`{text}` is no way to verify a file"))
    }
}

impl From<Verified> for String {
    fn from(verified: Verified) -> Self {
        verified.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_as_it_is_written() {
        let signed = Verified::OpenPgp("F4AA".into());
        let all = WORDS.iter().map(|(_, verified)| verified.clone());
        for verified in all.chain([signed]) {
            assert_eq!(Verified::try_from(verified.to_string()), Ok(verified));
        }
        assert!(Verified::try_from("trust me".to_owned()).is_err());
    }
}
