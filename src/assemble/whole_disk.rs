//! Disks that all of is read, here and there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{RawFile, ReadAt};
use crate::error::{Result, ResultExt};
use crate::job::Job;
use crate::positioned::FileExt;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// `disk` as a raw image, for whoever reads all of it out of order: every block of a packed one would be
/// decoded again and again. The copy has no name, is nobody else's to read, and is gone with the last
/// reader: there may be secrets in it. `folder` has room for it; `name` is for messages.
pub fn unpacked(
    disk: Arc<dyn ReadAt>,
    name: &str,
    folder: &Path,
    job: &Job,
) -> Result<Arc<dyn ReadAt>> {
    if disk.as_file().is_some() {
        return Ok(disk);
    }
    let failed = || format!("unpacking {name} into {}", folder.display());
    fs::create_dir_all(folder).context(failed)?;
    let file = tempfile::tempfile_in(folder).context(failed)?;
    file.set_len(disk.len()).context(failed)?;
    let mut task = job
        .progress
        .begin(&format!("unpacking {name}"), Some(disk.len()));
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < disk.len() {
        job.cancel.check()?;
        let len = (disk.len() - offset).min(PIECE as u64) as usize;
        let piece = &mut piece[..len];
        disk.read_at(offset, piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, offset).context(failed)?;
        }
        offset += len as u64;
        task.advance(len as u64);
    }
    Ok(Arc::new(RawFile::of(file, Path::new(name))?))
}
