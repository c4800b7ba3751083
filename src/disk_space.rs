//! How much a file system has room for.

use std::path::Path;

/// Bytes that the user may write on the file system of `path`, where that can be known.
pub fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}
