//! What requests mean in this run: what the lock file says, or else what is found now and added to it.

use std::path::PathBuf;

use super::base_request::BaseRequest;
use super::base_resolver::BaseResolver;
use super::container_images::ContainerImages;
use super::package_resolver::{BasePackages, PackageResolver};
use super::payload_resolver::PayloadResolver;
use super::store::Store;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::lock::{
    FileEntry, FileKind, ImageEntry, ImageFacts, Location, LockBook, PackageEntry, PackageSet,
    PayloadRequest, Pin,
};
use crate::oci::{ArchivedImage, ImageName};
use crate::url::Url;

/// Pins by their requests. Files of this computer are not in the lock file: they are what they are.
pub struct Pins<'a> {
    store: &'a Store,
    book: &'a LockBook,
}

/// A request as the lock file knows it.
struct LockedRequest<'r> {
    kind: FileKind,
    name: String,
    request: String,
    /// Where the file is, if the request says so.
    location: Option<Location>,
    /// The digest that was asked for.
    sha256: Option<&'r Digest>,
}

impl<'a> Pins<'a> {
    pub fn new(store: &'a Store, book: &'a LockBook) -> Self {
        Self { store, book }
    }

    /// What pins are fetched with.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// The lock file.
    pub fn book(&self) -> &'a LockBook {
        self.book
    }

    /// The base that `request` stands for.
    pub fn base(&self, request: &BaseRequest) -> Result<Pin> {
        let resolve =
            |previous: Option<&FileEntry>| BaseResolver::new(self.store).resolve(request, previous);
        let Some((name, key)) = request.lock_key() else {
            return resolve(None);
        };
        let (location, sha256) = match request {
            BaseRequest::Url { url, sha256 } => (Some(Location::Url(url.clone())), sha256.as_ref()),
            BaseRequest::Alias(_) | BaseRequest::Path { .. } => (None, None),
        };
        let asked = LockedRequest {
            kind: FileKind::Base,
            name,
            request: key,
            location,
            sha256,
        };
        self.locked(&asked, resolve)
    }

    /// The payload that `request` stands for.
    pub fn payload(&self, request: &PayloadRequest) -> Result<Pin> {
        let resolve = |_: Option<&FileEntry>| PayloadResolver::new(self.store).resolve(request);
        let Some((name, key)) = request.lock_key() else {
            return resolve(None);
        };
        let asked = LockedRequest {
            kind: FileKind::Payload,
            name,
            request: key,
            location: Some(request.location.clone()),
            sha256: request.sha256.as_ref(),
        };
        self.locked(&asked, resolve)
    }

    /// The packages that `wishes` come to on `base`.
    pub fn packages(
        &self,
        wishes: &[String],
        base: &BasePackages,
    ) -> Result<(PackageSet, Vec<PackageEntry>)> {
        let asked = base.request(wishes);
        if let Some(known) = self.book.package_set(&asked) {
            return Ok(known);
        }
        if base.has(wishes)? {
            return Ok((asked, Vec::new()));
        }
        let name = format!("packages {}", wishes.join(", "));
        self.book.may_resolve(&name, &base.name)?;
        let resolved = PackageResolver::new(self.store, self.book).resolve(wishes, base)?;
        let answer = (resolved.set.clone(), resolved.packages.clone());
        self.book
            .keep_package_set(resolved.set, resolved.packages, resolved.archives)?;
        Ok(answer)
    }

    /// The container image that `name` stands for on a node.
    pub fn image(&self, name: &ImageName) -> Result<ImageEntry> {
        let text = name.to_string();
        if let Some(known) = self.book.image(&text) {
            return Ok(known);
        }
        self.book.may_resolve(&text, "linux/arm64")?;
        let found = ContainerImages::new(self.store).resolve(name);
        self.book
            .keep_image(found.context(|| format!("looking up the image {text}"))?)
    }

    /// The files of a container image.
    pub fn fetch_image(&self, image: &ImageEntry) -> Result<ArchivedImage> {
        let fetched = ContainerImages::new(self.store).fetch(image);
        fetched.context(|| format!("fetching the image {}", image.name))
    }

    /// The file of a package: from the cache, from its archive, or from where Debian keeps what its
    /// archives had when it was pinned.
    pub fn fetch_package(&self, package: &PackageEntry) -> Result<PathBuf> {
        let options = &self.store.options;
        let url = Url::parse(&package.url)?;
        let also = options.snapshot(&url, package.locked.0)?;
        let pin = Pin {
            name: package.name.clone(),
            description: package.title(),
            location: Location::Url(options.mirrored(&url)?),
            also: also.into_iter().collect(),
            size: Some(package.size),
            sha256: package.sha256,
            verified: Vec::new(),
            resolved: package.locked.0,
            image: ImageFacts::default(),
        };
        self.store.fetch(&pin).map_err(|error| {
            if error.kind() != ErrorKind::Failed || options.offline {
                return error;
            }
            let why: Vec<String> = error.chain().map(ToString::to_string).collect();
            let title = package.title();
            Error::failed(format!("{title} cannot be had: {}", why.join(": "))).with_hint(format!(
                "archives drop a version when the next one comes: `imgbuild update {}` takes that",
                package.name
            ))
        })
    }

    fn locked(
        &self,
        asked: &LockedRequest<'_>,
        resolve: impl Fn(Option<&FileEntry>) -> Result<Pin>,
    ) -> Result<Pin> {
        let LockedRequest {
            kind,
            name,
            request,
            ..
        } = asked;
        let is_it = |entry: &FileEntry| asked.sha256.is_none_or(|given| *given == entry.sha256);
        if let Some(entry) = self.book.file(*kind, name, request).filter(is_it) {
            return entry.pin(asked.location.as_ref());
        }
        self.book.may_resolve(name, request)?;
        let previous = self.book.previous(*kind, name, request);
        let found = FileEntry::of(name, request, &resolve(previous.as_ref())?);
        let kept = self.book.keep_file(*kind, found)?;
        kept.pin(asked.location.as_ref())
    }
}
