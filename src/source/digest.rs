//! SHA-256 digests, as text and of files; and SHA-1, for what is published with nothing better.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// Bytes read or written at a time.
pub(super) const CHUNK: usize = 128 << 10;

/// A SHA-256 digest: 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Digest(String);

impl Digest {
    /// The digest `text` is, in either case and with blanks around it.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text, 64).map(Self)
    }

    /// The digest a user or an index gave for `subject`.
    pub fn given(text: &str, subject: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            Error::usage(format!(
                "the sha256 given for {subject} is not one: `{text}`"
            ))
            .with_hint("a sha256 is 64 hexadecimal digits")
        })
    }

    /// What `hasher` has come to.
    pub fn of(hasher: Sha256) -> Self {
        Self(to_hex(&hasher.finalize()))
    }

    /// The digest of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(Sha256::new_with_prefix(bytes))
    }

    /// The digest of the file at `path`.
    pub fn of_file(path: &Path, job: &Job) -> Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        let mut file = File::open(path).context(failed)?;
        let len = file.metadata().context(failed)?.len();
        let mut task = job
            .progress
            .begin(&format!("checking {}", name_of(path)), Some(len));
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            job.cancel.check()?;
            let n = file.read(&mut buffer).context(failed)?;
            if n == 0 {
                return Ok(Self::of(hasher));
            }
            hasher.update(&buffer[..n]);
            task.advance(n as u64);
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a sha256"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-1 digest: 40 lower-case hex digits. Files are checked against it; nothing is kept under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sha1Digest(String);

/// What a file is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(Digest),
    Sha1(Sha1Digest),
}

impl Checksum {
    /// The digest `text` is, told by its length.
    pub fn parse(text: &str) -> Option<Self> {
        let sha1 = || parse_hex(text, 40).map(|hex| Self::Sha1(Sha1Digest(hex)));
        Digest::parse(text).map(Self::Sha256).or_else(sha1)
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(digest) => digest.as_str(),
            Self::Sha1(Sha1Digest(hex)) => hex,
        }
    }

    /// What the algorithm is called.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha1(_) => "SHA-1",
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

    /// The same, by the algorithm of the expected checksum.
    pub fn checksum(&self) -> Checksum {
        match &self.sha1 {
            Some(sha1) => Checksum::Sha1(Sha1Digest(to_hex(&sha1.clone().finalize()))),
            None => Checksum::Sha256(self.sha256()),
        }
    }
}

fn parse_hex(text: &str, digits: usize) -> Option<String> {
    let text = text.trim();
    let is_hex = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| text.to_ascii_lowercase())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last component of `path`, for messages.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn digests_are_lower_case_hex_of_the_right_length() {
        let upper = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(Digest::parse(upper), Some(Digest::of_bytes(b"")));
        assert_eq!(Digest::parse(&upper[1..]), None);
        assert_eq!(Digest::parse(&"é".repeat(32)), None);
        let error = Digest::given("abc", "base.img").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("base.img") && error.to_string().contains("`abc`"));
    }

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
