//! SHA-256 digests, as text and of files.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
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
        let text = text.trim();
        let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_digest.then(|| Self(text.to_ascii_lowercase()))
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
        Self(
            hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The digest of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(Sha256::new_with_prefix(bytes))
    }

    /// The digest of the file at `path`.
    pub fn of_file(path: &Path, job: &Job) -> Result<Self> {
        let failed = || format!("can not read {}", path.display());
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

/// The last component of `path`, for messages.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// `bytes` as a person would say it.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
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
    fn sizes_read_well() {
        assert_eq!(human(999), "999 bytes");
        assert_eq!(human(3_078_619_136), "2.9 GiB");
        assert_eq!(human(1 << 60), "1048576.0 TiB");
    }
}
