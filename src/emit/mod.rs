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
mod format;
mod gz;
mod hashed_file;
mod img;
mod options;
mod output;
mod write;
mod xz;
mod zst;

pub use base_copy::can_clone;
pub use bmap::write_bmap;
pub use changes::ChangedBlocks;
pub use checksums::write_checksums;
pub use format::{CHECKSUMS, Format, Packing};
pub use img::raw_digest;
pub use options::{Emitted, WriteOptions};
pub use output::prepare_folder;
pub use write::write;
