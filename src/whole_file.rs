//! Small files that are there as a whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::positioned::PermissionsExt;

/// Writes `bytes` beside `path`, syncs them, and gives them that name. What everybody may do with the
/// file is up to the umask.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The same for a file that only its owner may read (mode 0600 from its first byte on). It is called
/// `.NAME.….part` until it is whole, and is sure to be on the disk in the end. With `new` a file that is
/// there already is an error.
pub fn write_private(path: &Path, bytes: &[u8], new: bool) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file: NamedTempFile = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(PART)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if new {
        file.persist_noclobber(path)?;
    } else {
        file.persist(path)?;
    }
    match File::open(folder(path)).and_then(|folder| folder.sync_all()) {
        // Some file systems cannot do it for folders.
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Err(e),
        _ => Ok(()),
    }
}

/// What the hidden files of [`write_private`] end with.
pub const PART: &str = ".part";

/// The folder that `path` is in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
