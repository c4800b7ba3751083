//! What a request for a base image means today.

use std::path::Path;

use super::base_request::BaseRequest;
use super::index::{self, Entry};
use super::pages::Pages;
use super::signatures::Signatures;
use super::store::{Store, must_be};
use super::sums;
use crate::clock;
use crate::digest::{Digest, name_of};
use crate::error::{Error, Result, ResultExt};
use crate::lock::{FileEntry, ImageFacts, Location, Pin, Verified};
use crate::url::Url;

/// Turns requests for bases into pins: asks the Imager index and checksum files, verifies the signature
/// of what an alias stands for, which takes the whole file, and reads files of this computer.
pub struct BaseResolver<'a> {
    store: &'a Store,
    pages: Pages<'a>,
    signatures: Signatures<'a>,
}

impl<'a> BaseResolver<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            pages: Pages::of(store),
            signatures: Signatures::of(store),
        }
    }

    /// The file that `request` stands for. What is still the `previous` answer need not be verified
    /// again.
    pub fn resolve(&self, request: &BaseRequest, previous: Option<&FileEntry>) -> Result<Pin> {
        match request {
            BaseRequest::Alias(alias) => self.signed(alias, self.aliased(alias)?, previous),
            BaseRequest::Url { url, sha256 } => self.at_url(url, *sha256),
            BaseRequest::Path { path, sha256 } => self.at_path(path, *sha256),
        }
    }

    /// What an alias stands for is signed. That takes the whole file.
    fn signed(&self, alias: &str, mut pin: Pin, previous: Option<&FileEntry>) -> Result<Pin> {
        let is_signed = |verified: &Verified| matches!(verified, Verified::OpenPgp(_));
        let known = previous
            .filter(|entry| entry.sha256 == pin.sha256)
            .and_then(|entry| entry.verified.iter().find(|verified| is_signed(verified)));
        if let Some(known) = known {
            pin.verified.insert(0, known.clone());
            return Ok(pin);
        }
        let Location::Url(url) = &pin.location else {
            return Ok(pin);
        };
        if !self.signatures.is_skipped(alias) {
            let path = self.store.fetch(&pin)?;
            let verified = self.signatures.of_file(alias, url, &path)?;
            pin.verified.insert(0, verified);
        }
        Ok(pin)
    }

    fn aliased(&self, alias: &str) -> Result<Pin> {
        let mut fetch = |url: &str| self.pages.text(&Url::parse(url)?);
        let entry = index::resolve(alias, &self.store.options.index_url, &mut fetch)
            .context(|| format!("looking up the base image {alias}"))?;
        let (sha256, verified) = self.digest_of(&entry)?;
        Ok(Pin {
            name: alias.to_owned(),
            description: format!("{}, {}", entry.name, entry.release_date),
            location: Location::Url(entry.url),
            also: Vec::new(),
            size: entry.download_size,
            sha256,
            verified,
            resolved: clock::now(),
            image: ImageFacts {
                len: entry.extract_size,
                sha256: entry.extract_sha256,
            },
        })
    }

    /// The digest of an entry's download. The index and the `.sha256` file must agree; either may
    /// be missing. What is in the cache already was compared when it was downloaded.
    fn digest_of(&self, entry: &Entry) -> Result<(Digest, Vec<Verified>)> {
        let indexed = entry.download_sha256;
        if let Some(digest) = &indexed
            && self.store.has(digest)
        {
            return Ok((*digest, vec![Verified::Index]));
        }
        match (indexed, self.published_beside(&entry.url)?) {
            (Some(indexed), Some(published)) if indexed != published => {
                Err(Error::verification(format!(
                    "two sha256 are published for {}: {indexed} in the list of operating systems, {published} in {}",
                    entry.url,
                    entry.url.sha256_beside()
                ))
                .with_hint("a new release may be going out just now: try again in an hour"))
            }
            (Some(indexed), None) => Ok((indexed, vec![Verified::Index])),
            (Some(indexed), Some(_)) => {
                Ok((indexed, vec![Verified::Index, Verified::PublishedSums]))
            }
            (None, Some(published)) => Ok((published, vec![Verified::PublishedSums])),
            (None, None) => Err(no_digest(&entry.url)),
        }
    }

    fn at_url(&self, url: &Url, sha256: Option<Digest>) -> Result<Pin> {
        let (sha256, verified) = match sha256 {
            Some(sha256) => (sha256, vec![Verified::Given]),
            None => {
                let published = self.published_beside(url)?;
                let published = published.ok_or_else(|| no_digest(url))?;
                (published, vec![Verified::PublishedSums])
            }
        };
        Ok(Pin {
            name: url.file_name(),
            description: url.file_name(),
            location: Location::Url(url.clone()),
            also: Vec::new(),
            size: None,
            sha256,
            verified,
            resolved: clock::now(),
            image: ImageFacts::default(),
        })
    }

    fn at_path(&self, path: &Path, sha256: Option<Digest>) -> Result<Pin> {
        let name = "the base image";
        let digest = self.store.local_digest(path, name)?;
        let verified = match &sha256 {
            Some(given) => {
                must_be(path, given, &digest)?;
                Verified::Given
            }
            None => Verified::Local,
        };
        Ok(Pin {
            name: name.to_owned(),
            description: name_of(path),
            location: Location::File(path.to_owned()),
            also: Vec::new(),
            size: None,
            sha256: digest,
            verified: vec![verified],
            resolved: clock::now(),
            image: ImageFacts::default(),
        })
    }

    /// The digest in the `.sha256` file beside `url`, if there is one.
    fn published_beside(&self, url: &Url) -> Result<Option<Digest>> {
        let sums = url.sha256_beside();
        let Some(text) = self.pages.optional(&sums)? else {
            return Ok(None);
        };
        self.pages.note_plain(&sums);
        sums::find_sha256(&text, &url.file_name(), &sums.to_string()).map(Some)
    }
}

fn no_digest(url: &Url) -> Error {
    Error::usage(format!(
        "no sha256 is known for {url}, and there is no {}",
        url.sha256_beside()
    ))
    .with_hint(
        "give its `sha256` in the profile, or download and check it yourself and give the path",
    )
}
