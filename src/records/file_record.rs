//! What records say of one path of an image.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What is at a path after the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// `boot` or `root`.
    pub on: Partition,
    /// From the root of its file system.
    pub path: String,
    pub kind: Kind,
    /// Permission bits in octal; not on the boot partition, which has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Of the content of a file; not of one with a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its content is not told: it has a secret in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
}

/// A partition of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partition {
    Boot,
    Root,
}

/// What can be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Folder,
    Link,
    /// A device, a pipe or a socket.
    Other,
    /// Nothing: it was removed.
    Absent,
}

fn is_false(value: &bool) -> bool {
    !value
}
