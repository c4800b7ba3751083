//! Images that were built before, and bases, as disks.

use std::path::Path;
use std::sync::Arc;

use super::bases::{self, Demand};
use super::budget::DEFAULT_MEMORY;
use crate::disk::{CowDisk, RawFile, partition_table};
use crate::error::Result;
use crate::job::Job;
use crate::source::{BaseRequest, FetchOptions, Store};

/// A base or an image that was built, as a disk without a change.
pub fn open_image(path: &Path, fetch: &FetchOptions, job: &Job) -> Result<Arc<CowDisk>> {
    let raw = RawFile::open(path)?;
    // What has a partition table is no archive; anything else may be one.
    if partition_table::read(&raw).is_ok() {
        return Ok(Arc::new(CowDisk::new(Arc::new(raw))));
    }
    let store = Store::new(fetch.clone(), job.clone())?;
    let base = bases::find(
        &BaseRequest::file(path),
        &Demand::of_edits(),
        DEFAULT_MEMORY,
        &store,
    )?;
    Ok(Arc::new(CowDisk::new(base.disk)))
}
