//! `.xz` files, block by block: read in place, and written again without encoding what did not change.
//! Nothing in here knows what an image is for.
//!
//! | file | holds |
//! |---|---|
//! | `container` | where the blocks are: headers, indexes, footers |
//! | `file` | an `.xz` file, opened once |
//! | `image` | its content as a base, decoded where it is read |
//! | `known_pages` | what is known of blocks that are not in memory |
//! | `symbols` | LZMA2 streams, changed without compressing them again |
//! | `encode` | blocks made by liblzma |
//! | `recode` | blocks that differ from the base's |
//! | `splice` | the file that a disk becomes, of copied and of new blocks |
//!
//! Words, which mean different things here and in `emit`: to *pack* is to make a smaller file of an
//! image, whatever the format. To *encode* is to make an LZMA2 stream of bytes, which is liblzma's work
//! and slow; to *decode* is the way back. To *transcode* is to make a stream of another stream, with the
//! same symbols around the bytes that changed (`symbols`). To *recode* a block is to choose, for each
//! part of it that changed, between transcoding, encoding and storing (`recode`). To *splice* is to put
//! blocks that were recoded between blocks that are copied. “Compressed” is said of what lies in a file,
//! not of work.

mod container;
mod encode;
mod file;
mod image;
mod known_pages;
mod recode;
mod splice;
pub mod symbols;

pub use container::{Check, XzBlock, XzLayout};
pub use file::XzFile;
pub use image::{Block, XzImage, XzImageOptions};
pub use splice::{Sink, Splice, SplicedFile, XZ_ENCODER, XzOptions};
