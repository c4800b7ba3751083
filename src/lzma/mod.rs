//! LZMA2 without compressing: a stream is decoded to its symbols, and the same symbols are encoded
//! again around the bytes that changed.
//!
//! Compressing is slow because an encoder searches for matches. Where a few pages of a block of
//! 24 MiB change, the matches that were found before are still good almost everywhere. So
//! [`transcode`] keeps them: it shortens or drops those that read or write what changed, and leaves
//! it to the range coder, which is fast, to write the rest again. See `docs/xz-splicing.md`.
//!
//! | file | holds |
//! |---|---|
//! | `chunk` | the chunks of an LZMA2 stream |
//! | `range` | the range coder, both ways |
//! | `model` | probabilities, state, repeated distances, properties |
//! | `decode`, `encode` | one symbol |
//! | `writer` | symbols to chunks |
//! | `overlay` | the new text: what was decoded, with patches on top |
//! | `finder` | matches for new text |
//! | `transcode` | what becomes of every symbol |

mod chunk;
mod decode;
mod encode;
mod finder;
mod model;
mod overlay;
mod range;
mod transcode;
mod writer;

pub use overlay::{Coding, Patch};
pub use transcode::{Block, Transcoded, transcode};
pub use writer::zeros;

use crate::error::Error;

/// Content of a block, uncompressed, at most.
pub const MAX_TEXT: usize = 64 << 20;

fn damaged(what: &str) -> Error {
    Error::failed(format!("the compressed data is damaged: {what}"))
        .with_hint("download the image again; the copy at hand is not complete")
}
