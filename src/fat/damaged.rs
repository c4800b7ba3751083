//! What is said of a damaged file system.

use crate::error::Error;

/// A damaged file system, and what to do about it.
pub(super) fn damaged(why: impl std::fmt::Display) -> Error {
    Error::failed(format!("the FAT file system is damaged: {why}"))
        .with_hint("download the base image again, or repair it with fsck.vfat")
}
