//! Small files that are there as a whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::path::Path;

use crate::positioned::PermissionsExt;

/// Writes `bytes` beside `path`, syncs them, and gives them that name. What everybody may do with the
/// file is up to the umask.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
