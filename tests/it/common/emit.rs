//! Images written as builds write them, and packed files opened as they open them.

use std::path::Path;
use std::sync::Arc;

use imgbuild::disk::CowDisk;
use imgbuild::emit::{self, Emitted, Format, Packing, WriteOptions};
use imgbuild::error::Result;
use imgbuild::job::Job;
use imgbuild::xz::{Splice, XzFile, XzImage, XzImageOptions, XzOptions};

/// As `--compress fast` has it, on `threads` threads.
pub fn fast(threads: usize) -> WriteOptions {
    WriteOptions {
        threads,
        ..WriteOptions::default()
    }
}

/// With these options of xz.
pub fn packed_with(xz: XzOptions, threads: usize) -> WriteOptions {
    let packing = Packing {
        xz,
        ..Packing::fast()
    };
    WriteOptions {
        packing,
        ..fast(threads)
    }
}

pub fn write_img(disk: &CowDisk, path: &Path, job: &Job, label: &str) -> Result<Emitted> {
    write_img_with(disk, path, WriteOptions::default(), job, label)
}

pub fn write_img_with(
    disk: &CowDisk,
    path: &Path,
    options: WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    emit::write(Format::Img, disk, None, path, &options, job, label)
}

pub fn write_xz(
    disk: &CowDisk,
    base: Option<&Splice>,
    path: &Path,
    options: WriteOptions,
    job: &Job,
    label: &str,
) -> Result<Emitted> {
    emit::write(Format::ImgXz, disk, base, path, &options, job, label)
}

/// The image in the `.xz` file at `path`; `None` if it cannot be read by its blocks.
pub fn xz_image(path: &Path, options: XzImageOptions) -> Result<Option<XzImage>> {
    let file = XzFile::open(path)?;
    Ok(file.map(|file| XzImage::new(Arc::new(file), options)))
}

/// The `.xz` file at `path` as one whose blocks are used again.
pub fn open_splice(path: &Path, base_len: u64) -> Result<Option<Splice>> {
    let file = XzFile::open(path)?;
    Ok(file.and_then(|file| Splice::of(&Arc::new(file), base_len)))
}
