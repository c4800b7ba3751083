//! Base images and payloads, from wherever a profile says, to verified files.

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ureq::http::StatusCode;

use super::cache::{self, Cache, Lock, read_record, write_record};
use super::decompress::{self, Expected, Format};
use super::digest::{Checksum, Digest, Sha1Digest, name_of};
use super::download::{Wanted, download};
use super::http::{self, Client, Failure, file_name, header, is_plain, sha256_beside};
use super::index::{self, Entry};
use super::{FetchOptions, sums};
use crate::disk::RawFile;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::Job;
use crate::xz::XzFile;

/// Lists of images and of checksums are never longer than this.
const MAX_PAGE: u64 = 16 << 20;

/// Where the base image comes from, as the profile says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRequest {
    /// A name of [`aliases`](super::aliases), looked up in the Imager index.
    Alias(String),
    /// A URL; without a digest, that of the `.sha256` file beside it is used.
    Url { url: String, sha256: Option<String> },
    /// A file of this computer, with its digest when that is known.
    Path {
        path: PathBuf,
        sha256: Option<String>,
    },
}

impl BaseRequest {
    /// What `image` means in a profile: a URL, a path (it has a separator or an image's ending),
    /// or else an alias. Relative paths are returned as they are.
    pub fn from_setting(image: &str, sha256: Option<String>) -> Self {
        const ENDINGS: [&str; 5] = [".img", ".xz", ".gz", ".zst", ".zip"];
        let lower = image.to_ascii_lowercase();
        if image.contains("://") {
            let url = image.to_owned();
            Self::Url { url, sha256 }
        } else if image.contains(['/', '\\']) || ENDINGS.iter().any(|end| lower.ends_with(end)) {
            let path = PathBuf::from(image);
            Self::Path { path, sha256 }
        } else {
            Self::Alias(image.to_owned())
        }
    }

    /// A file that nothing is known of.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::Path {
            path: path.into(),
            sha256: None,
        }
    }
}

/// Why a file is believed to be the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Its sha256 was given.
    Given,
    /// Its sha256 is in the Imager index.
    Index,
    /// Its sha256 is in a checksum file published with it.
    PublishedSums,
    /// Only its SHA-1 is, in a checksum file read over a safe connection.
    PublishedSha1,
    /// It is the user's own file.
    Local,
}

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
    /// Where it was downloaded from.
    pub url: Option<String>,
    /// Of the file as downloaded or given.
    pub source_sha256: String,
    /// Of the raw image, if it was unpacked once.
    pub raw_sha256: Option<String>,
    pub verified: Verified,
    /// What the raw image must come to.
    expected: Expected,
}

/// A file that a role puts into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadRequest {
    /// What it is called in messages.
    pub name: String,
    pub location: Location,
    /// Its digest, when it is known.
    pub sha256: Option<String>,
    /// URL or path of a checksum file that lists it; not read when `sha256` is known. A SHA-1 will
    /// do for a download when the file lists no sha256.
    pub sums: Option<String>,
}

/// Where a payload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Url(String),
    File(PathBuf),
}

/// A payload, whole and verified.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub path: PathBuf,
    pub sha256: String,
    pub size: u64,
    pub verified: Verified,
}

/// Fetches base images and payloads through the cache.
pub struct Fetcher {
    options: FetchOptions,
    cache: Cache,
    client: Client,
    job: Job,
}

/// A file that holds a base image, as it was downloaded or given.
struct Source {
    path: PathBuf,
    packed: Option<Arc<XzFile>>,
    digest: Digest,
    description: String,
    url: Option<String>,
    verified: Verified,
    expected: Expected,
}

impl Source {
    /// The base that it holds, compressed.
    fn image(self, raw: Option<PathBuf>, raw_sha256: Option<Digest>) -> BaseImage {
        BaseImage {
            raw,
            compressed: Some(self.path),
            packed: self.packed,
            description: self.description,
            url: self.url,
            source_sha256: self.digest.to_string(),
            raw_sha256: raw_sha256.map(|digest| digest.to_string()),
            verified: self.verified,
            expected: self.expected,
        }
    }
}

