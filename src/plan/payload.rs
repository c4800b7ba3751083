//! Files that the build fetches.

use crate::kubernetes::ManifestEdits;
use crate::lock::PayloadRequest;

/// What of an archive goes into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unpack {
    /// Everything, as the archive has it.
    Tree,
    /// Files side by side, with this mode (octal 07777).
    Files(u32),
}

/// A file that is fetched at build time, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRef {
    pub request: PayloadRequest,
    /// One file of an archive, or with a `*` in its last part all files of a folder that fit.
    pub member: Option<String>,
    /// Texts of that one file and what each becomes.
    pub replace: Vec<(String, String)>,
    /// Not a file but a folder is made.
    pub unpack: Option<Unpack>,
    /// Leading folders of the archive that are left out of all paths.
    pub strip: usize,
    /// Machine that an ELF file must be for, as `file` calls it.
    pub elf: Option<String>,
    /// What is changed of the Kubernetes objects in the file.
    pub manifest: Option<ManifestEdits>,
}

impl PayloadRef {
    /// A file as it is.
    pub fn file(request: PayloadRequest) -> Self {
        Self {
            request,
            member: None,
            replace: Vec::new(),
            unpack: None,
            strip: 0,
            elf: None,
            manifest: None,
        }
    }
}
