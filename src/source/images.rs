//! Base images as builds read them: packed where they lie, or unpacked into the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cache::{self, read_record, write_record};
use super::decompress::{self, Format};
use super::store::{Store, changed, local_metadata};
use crate::digest::Digest;
use crate::disk::RawFile;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::lock::{ImageFacts, Location, Pin, Verified};
use crate::xz::XzFile;

/// A base, whole and verified.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// The raw image, if there is one: the base itself, or its copy in the cache. Never write to it.
    pub raw: Option<PathBuf>,
    /// The compressed file it came from, unless it was raw from the start.
    pub compressed: Option<PathBuf>,
    /// The same, open, if it is an `.xz` whose blocks can be used one by one.
    pub packed: Option<Arc<XzFile>>,
    /// What it is, for people.
    pub description: String,
    /// Of the file as downloaded or given.
    pub source_sha256: Digest,
    /// Of the raw image, if it was unpacked once.
    pub raw_sha256: Option<Digest>,
    pub verified: Vec<Verified>,
    /// Whether it is a file of the user's own, which may change at any time.
    is_local: bool,
    /// What the raw image must come to.
    expected: ImageFacts,
}

impl BaseImage {
    /// As it lies in the file that `pin` stands for.
    fn packed_in(pin: &Pin, path: PathBuf, packed: Option<Arc<XzFile>>) -> Self {
        Self {
            raw: None,
            compressed: Some(path),
            packed,
            description: pin.description.clone(),
            source_sha256: pin.sha256,
            raw_sha256: None,
            verified: pin.verified.clone(),
            is_local: matches!(pin.location, Location::File(_)),
            expected: pin.image,
        }
    }

    /// With its copy in the cache.
    fn with_raw(mut self, (raw, sha256): (PathBuf, Digest)) -> Self {
        self.raw = Some(raw);
        self.raw_sha256 = Some(sha256);
        self
    }
}

/// What a decompressed image has come to.
#[derive(Debug, Serialize, Deserialize)]
struct RawRecord {
    len: u64,
    sha256: Digest,
}

/// Opens the bases that pins stand for.
pub struct BaseImages<'a> {
    store: &'a Store,
}