impl BaseImage {
    /// The file is not compressed: it is the raw image itself.
    fn with_raw_in_place(mut self) -> Self {
        self.raw = self.compressed.take();
        self
    }
}

/// A page as last seen.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    url: String,
    etag: Option<String>,
    body: String,
}

/// What was downloaded by its SHA-1 alone: the same URL with the same SHA-1 is this sha256 from then
/// on.
#[derive(Debug, Serialize, Deserialize)]
struct Pin {
    url: String,
    sha1: Sha1Digest,
    sha256: Digest,
}

/// What a decompressed image has come to.
#[derive(Debug, Serialize, Deserialize)]
struct RawRecord {
    len: u64,
    sha256: Digest,
}

impl Fetcher {
    /// A fetcher with its cache, whose folder is made when it is not there.
    pub fn new(options: FetchOptions, job: Job) -> Result<Self> {
        Ok(Self {
            cache: Cache::open(&options.cache_dir)?,
            client: Client::new(job.clone(), options.retry_delay),
            options,
            job,
        })
    }

    /// The base as a raw image. A compressed one is decompressed into the cache, once.
    pub fn base(&self, request: &BaseRequest) -> Result<BaseImage> {
        self.unpack(self.find(request)?)
    }

    /// The base as it is. An `.img.xz` that can be read block by block
    /// ([`XzImage`](crate::disk::XzImage)) is not decompressed, unless it was before; other
    /// compressed ones are, into the cache, once.
    ///
    /// Of what is not decompressed only the length is compared with what the index says of the raw
    /// image: its digest takes all of it.
    pub fn find(&self, request: &BaseRequest) -> Result<BaseImage> {
        let mut source = match request {
            BaseRequest::Alias(alias) => self.aliased(alias),
            BaseRequest::Url { url, sha256 } => self.at_url(url, sha256.as_deref()),
            BaseRequest::Path { path, sha256 } => self.at_path(path, sha256.as_deref()),
        }?;
        let file = RawFile::open(&source.path)?;
        let format = Format::of(&file)?;
        if format == Format::Raw {
            let len = local_metadata(&source.path, "the base image")?.len();
            source.expected.check(&source.path, len, &source.digest)?;
            let digest = source.digest.clone();
            return Ok(source.image(None, Some(digest)).with_raw_in_place());
        }
        source.packed = decompress::blocks(file).map(Arc::new);
        if let Some((raw, sha256)) = self.unpacked_before(&source)? {
            return Ok(source.image(Some(raw), Some(sha256)));
        }
        if let Some(packed) = &source.packed {
            let limit = self.options.max_image_bytes;
            decompress::check_blocks(packed, &source.expected, limit)?;
            let known = self.record(&source).map(|record| record.sha256);
            return Ok(source.image(None, known));
        }
        let (raw, sha256) = self.decompressed(&source, format)?;
        if format == Format::Xz {
            self.job.progress.note(&format!(
                "{} is not packed in blocks as `xz -T0` makes them: it had to be unpacked into the cache",
                source.description
            ));
        }
        Ok(source.image(Some(raw), Some(sha256)))
    }

    /// Decompresses `base` into the cache, if it is not there.
    pub fn unpack(&self, base: BaseImage) -> Result<BaseImage> {
        let (None, Some(path)) = (&base.raw, &base.compressed) else {
            return Ok(base);
        };
        let source = Source {
            path: path.clone(),
            packed: base.packed,
            digest: Digest::given(&base.source_sha256, &base.description)?,
            description: base.description,
            url: base.url,
            verified: base.verified,
            expected: base.expected,
        };
        let format = match source.packed {
            Some(_) => Format::Xz,
            None => Format::of(&RawFile::open(&source.path)?)?,
        };
        let (raw, sha256) = self.decompressed(&source, format)?;
        Ok(source.image(Some(raw), Some(sha256)))
    }

