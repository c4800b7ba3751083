//! What is known of one image.

use std::collections::BTreeMap;

use super::file_record::FileRecord;
use crate::digest::Digest;
use crate::lock::{ArchiveEntry, Location, Moment, PackageEntry, Pin, Verified};

/// What is known of one image, whatever its formats.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the profile.
    pub profile: String,
    /// The time of its files, which is that of the inputs.
    pub created: Moment,
    /// The files that were written.
    pub outputs: Vec<OutputFile>,
    /// Bytes of the image itself.
    pub size: u64,
    /// Of the image itself.
    pub raw_sha256: Option<Digest>,
    pub base: SourceFile,
    /// Code name of the base's Debian, such as `trixie`.
    pub suite: Option<String>,
    /// What the base has installed.
    pub installed: Vec<BasePackage>,
    /// Files that were fetched.
    pub payloads: Vec<SourceFile>,
    /// Packages for the first boot to install.
    pub packages: Vec<PackageEntry>,
    /// The archives that they are from.
    pub archives: Vec<ArchiveEntry>,
    /// Of `imgbuild.lock`, if there is one.
    pub lock_file: Option<Digest>,
    /// Options of the build that have to do with the bytes of its files.
    pub options: BTreeMap<String, Vec<String>>,
    /// What was made, changed or removed in the image.
    pub files: Vec<FileRecord>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `None` when it was not computed.
    pub sha256: Option<Digest>,
}

/// A file that the image was made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    pub name: String,
    /// Where it is from; `None` for a file of the computer that built the image.
    pub url: Option<String>,
    pub sha256: Digest,
    /// Bytes, when they are known.
    pub size: Option<u64>,
    /// What spoke for it, as the lock file says it.
    pub verified: Vec<String>,
}

impl SourceFile {
    /// What `pin` stands for. Credentials in its URL, and a path of this computer, are left out.
    pub fn of(pin: &Pin) -> Self {
        Self {
            name: pin.name.clone(),
            url: match &pin.location {
                Location::Url(url) => Some(url.public()),
                Location::File(_) => None,
            },
            sha256: pin.sha256,
            size: pin.size,
            verified: pin.verified.iter().map(Verified::to_string).collect(),
        }
    }
}

/// A package that is installed in the base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BasePackage {
    pub name: String,
    pub version: String,
    pub architecture: String,
}
