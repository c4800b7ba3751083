//! The cache folder: where things are in it, and how they get there safely.
//!
//! ```text
//! sha256/<aa>/<digest>      downloads, whole and verified
//! partial/<checksum>.part   downloads under way, with what is needed to resume in .part.json
//! raw/<digest>.img          bases, decompressed; <digest> is that of the compressed file. Made only
//!                           when a build reads a base more than once from end to end (see `assemble`)
//!                           or cannot read it in parts; may be removed at any time
//! raw/<digest>.json         their lengths and digests, which stay true when they are gone
//! blocks/<digest>           what builds have read of the base with this digest, so that later ones
//!                           need not unpack it there again (see `xz::known_pages`)
//! pages/<digest>.json       the index and checksum files as last seen; <digest> is that of the URL
//! pins/<digest>.json        what was downloaded by its SHA-1; <digest> is that of the URL
//! local/<digest>.json       digests of the user's own files, by path, size and times
//! whole/<digest>.json       names of packed bases of the user's own whose blocks were all verified;
//!                           <digest> is that of the packed file
//! names/<digest>.json       what a download was called, for people
//! locks/                    one lock file per object
//! ```
//! What has a final name is whole: files are written beside it, synced and renamed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checksum::Checksum;
use crate::digest::Digest;
use crate::disk_space::free_space;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::size::human;
use crate::url::Url;
use crate::whole_file;

const FOLDERS: [&str; 10] = [
    "sha256", "partial", "raw", "blocks", "pages", "pins", "local", "whole", "names", "locks",
];
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The cache folder.
pub(super) struct Cache {
    root: PathBuf,
}

/// A lock on one object; other builds wait for it. Released when dropped.
pub(super) struct Lock {
    _file: File,
}

impl Cache {
    /// The cache in `root`, made when it is not there.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in FOLDERS {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|error| {
                Error::failed(format!("cannot make the cache folder {}", path.display()))
                    .with_source(error)
                    .with_hint("set IMGBUILD_CACHE to a folder you may write to")
            })?;
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// A verified download.
    pub fn object(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let folder: String = name.chars().take(2).collect();
        self.root.join("sha256").join(folder).join(name)
    }

    /// What the download with this digest was called.
    pub fn name(&self, digest: &Digest) -> PathBuf {
        self.root.join("names").join(format!("{digest}.json"))
    }

    /// A download under way.
    pub fn partial(&self, checksum: &Checksum) -> PathBuf {
        self.root.join("partial").join(format!("{checksum}.part"))
    }

    /// The decompressed image of the file with this digest.
    pub fn raw(&self, source: &Digest) -> PathBuf {
        self.raw_folder().join(format!("{source}.img"))
    }

    /// The folder of the decompressed images.
    pub fn raw_folder(&self) -> PathBuf {
        self.root.join("raw")
    }

    /// What builds have read of the packed base with this digest.
    pub fn known_pages(&self, source: &Digest) -> PathBuf {
        self.root.join("blocks").join(source.to_string())
    }

    /// The last seen content of `url`.
    pub fn page(&self, url: &Url) -> PathBuf {
        self.keyed("pages", url.as_str())
    }

    /// What the file at `url` was found to be.
    pub fn pin(&self, url: &Url) -> PathBuf {
        self.keyed("pins", url.as_str())
    }

    /// The digest of a local file, whose identity is `key`.
    pub fn local(&self, key: &str) -> PathBuf {
        self.keyed("local", key)
    }

    /// That all of the packed file with this digest was verified.
    pub fn whole(&self, source: &Digest) -> PathBuf {
        self.root.join("whole").join(format!("{source}.json"))
    }

    fn keyed(&self, folder: &str, key: &str) -> PathBuf {
        let name = format!("{}.json", Digest::of_bytes(key.as_bytes()));
        self.root.join(folder).join(name)
    }

    /// Waits for the lock called `name`; `what` says to the user what another build is doing.
    pub fn lock(&self, name: &str, what: &str, job: &Job) -> Result<Lock> {
        let path = self.root.join("locks").join(format!("{name}.lock"));
        let failed = || format!("cannot lock {}", path.display());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context(failed)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(Error::failed(failed()).with_source(error).with_hint(
                        "some network file systems have no locks: set IMGBUILD_CACHE to a local folder",
                    ));
                }
            }
            job.cancel.check()?;
            if !told {
                job.progress
                    .note(&format!("waiting for another build that is {what}"));
                told = true;
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

/// Notes that the file at `path` is of use. A cache that cannot be written to does not know it.
pub(super) fn touch(path: &Path) {
    let now = std::time::SystemTime::now();
    let _ = File::open(path).and_then(|file| file.set_modified(now));
}

/// Syncs `temporary` to the disk and gives it its final name.
pub(super) fn place(file: &File, temporary: &Path, target: &Path) -> Result<()> {
    let failed = || format!("cannot put {} in its place", target.display());
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).context(failed)?;
    file.sync_all().context(failed)?;
    fs::rename(temporary, target).context(failed)?;
    sync_folder(folder).context(failed)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes a small JSON file atomically.
pub(super) fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    write_whole(path, &serde_json::to_vec_pretty(record).context(failed)?)
}

/// Writes a small file atomically.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    whole_file::write(path, bytes).map_err(|error| write_failed(error, path, bytes.len() as u64))
}

/// Reads what [`write_record`] wrote; `None` when it is missing or not understood, so that it is
/// made again.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Says why writing to `path` failed after `done` bytes; a full disk gets its own message.
pub(super) fn write_failed(error: io::Error, path: &Path, done: u64) -> Error {
    let folder = path.parent().unwrap_or(Path::new("."));
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    if !full {
        return Error::failed(format!("cannot write {}", path.display())).with_source(error);
    }
    let free = free_space(folder).map_or_else(|| "?".to_owned(), human);
    Error::failed(format!(
        "the disk of {} is full: {} were written there and {free} are free",
        folder.display(),
        human(done)
    ))
    .with_source(error)
    .with_hint(SPACE_HINT)
}

/// What to do about a full disk.
pub(super) const SPACE_HINT: &str =
    "free some space, or set IMGBUILD_CACHE to a folder on a larger disk";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_where_and_how_much() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.img");
        let error = write_failed(io::ErrorKind::StorageFull.into(), &path, 5 << 20);
        let message = error.to_string();
        assert!(
            message.contains(&folder.path().display().to_string()),
            "{message}"
        );
        assert!(message.contains("5.0 MiB were written"), "{message}");
        assert!(error.hint().unwrap().contains("IMGBUILD_CACHE"));
    }

    #[test]
    fn a_damaged_record_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write_record(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_record(&path), Some(vec![1, 2]));
        fs::write(&path, "[1, 2").unwrap();
        assert_eq!(read_record::<Vec<u32>>(&path), None);
    }

    #[test]
    fn waiting_for_a_lock_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let job = Job::silent();
        let _held = cache.lock("x", "busy", &job).unwrap();
        job.cancel.cancel();
        let error = cache.lock("x", "busy", &job).err().unwrap();
        assert_eq!(error.kind(), crate::error::ErrorKind::Interrupted);
    }
}