    /// Verifies all of a packed base that nothing vouches for, once: whoever copies blocks as they
    /// are would pass damage on. What has a digest of its own was compared with that, what was
    /// unpacked was verified then, and a raw image has nothing to verify it by.
    pub fn vouch(&self, base: &BaseImage) -> Result<()> {
        let Some(packed) = &base.packed else {
            return Ok(());
        };
        let path = packed.path();
        let known = base.verified != Verified::Local || base.raw_sha256.is_some();
        let digest = Digest::given(&base.source_sha256, &base.description)?;
        let record = self.cache.whole(&digest);
        if known || record.exists() {
            return Ok(());
        }
        let what = format!("verifying {}", base.description);
        let _lock = self
            .cache
            .lock(&format!("whole-{digest}"), &what, &self.job)?;
        if record.exists() {
            return Ok(());
        }
        self.job.progress.note(&format!(
            "no sha256 vouches for {0}: verifying all of {0}, once",
            base.description
        ));
        decompress::verify(packed, &self.job).map_err(|error| match error.kind() {
            ErrorKind::Verification => error.context(format!(
                "{} is damaged, and so would be what is built from it",
                path.display()
            )),
            _ => error.context(what),
        })?;
        if self.local_digest(path, "the base image")? != digest {
            return Err(changed(path));
        }
        write_record(&record, &base.description)
    }

    /// Where raw copies of bases are kept.
    pub fn raw_folder(&self) -> PathBuf {
        self.cache.raw_folder()
    }

    /// What earlier builds have read of a packed base, as [`remember`](Self::remember) got it.
    pub fn recall(&self, base: &BaseImage) -> Option<Vec<u8>> {
        fs::read(self.known_pages(base)?).ok()
    }

    /// Keeps what was read of a packed base for later builds.
    pub fn remember(&self, base: &BaseImage, pages: &[u8]) -> Result<()> {
        let path = self.known_pages(base);
        path.map_or(Ok(()), |path| cache::write_whole(&path, pages))
    }

    fn known_pages(&self, base: &BaseImage) -> Option<PathBuf> {
        let digest = Digest::given(&base.source_sha256, &base.description).ok()?;
        Some(self.cache.known_pages(&digest))
    }

    /// A payload file.
    pub fn payload(&self, request: &PayloadRequest) -> Result<Artifact> {
        match &request.location {
            Location::Url(url) => self.remote_payload(request, url),
            Location::File(path) => self.local_payload(request, path),
        }
        .context(|| format!("fetching {}", request.name))
    }

    fn aliased(&self, alias: &str) -> Result<Source> {
        let entry = index::resolve(alias, &self.options.index_url, &mut |url| self.page(url))
            .context(|| format!("looking up the base image {alias}"))?;
        let (digest, verified) = self.digest_of(&entry)?;
        let name = file_name(&entry.url);
        let path = self.object(&digest, &entry.url, &name, entry.download_size)?;
        Ok(Source {
            path,
            packed: None,
            digest,
            description: format!("{}, {}", entry.name, entry.release_date),
            url: Some(entry.url),
            verified,
            expected: Expected {
                len: entry.extract_size,
                sha256: entry.extract_sha256,
            },
        })
    }

    /// The digest of an entry's download. The index and the `.sha256` file must agree; either may
    /// be missing. What is in the cache already was compared when it was downloaded.
    fn digest_of(&self, entry: &Entry) -> Result<(Digest, Verified)> {
        let indexed = entry.download_sha256.clone();
        if let Some(digest) = &indexed
            && self.cache.object(digest).exists()
        {
            return Ok((digest.clone(), Verified::Index));
        }
        match (indexed, self.published_beside(&entry.url)?) {
            (Some(indexed), Some(published)) if indexed != published => {
                Err(Error::verification(format!(
                    "two sha256 are published for {}: {indexed} in the list of operating systems, {published} in {}",
                    entry.url,
                    sha256_beside(&entry.url)
                ))
                .with_hint("a new release may be going out just now: try again in an hour"))
            }
            (Some(indexed), _) => Ok((indexed, Verified::Index)),
            (None, Some(published)) => Ok((published, Verified::PublishedSums)),
            (None, None) => Err(no_digest(&entry.url)),
        }
    }