impl<'a> BaseImages<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The base in the file at `path`, which was fetched by `pin`, as it is. An `.img.xz` that can be read block by block
    /// ([`XzImage`](crate::xz::XzImage)) is not decompressed, unless it was before; other
    /// compressed ones are, into the cache, once.
    ///
    /// Of what is not decompressed only the length is compared with what the index says of the raw
    /// image: its digest takes all of it.
    pub fn open(&self, pin: &Pin, path: PathBuf) -> Result<BaseImage> {
        let file = RawFile::open(&path)?;
        let format = Format::of(&file)?;
        if format == Format::Raw {
            let len = local_metadata(&path, "the base image")?.len();
            decompress::check(&pin.image, &path, len, &pin.sha256)?;
            let mut base = BaseImage::packed_in(pin, path, None);
            base.raw = base.compressed.take();
            base.raw_sha256 = Some(pin.sha256);
            return Ok(base);
        }
        let packed = decompress::blocks(file).map(Arc::new);
        let mut base = BaseImage::packed_in(pin, path.clone(), packed);
        if let Some(found) = self.unpacked_before(&base, &path)? {
            return Ok(base.with_raw(found));
        }
        if let Some(packed) = &base.packed {
            let limit = self.store.options.max_image_bytes;
            decompress::check_blocks(packed, &base.expected, limit)?;
            base.raw_sha256 = self.record(&base).map(|record| record.sha256);
            return Ok(base);
        }
        let found = self.decompressed(&base, &path, format)?;
        if format == Format::Xz {
            self.store.job.progress.note(&format!(
                "{} is not packed in blocks as `xz -T0` makes them: it had to be unpacked into the cache",
                base.description
            ));
        }
        Ok(base.with_raw(found))
    }

    /// Decompresses `base` into the cache, if it is not there.
    pub fn unpack(&self, base: BaseImage) -> Result<BaseImage> {
        let (None, Some(path)) = (&base.raw, base.compressed.clone()) else {
            return Ok(base);
        };
        let format = match base.packed {
            Some(_) => Format::Xz,
            None => Format::of(&RawFile::open(&path)?)?,
        };
        let found = self.decompressed(&base, &path, format)?;
        Ok(base.with_raw(found))
    }

    /// Verifies all of a packed base that nothing vouches for, once: whoever copies blocks as they
    /// are would pass damage on. What has a digest of its own was compared with that, what was
    /// unpacked was verified then, and a raw image has nothing to verify it by.
    pub fn vouch(&self, base: &BaseImage) -> Result<()> {
        let Some(packed) = &base.packed else {
            return Ok(());
        };
        let path = packed.path();
        let known = !base.verified.contains(&Verified::Local) || base.raw_sha256.is_some();
        let digest = base.source_sha256;
        let record = self.store.cache.whole(&digest);
        if known || record.exists() {
            return Ok(());
        }
        let what = format!("verifying {}", base.description);
        let lock = format!("whole-{digest}");
        let _lock = self.store.cache.lock(&lock, &what, &self.store.job)?;
        if record.exists() {
            return Ok(());
        }
        self.store.job.progress.note(&format!(
            "no sha256 vouches for {0}: verifying all of {0}, once",
            base.description
        ));
        decompress::verify(packed, &self.store.job).map_err(|error| match error.kind() {
            ErrorKind::Verification => error.context(format!(
                "{} is damaged, and so would be what is built from it",
                path.display()
            )),
            _ => error.context(what),
        })?;
        if self.store.local_digest(path, "the base image")? != digest {
            return Err(changed(path));
        }
        write_record(&record, &base.description)
    }

    /// Where raw copies of bases are kept.
    pub fn raw_folder(&self) -> PathBuf {
        self.store.cache.raw_folder()
    }

    /// What earlier builds have read of a packed base, as [`remember`](Self::remember) got it.
    pub fn recall(&self, base: &BaseImage) -> Option<Vec<u8>> {
        fs::read(self.store.cache.known_pages(&base.source_sha256)).ok()
    }

    /// Keeps what was read of a packed base for later builds.
    pub fn remember(&self, base: &BaseImage, pages: &[u8]) -> Result<()> {
        cache::write_whole(&self.store.cache.known_pages(&base.source_sha256), pages)
    }

    /// What is known of the raw image in `base`, also when there is no copy of it any more.
    fn record(&self, base: &BaseImage) -> Option<RawRecord> {
        let raw = self.store.cache.raw(&base.source_sha256);
        read_record(&raw.with_extension("json"))
    }

    /// The raw image in the cache, with its digest.
    fn unpacked_before(&self, base: &BaseImage, path: &Path) -> Result<Option<(PathBuf, Digest)>> {
        let Some(record) = self.record(base) else {
            return Ok(None);
        };
        decompress::check(&base.expected, path, record.len, &record.sha256)?;
        let raw = self.store.cache.raw(&base.source_sha256);
        let whole = fs::metadata(&raw).is_ok_and(|metadata| metadata.len() == record.len);
        if whole {
            cache::touch(&raw);
        }
        Ok(whole.then_some((raw, record.sha256)))
    }

    fn decompressed(
        &self,
        base: &BaseImage,
        path: &Path,
        format: Format,
    ) -> Result<(PathBuf, Digest)> {
        let raw = self.store.cache.raw(&base.source_sha256);
        let what = format!("unpacking {}", base.description);
        let lock = format!("raw-{}", base.source_sha256);
        let _lock = self.store.cache.lock(&lock, &what, &self.store.job)?;
        if let Some(found) = self.unpacked_before(base, path)? {
            return Ok(found);
        }
        let temporary = raw.with_extension("img.part");
        let unpacked = self
            .unpack_to(&temporary, base, path, format)
            .and_then(|(file, record)| {
                cache::place(&file, &temporary, &raw)?;
                write_record(&raw.with_extension("json"), &record)?;
                Ok((raw, record.sha256))
            });
        if unpacked.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        unpacked.context(|| what)
    }

    fn unpack_to(
        &self,
        target: &Path,
        base: &BaseImage,
        path: &Path,
        format: Format,
    ) -> Result<(File, RawRecord)> {
        let (file, len, sha256) = decompress::unpack(
            path,
            base.packed.as_ref(),
            format,
            target,
            &base.expected,
            self.store.options.max_image_bytes,
            &self.store.job,
        )?;
        let is_same = || self.store.local_digest(path, "the base image");
        if base.is_local && is_same()? != base.source_sha256 {
            return Err(changed(path));
        }
        Ok((file, RawRecord { len, sha256 }))
    }
}
