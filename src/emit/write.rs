//! The one door: a disk to a file, in any format.

use std::path::Path;

use super::format::Format;
use super::options::{Emitted, WriteOptions};
use super::{gz, img, xz, zst};
use crate::disk::CowDisk;
use crate::error::Result;
use crate::job::Job;
use crate::xz::Splice;

/// Writes `disk` to `path`. With `base`, the packed file that the base of `disk` was read from, an
/// [`ImgXz`](Format::ImgXz) takes its blocks over. Tells `job` how far it is, as `label`.
pub fn write(
    format: Format,
    disk: &CowDisk,
    base: Option<&Splice>,
    path: &Path,
    options: &WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    match format {
        Format::Img => img::write(disk, path, options, job, label),
        Format::ImgXz => xz::write(disk, base, path, options, job, label),
        Format::ImgZst => zst::write(disk, path, options, job, label),
        Format::ImgGz => gz::write(disk, path, options, job, label),
    }
}
