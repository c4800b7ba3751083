//! What requests mean in this run: what the lock file says, or else what is found now and added to it.

use super::base_request::BaseRequest;
use super::base_resolver::BaseResolver;
use super::payload_resolver::PayloadResolver;
use super::store::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::lock::{FileEntry, FileKind, Location, LockBook, PayloadRequest, Pin};

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
        let pin = resolve(previous.as_ref())?;
        self.book
            .keep_file(*kind, FileEntry::of(name, request, &pin))?;
        Ok(pin)
    }
}
