//! `.img.xz` images.

use std::path::Path;

use super::hashed_file::HashedFile;
use super::options::{Emitted, WriteOptions};
use super::output::{Output, Readers};
use crate::disk::{CowDisk, ReadAt};
use crate::error::Result;
use crate::job::{Job, Task};
use crate::xz::{Sink, Splice, SplicedFile};

/// Writes `disk` to `path` as `.xz`, with blocks of `base` where nothing changed.
pub(super) fn write(
    disk: &CowDisk,
    base: Option<&Splice>,
    path: &Path,
    options: &WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    let file = SplicedFile::plan(disk, base, options.packing.xz)?;
    let output = Output::create(path, Readers::of(options.private))?;
    output.check_space(file.expected_size()?, job)?;
    let mut target = Target {
        file: HashedFile::new(&output, job),
        task: job.progress.begin(label, Some(disk.len())),
    };
    file.write(options.threads, &job.cancel, &mut target)?;
    let (size, sha256) = target.file.finish();
    drop(target.task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        sha256: Some(sha256),
        raw_sha256: None,
    })
}

struct Target<'a> {
    file: HashedFile<'a>,
    task: Box<dyn Task>,
}

impl Sink for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)
    }

    fn done(&mut self, bytes: u64) {
        self.task.advance(bytes);
    }
}
