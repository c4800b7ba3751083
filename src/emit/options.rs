//! How images are written, and what comes of it.

use std::path::PathBuf;

use super::format::Packing;
use crate::digest::Digest;

/// How an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    pub packing: Packing,
    /// Whether to compute the SHA-256 of a raw image. That takes longer than a copy, and much longer
    /// than a clone. Packed images always have theirs.
    pub digest: bool,
    /// Threads that read, decode, pack and write at the same time. The bytes written do not depend on
    /// their number.
    pub threads: usize,
    /// The image holds secrets: nobody but its owner may read it.
    pub private: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            packing: Packing::fast(),
            digest: true,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            private: false,
        }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file; `None` when it was not asked for.
    pub sha256: Option<Digest>,
    /// SHA-256 of the uncompressed image; `None` when it was not asked for, or would take another
    /// pass over all of it ([`raw_digest`]).
    pub raw_sha256: Option<Digest>,
}
