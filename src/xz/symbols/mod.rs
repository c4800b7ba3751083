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
//! | `new_text` | the new text: what was decoded, with replacements on top |
//! | `finder` | matches for new text |
//! | `transcode` | what becomes of every symbol |

mod chunk;
mod decode;
mod encode;
mod finder;
mod limits;
mod model;
mod new_text;
mod range;
mod transcode;
mod writer;

pub use limits::MAX_TEXT;
pub use new_text::{Coding, Replacement};
pub use transcode::{Block, Transcoded, transcode};
pub use writer::zeros;
