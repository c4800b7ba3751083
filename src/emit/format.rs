//! The formats of images, and how hard they are packed.

use std::fmt;

use crate::xz::XzOptions;

/// What the checksum file of an output folder is called.
pub const CHECKSUMS: &str = "SHA256SUMS";

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