    fn at_url(&self, url: &str, sha256: Option<&str>) -> Result<Source> {
        let (digest, verified) = match sha256 {
            Some(sha256) => (Digest::given(sha256, url)?, Verified::Given),
            None => {
                let published = self.published_beside(url)?;
                (
                    published.ok_or_else(|| no_digest(url))?,
                    Verified::PublishedSums,
                )
            }
        };
        let name = file_name(url);
        let path = self.object(&digest, url, &name, None)?;
        Ok(Source {
            path,
            packed: None,
            digest,
            description: name,
            url: Some(url.to_owned()),
            verified,
            expected: Expected::default(),
        })
    }

    fn at_path(&self, path: &Path, sha256: Option<&str>) -> Result<Source> {
        let name = name_of(path);
        let given = sha256.map(|text| Digest::given(text, &name)).transpose()?;
        let digest = self.local_digest(path, "the base image")?;
        let verified = match &given {
            Some(given) => {
                must_be(path, given, &digest)?;
                Verified::Given
            }
            None => Verified::Local,
        };
        Ok(Source {
            path: path.to_owned(),
            packed: None,
            digest,
            description: name,
            url: None,
            verified,
            expected: Expected::default(),
        })
    }

    /// What is known of the raw image in `source`, also when there is no copy of it any more.
    fn record(&self, source: &Source) -> Option<RawRecord> {
        read_record(&self.cache.raw(&source.digest).with_extension("json"))
    }

    /// The raw image in the cache, with its digest.
    fn unpacked_before(&self, source: &Source) -> Result<Option<(PathBuf, Digest)>> {
        let Some(record) = self.record(source) else {
            return Ok(None);
        };
        source
            .expected
            .check(&source.path, record.len, &record.sha256)?;
        let raw = self.cache.raw(&source.digest);
        let whole = fs::metadata(&raw).is_ok_and(|metadata| metadata.len() == record.len);
        Ok(whole.then_some((raw, record.sha256)))
    }

    fn decompressed(&self, source: &Source, format: Format) -> Result<(PathBuf, Digest)> {
        let raw = self.cache.raw(&source.digest);
        let what = format!("unpacking {}", source.description);
        let _lock = self
            .cache
            .lock(&format!("raw-{}", source.digest), &what, &self.job)?;
        if let Some(found) = self.unpacked_before(source)? {
            return Ok(found);
        }
        let temporary = raw.with_extension("img.part");
        let unpacked = self
            .unpack_to(&temporary, source, format)
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
        source: &Source,
        format: Format,
    ) -> Result<(File, RawRecord)> {
        let limit = self.options.max_image_bytes;
        let (file, len, sha256) = decompress::unpack(
            &source.path,
            source.packed.as_ref(),
            format,
            target,
            &source.expected,
            limit,
            &self.job,
        )?;
        let is_local = source.url.is_none();
        if is_local && self.local_digest(&source.path, "the base image")? != source.digest {
            return Err(changed(&source.path));
        }
        Ok((file, RawRecord { len, sha256 }))
    }

    fn remote_payload(&self, request: &PayloadRequest, url: &str) -> Result<Artifact> {
        let (digest, verified) = match (&request.sha256, &request.sums) {
            (Some(sha256), _) => (Digest::given(sha256, &request.name)?, Verified::Given),
            (None, Some(sums)) => match sums::find(&self.sums(sums)?, &file_name(url), sums)? {
                Checksum::Sha256(digest) => (digest, Verified::PublishedSums),
                Checksum::Sha1(sha1) => {
                    refuse_plain_sha1(&request.name, sums, url)?;
                    let digest = self.pinned(&request.name, url, sums, sha1)?;
                    (digest, Verified::PublishedSha1)
                }
            },
            (None, None) => {
                return Err(Error::usage(format!("no sha256 is known for {url}"))
                    .with_hint("give its `sha256`, or `sums` with the URL of a checksum file that lists it"));
            }
        };
        let path = self.object(&digest, url, &request.name, None)?;
        artifact(path, &digest, verified)
    }

