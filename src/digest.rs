//! SHA-256 digests, of bytes and of files, and as text.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// Bytes read at a time.
const CHUNK: usize = 128 << 10;

/// A SHA-256 digest. As text it is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest `text` is, in either case and with blanks around it.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text.trim()).map(Self)
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
        Self(hasher.finalize().into())
    }

    /// The digest of `bytes`.
    pub fn of_bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::of(Sha256::new_with_prefix(bytes))
    }

    /// The digest of the file at `path`.
    pub fn of_file(path: &Path, job: &Job) -> Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        let mut file = File::open(path).context(failed)?;
        let len = file.metadata().context(failed)?.len();
        let label = format!("checking {}", name_of(path));
        let mut task = job.progress.begin(&label, Some(len));
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
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a sha256"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `N` bytes that hexadecimal digits, in either case, stand for.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// The last component of `path`, for messages.
pub fn name_of(path: &Path) -> String {
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
    fn digests_are_hex_of_the_right_length() {
        let upper = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(Digest::parse(upper), Some(Digest::of_bytes(b"")));
        assert_eq!(Digest::of_bytes(b"").to_string(), upper.to_lowercase());
        assert_eq!(Digest::parse(&upper[1..]), None);
        assert_eq!(Digest::parse(&"é".repeat(32)), None);
        let error = Digest::given("abc", "base.img").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("base.img") && error.to_string().contains("`abc`"));
    }

    #[test]
    fn records_hold_them_as_text() {
        let digest = Digest::of_bytes(b"a");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
    }
}
