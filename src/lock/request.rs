//! What a plan asks for.

use std::fmt;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::Result;
use crate::url::Url;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    Url(Url),
    /// A file of this computer.
    File(PathBuf),
}

impl Location {
    /// What `text` means: a URL, or else a path, taken as it is.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("://") {
            Url::parse(text).map(Self::Url)
        } else {
            Ok(Self::File(PathBuf::from(text)))
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A file that a role puts into the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRequest {
    /// What it is called in messages.
    pub name: String,
    pub location: Location,
    /// Its digest, when it is known.
    pub sha256: Option<Digest>,
    /// A checksum file that lists it; not read when `sha256` is known. A SHA-1 will do for a download
    /// when the file lists no sha256.
    pub sums: Option<Location>,
    /// Where nothing else is known, the first download is believed and its digest kept.
    pub first_use: bool,
}

impl PayloadRequest {
    /// Its name and what is asked for, as the lock file has them; `None` for a file of this computer.
    pub fn lock_key(&self) -> Option<(String, String)> {
        match &self.location {
            Location::Url(url) => Some((self.name.clone(), url.to_string())),
            Location::File(_) => None,
        }
    }
}