    fn local_payload(&self, request: &PayloadRequest, path: &Path) -> Result<Artifact> {
        let found = self.local_digest(path, &request.name)?;
        let (expected, verified) = match (&request.sha256, &request.sums) {
            (Some(sha256), _) => (Digest::given(sha256, &request.name)?, Verified::Given),
            (None, Some(sums)) => {
                let digest = sums::find_sha256(&self.sums(sums)?, &name_of(path), sums)?;
                (digest, Verified::PublishedSums)
            }
            (None, None) => (found.clone(), Verified::Local),
        };
        must_be(path, &expected, &found)?;
        artifact(path.to_owned(), &found, verified)
    }

    /// The sha256 of the file at `url`, of which only the SHA-1 is published: what an earlier
    /// download with this SHA-1 was pinned to, or else what one comes to now.
    fn pinned(&self, name: &str, url: &str, sums: &str, sha1: Sha1Digest) -> Result<Digest> {
        let record = self.cache.pin(url);
        let known = || {
            let pin = read_record::<Pin>(&record)?;
            (pin.url == url && pin.sha1 == sha1).then_some(pin.sha256)
        };
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let wanted = Wanted {
            url,
            name,
            checksum: &Checksum::Sha1(sha1.clone()),
            size: None,
        };
        let _lock = self.download_lock(&wanted)?;
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let sha256 = download(&self.client, &self.cache, &self.job, &wanted)?;
        self.job.progress.note(&format!(
            "{name} could only be verified by the SHA-1 in {sums}; to pin it give its sha256 = \"{sha256}\""
        ));
        let url = url.to_owned();
        let pin = Pin { url, sha1, sha256 };
        write_record(&record, &pin)?;
        Ok(pin.sha256)
    }

    /// The text of the checksum file at the URL or path `sums`.
    fn sums(&self, sums: &str) -> Result<String> {
        if sums.contains("://") {
            self.note_plain(sums);
            return self.page(sums);
        }
        fs::read_to_string(sums).context(|| format!("cannot read the checksum file {sums}"))
    }

    /// The digest in the `.sha256` file beside `url`, if there is one.
    fn published_beside(&self, url: &str) -> Result<Option<Digest>> {
        let sums = sha256_beside(url);
        let Some(text) = self.optional_page(&sums)? else {
            return Ok(None);
        };
        self.note_plain(&sums);
        sums::find_sha256(&text, &file_name(url), &sums).map(Some)
    }

    fn note_plain(&self, url: &str) {
        if is_plain(url) {
            self.job.progress.note(&format!(
                "{url} is read without encryption: whoever is on the way can change the checksums in it"
            ));
        }
    }

    /// The file in the cache with this digest, downloaded when it is not there.
    fn object(&self, digest: &Digest, url: &str, name: &str, size: Option<u64>) -> Result<PathBuf> {
        let path = self.cache.object(digest);
        if path.exists() {
            return Ok(path);
        }
        let wanted = Wanted {
            url,
            name,
            checksum: &Checksum::Sha256(digest.clone()),
            size,
        };
        let _lock = self.download_lock(&wanted)?;
        if !path.exists() {
            download(&self.client, &self.cache, &self.job, &wanted)?;
        }
        Ok(path)
    }

    /// What `download` needs; by the time it is there, another build may have done the work.
    fn download_lock(&self, wanted: &Wanted) -> Result<Lock> {
        if self.options.offline {
            return Err(Error::failed(format!(
                "{} ({}) is not in the cache {}",
                wanted.name,
                wanted.url,
                self.options.cache_dir.display()
            ))
            .with_hint(OFFLINE_HINT));
        }
        let what = format!("downloading {}", wanted.name);
        self.cache.lock(wanted.checksum.as_str(), &what, &self.job)
    }

    fn page(&self, url: &str) -> Result<String> {
        self.any_page(url, &[])?
            .ok_or_else(|| Error::failed(format!("{url} is not there")))
    }

    fn optional_page(&self, url: &str) -> Result<Option<String>> {
        const ABSENT: [StatusCode; 3] = [
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::GONE,
        ];
        self.any_page(url, &ABSENT)
    }

