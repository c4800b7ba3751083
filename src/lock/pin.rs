//! A request, answered once and for all.

use super::request::Location;
use crate::digest::Digest;

/// Why a file is believed to be the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Its sha256 was given.
    Given,
    /// Its sha256 is in the Imager index.
    Index,
    /// Its sha256 is in a checksum file published with it.
    PublishedSums,
    /// Only its SHA-1 is, in a checksum file read over a safe connection.
    PublishedSha1,
    /// It is the user's own file.
    Local,
}

/// What a request means: one file, by its digest. Fetching it brings that file or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What was asked for, as messages name it.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    pub location: Location,
    /// Bytes, when that is known before it is fetched.
    pub size: Option<u64>,
    pub sha256: Digest,
    pub verified: Verified,
    /// When that was found, in seconds since 1970.
    pub resolved: i64,
    /// What is known of the image in it, if it holds one.
    pub image: ImageFacts,
}

/// What an image must come to once it is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// Bytes.
    pub len: Option<u64>,
    pub sha256: Option<Digest>,
}
