//! Files that the build fetches.

/// A file that is fetched at build time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRef {
    pub name: String,
    pub location: PayloadLocation,
    pub sha256: Option<String>,
    /// URL of published checksums.
    pub sums: Option<String>,
    /// One file of an archive.
    pub member: Option<String>,
    /// The whole archive, into a folder.
    pub unpack: bool,
    /// Leading folders dropped while unpacking.
    pub strip: usize,
    /// Machine that an ELF file must be for, as `file` calls it.
    pub elf: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadLocation {
    Url(String),
    File(std::path::PathBuf),
}
