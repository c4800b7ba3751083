//! Files that the build fetches.

use crate::lock::PayloadRequest;

/// A file that is fetched at build time, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRef {
    pub request: PayloadRequest,
    /// One file of an archive.
    pub member: Option<String>,
    /// The whole archive, into a folder.
    pub unpack: bool,
    /// Leading folders dropped while unpacking.
    pub strip: usize,
    /// Machine that an ELF file must be for, as `file` calls it.
    pub elf: Option<String>,
}
