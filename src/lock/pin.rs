//! A request, answered once and for all.

use serde::{Deserialize, Serialize};

use super::request::Location;
use super::verified::Verified;
use crate::digest::Digest;
use crate::url::Url;

/// What a request means: one file, by its digest. Fetching it brings that file or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What was asked for, as messages name it.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    pub location: Location,
    /// Where else it is, when it is not there any more.
    pub also: Vec<Url>,
    /// Bytes, when that is known before it is fetched.
    pub size: Option<u64>,
    pub sha256: Digest,
    /// All that speaks for it.
    pub verified: Vec<Verified>,
    /// When that was found, in seconds since 1970.
    pub resolved: i64,
    /// What is known of the image in it, if it holds one.
    pub image: ImageFacts,
}

/// What an image must come to once it is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// Bytes.
    #[serde(rename = "size", skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

impl ImageFacts {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
