//! Images that were built before, and bases, as disks.

use std::path::Path;
use std::sync::Arc;

use super::bases::{Base, Demand};
use super::budget::{self, DEFAULT_MEMORY};
use crate::disk::{CowDisk, ReadAt};
use crate::error::Result;
use crate::image::open_in_place;
use crate::job::Job;
use crate::source::{BaseRequest, BaseResolver, FetchOptions, Store};

/// A base or an image that was built, as a disk without a change. Only what has to be unpacked goes
/// through the cache.
pub fn open_image(path: &Path, fetch: &FetchOptions, job: &Job) -> Result<Arc<CowDisk>> {
    Ok(Arc::new(CowDisk::new(open_disk(path, fetch, job)?)))
}

/// The same, as it is.
pub fn open_disk(path: &Path, fetch: &FetchOptions, job: &Job) -> Result<Arc<dyn ReadAt>> {
    if let Some(disk) = open_in_place(path, budget::image_options(DEFAULT_MEMORY))? {
        return Ok(disk);
    }
    let store = Store::new(fetch.clone(), job.clone())?;
    let pin = BaseResolver::new(&store).resolve(&BaseRequest::file(path), None)?;
    let file = store.fetch(&pin)?;
    let base = Base::open(&pin, file, &Demand::of_edits(), DEFAULT_MEMORY, &store)?;
    Ok(base.disk)
}
