//! Writing outputs: raw images, `.img.xz`, `.img.zst` and `.img.gz` images, block maps and checksum
//! files.
//!
//! Everything is written to a hidden file in the folder of the output and renamed when it is
//! complete and on disk, so that nothing incomplete is ever under a final name.

mod base_copy;
mod bmap;
mod changes;
mod checksums;
mod chunked;
mod encode;
mod gz;
mod img;
mod output;
mod recode;
mod xz;
mod zst;

use std::fmt;
use std::path::PathBuf;

pub use base_copy::can_clone;
pub use bmap::write_bmap;
pub use changes::ChangedBlocks;
pub use checksums::{CHECKSUMS, write_checksums};
pub use chunked::PackOptions;
pub use gz::write_gz;
pub use img::{ImgOptions, raw_digest, write_img, write_img_with};
pub use output::prepare_folder;
pub use xz::{XZ_ENCODER, XzOptions, XzSplice, write_xz};
pub use zst::write_zst;

/// Reads and writes go through buffers of this many bytes. Larger ones cost more, not less
/// (measured: 1 MiB takes 3 to 5 times the system time of 128 KiB).
const BUFFER: usize = 128 * 1024;

/// What an image is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// The raw image, sparse.
    Img,
    /// The image packed with xz.
    #[default]
    ImgXz,
    /// The image packed with zstd.
    ImgZst,
    /// The image packed with gzip.
    ImgGz,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Img, Self::ImgXz, Self::ImgZst, Self::ImgGz];

    /// The end of the file name, without a dot before it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Img => "img",
            Self::ImgXz => "img.xz",
            Self::ImgZst => "img.zst",
            Self::ImgGz => "img.gz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// How hard the packed formats are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    pub xz: XzOptions,
    /// 1 to 22.
    pub zstd_level: i32,
    /// 1 to 9.
    pub gzip_level: i32,
}

impl Packing {
    /// Quick.
    pub fn fast() -> Self {
        Self {
            xz: XzOptions::default(),
            zstd_level: 3,
            gzip_level: 3,
        }
    }

    /// Small.
    pub fn best() -> Self {
        Self {
            xz: XzOptions::best(),
            zstd_level: 19,
            gzip_level: 9,
        }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file, lower-case hexadecimal; `None` when it was not asked for.
    pub sha256: Option<String>,
    /// SHA-256 of the uncompressed image; `None` when it was not asked for, or would take another
    /// pass over all of it ([`raw_digest`]).
    pub raw_sha256: Option<String>,
}

/// Lower-case hexadecimal.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
