//! What a stream may be, and what is said of one that is not.

use crate::error::Error;

/// Content of a block, uncompressed, at most.
pub const MAX_TEXT: usize = 64 << 20;

pub fn damaged(what: &str) -> Error {
    Error::failed(format!("the compressed data is damaged: {what}"))
        .with_hint("download the image again; the copy at hand is not complete")
}
