//! Images that are read where they lie: nothing is unpacked, and no folder is made.

use std::path::Path;
use std::sync::Arc;

use crate::disk::{RawFile, ReadAt, partition_table};
use crate::error::Result;
use crate::xz::{XzFile, XzImage, XzImageOptions};

/// The image at `path`, raw or an `.img.xz` whose blocks can be used one by one. `None` when it is
/// neither: it may be one once it was unpacked. `options` are for the blocks.
pub fn open_in_place(path: &Path, options: XzImageOptions) -> Result<Option<Arc<dyn ReadAt>>> {
    let raw = RawFile::open(path)?;
    // What has a partition table is no archive; anything else may be one.
    if partition_table::read(&raw).is_ok() {
        return Ok(Some(Arc::new(raw)));
    }
    let packed = XzFile::of(raw)?;
    Ok(packed.map(|file| Arc::new(XzImage::new(Arc::new(file), options)) as Arc<dyn ReadAt>))
}
