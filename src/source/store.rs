//! Files by their digest: in the cache, or from the network into it.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::cache::{Cache, Lock, read_record, touch, write_record};
use super::checksum::Checksum;
use super::download::{Wanted, Way, download};
use super::http::{Client, Server};
use super::options::FetchOptions;
use crate::clock;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::lock::{LOCK_FILE, Location, Pin, Verified};
use crate::positioned::MetadataExt;
use crate::url::Url;

pub(super) const OFFLINE_HINT: &str = "run the same command once without --offline";

/// The cache and the way to the network. What it fetches is whole and verified; what a request means
/// is found out by those who resolve it.
pub struct Store {
    pub(super) options: FetchOptions,
    pub(super) cache: Cache,
    pub(super) client: Client,
    pub(super) job: Job,
}

impl Store {
    /// A store with its cache, whose folder is made when it is not there.
    pub fn new(options: FetchOptions, job: Job) -> Result<Self> {
        Ok(Self {
            cache: Cache::open(&options.cache_dir)?,
            client: Client::new(job.clone(), options.retry_delay, options.patience),
            options,
            job,
        })
    }

    /// The file that `pin` stands for, downloaded when it is not in the cache. It has the digest of the
    /// pin, or there is an error.
    pub fn fetch(&self, pin: &Pin) -> Result<PathBuf> {
        match &pin.location {
            Location::File(path) => {
                must_be(path, &pin.sha256, &self.local_digest(path, &pin.name)?)?;
                Ok(path.clone())
            }
            Location::Url(url) => {
                let first = self.fetch_from(url, pin);
                let others = pin.also.iter();
                others.fold(first, |fetched, url| match fetched {
                    Err(error) if error.kind() == ErrorKind::Failed => {
                        // What is said is what its own place says.
                        self.fetch_from(url, pin).map_err(|_| error)
                    }
                    fetched => fetched,
                })
            }
        }
    }

    fn fetch_from(&self, url: &Url, pin: &Pin) -> Result<PathBuf> {
        let path = self.cache.object(&pin.sha256);
        let wanted = Wanted {
            url,
            name: &pin.name,
            checksum: &Checksum::Sha256(pin.sha256),
            size: pin.size,
            hint: replaced_hint(pin),
        };
        if path.exists() {
            touch(&path);
            return Ok(path);
        }
        let _lock = self.download_lock(&wanted)?;
        if !path.exists() {
            self.download(&wanted)?;
            write_record(&self.cache.name(&pin.sha256), &pin.name)?;
        }
        Ok(path)
    }

    /// Where it reports to, and what can stop it.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Whether the file with this digest is in the cache, which notes that it is of use.
    pub(super) fn use_cached(&self, digest: &Digest) -> bool {
        let path = self.cache.object(digest);
        let exists = path.exists();
        if exists {
            touch(&path);
        }
        exists
    }

    /// Whether the file with this digest is in the cache.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.cache.object(digest).exists()
    }

    /// Downloads what is locked, and returns the digest it is kept under.
    pub(super) fn download(&self, wanted: &Wanted<'_>) -> Result<Digest> {
        self.download_from(&self.client, wanted)
    }

    /// The same from a server that needs a login.
    pub(super) fn download_from(&self, server: &dyn Server, wanted: &Wanted<'_>) -> Result<Digest> {
        let way = Way {
            client: &self.client,
            server,
            job: &self.job,
        };
        download(&way, &self.cache, wanted)
    }

    /// What a download needs; by the time it is there, another build may have done the work.
    pub(super) fn download_lock(&self, wanted: &Wanted<'_>) -> Result<Lock> {
        if self.options.offline {
            return Err(self.not_cached(&format!("{} ({})", wanted.name, wanted.url)));
        }
        let what = format!("downloading {}", wanted.name);
        let name = wanted.checksum.to_string();
        self.cache.lock(&name, &what, &self.job)
    }

    /// That `what` would have to come from the network.
    pub(super) fn not_cached(&self, what: &str) -> Error {
        let cache = self.options.cache_dir.display();
        Error::failed(format!("{what} is not in the cache {cache}")).with_hint(OFFLINE_HINT)
    }

    /// The digest of the user's file at `path`, remembered for as long as the file stays the same.
    pub(super) fn local_digest(&self, path: &Path, what: &str) -> Result<Digest> {
        let before = local_metadata(path, what)?;
        let key = identity(path, &before);
        let record = self.cache.local(&key);
        if let Some(digest) = read_record(&record) {
            return Ok(digest);
        }
        let digest = Digest::of_file(path, &self.job)?;
        if identity(path, &local_metadata(path, what)?) != key {
            return Err(changed(path));
        }
        write_record(&record, &digest)?;
        Ok(digest)
    }
}

/// What to do when what was found once is not there any more. A digest that was given is corrected
/// where it was.
fn replaced_hint(pin: &Pin) -> Option<String> {
    let (name, day) = (&pin.name, clock::date_of(pin.resolved));
    (!pin.verified.contains(&Verified::Given)).then(|| {
        format!(
            "{LOCK_FILE} says since {day} what {name} is. Either the file was replaced since, which `imgbuild update {name}` accepts, or a proxy alters it"
        )
    })
}

/// Compares the digest of a local file with what it must be.
pub(super) fn must_be(path: &Path, expected: &Digest, found: &Digest) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::verification(format!(
        "{} has the wrong sha256: expected {expected}, found {found}",
        path.display()
    ))
    .with_hint("get the file again, or correct the sha256 if the file was changed on purpose"))
}

pub(super) fn changed(path: &Path) -> Error {
    Error::failed(format!("{} changed while it was read", path.display()))
        .with_hint("wait until whatever writes to it is done")
}

pub(super) fn local_metadata(path: &Path, what: &str) -> Result<Metadata> {
    let metadata = fs::metadata(path).map_err(|error| {
        Error::usage(format!("{what} {} cannot be read", path.display()))
            .with_source(error)
            .with_hint("check the path in the profile")
    })?;
    match (metadata.is_file(), metadata.len()) {
        (true, 1..) => Ok(metadata),
        (true, 0) => Err(Error::new(
            ErrorKind::Usage,
            format!("{what} {} is empty", path.display()),
        )
        .with_hint("a copy or download may have failed: get the file again")),
        (false, _) => Err(
            Error::usage(format!("{what} {} is not a file", path.display()))
                .with_hint("check the path in the profile"),
        ),
    }
}

/// Changes whenever the content of the file may have.
fn identity(path: &Path, metadata: &Metadata) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    format!(
        "{path:?} {} {:?} {:?}",
        metadata.len(),
        metadata.modified().ok(),
        inode(metadata)
    )
}

fn inode(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}
