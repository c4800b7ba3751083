//! What the standard library has for Unix only: reads and writes at an offset, modes, inodes, kinds of
//! special files. No other file names `std::os::unix`: whoever brings imgbuild elsewhere begins here.

pub use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