    /// A short text file. `absent` are the answers that mean there is none; when the list is empty
    /// there must be one. A copy in the cache serves when the network does not.
    fn any_page(&self, url: &str, absent: &[StatusCode]) -> Result<Option<String>> {
        let path = self.cache.page(url);
        let cached = read_record::<Page>(&path).filter(|page| page.url == url);
        if self.options.offline {
            return match cached {
                Some(page) => Ok(Some(page.body)),
                None if !absent.is_empty() => Ok(None),
                None => Err(Error::failed(format!(
                    "{url} is not in the cache {}",
                    self.options.cache_dir.display()
                ))
                .with_hint(OFFLINE_HINT)),
            };
        }
        let etag = cached.as_ref().and_then(|page| page.etag.clone());
        let asked = self
            .client
            .retrying(|| self.ask_page(url, etag.as_deref(), absent));
        match (asked, cached) {
            (Ok(Answer::Page(page)), _) => {
                write_record(&path, &page)?;
                Ok(Some(page.body))
            }
            (Ok(Answer::Unchanged), Some(page)) => Ok(Some(page.body)),
            (Ok(_), _) => Ok(None),
            (Err(Failure::Retry { error, .. }), Some(page)) => {
                self.job
                    .progress
                    .note(&format!("{error}; using the copy of {url} in the cache"));
                Ok(Some(page.body))
            }
            (Err(failure), _) => Err(failure.into_error()),
        }
    }

    fn ask_page(
        &self,
        url: &str,
        etag: Option<&str>,
        absent: &[StatusCode],
    ) -> Result<Answer, Failure> {
        let headers: Vec<_> = etag
            .map(|etag| ("If-None-Match", etag))
            .into_iter()
            .collect();
        let response = self.client.get(url, &headers)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::Unchanged),
            status if absent.contains(&status) => return Ok(Answer::Absent),
            status => return Err(Failure::Stop(http::status_error(status, url))),
        }
        let etag = header(response.headers(), "etag").map(str::to_owned);
        let body = http::read_text(response, url, MAX_PAGE)?;
        Ok(Answer::Page(Page {
            url: url.to_owned(),
            etag,
            body,
        }))
    }

    /// The digest of the user's file at `path`, remembered for as long as the file stays the same.
    fn local_digest(&self, path: &Path, what: &str) -> Result<Digest> {
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

enum Answer {
    Page(Page),
    Unchanged,
    Absent,
}

const OFFLINE_HINT: &str = "run the same command once without --offline";

/// Compares the digest of a local file with what it must be.
fn must_be(path: &Path, expected: &Digest, found: &Digest) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::verification(format!(
        "{} has the wrong sha256: expected {expected}, found {found}",
        path.display()
    ))
    .with_hint("get the file again, or correct the sha256 if the file was changed on purpose"))
}

fn changed(path: &Path) -> Error {
    Error::failed(format!("{} changed while it was read", path.display()))
        .with_hint("wait until whatever writes to it is done")
}

fn no_digest(url: &str) -> Error {
    Error::usage(format!(
        "no sha256 is known for {url}, and there is no {}",
        sha256_beside(url)
    ))
    .with_hint(
        "give its `sha256` in the profile, or download and check it yourself and give the path",
    )
}

/// A SHA-1 is not enough for what anybody on the way could have changed.
fn refuse_plain_sha1(name: &str, sums: &str, url: &str) -> Result<()> {
    match [sums, url].into_iter().find(|url| is_plain(url)) {
        None => Ok(()),
        Some(plain) => Err(Error::refused(format!(
            "only a SHA-1 is published for {name}, and {plain} is read without encryption"
        ))
        .with_hint("use an https URL, or give the sha256")),
    }
}

fn artifact(path: PathBuf, digest: &Digest, verified: Verified) -> Result<Artifact> {
    let size = fs::metadata(&path)
        .context(|| format!("cannot read {}", path.display()))?
        .len();
    Ok(Artifact {
        path,
        sha256: digest.to_string(),
        size,
        verified,
    })
}

fn local_metadata(path: &Path, what: &str) -> Result<Metadata> {
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

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use crate::positioned::MetadataExt;
    (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) {}
