//! What a request for a payload means today.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cache::{read_record, write_record};
use super::checksum::{Checksum, Sha1Digest};
use super::download::Wanted;
use super::pages::Pages;
use super::store::{Store, must_be};
use super::sums;
use crate::clock;
use crate::digest::{Digest, name_of};
use crate::error::{Error, Result};
use crate::lock::{ImageFacts, Location, PayloadRequest, Pin, Verified};
use crate::url::Url;

/// Turns requests for payloads into pins: asks checksum files. Where only a SHA-1 is published, the
/// sha256 is that of what was downloaded by it first.
pub struct PayloadResolver<'a> {
    store: &'a Store,
    pages: Pages<'a>,
}

/// What was downloaded by its SHA-1 alone: the same URL with the same SHA-1 is this sha256 from then
/// on.
#[derive(Serialize, Deserialize)]
struct Sha1Record {
    url: String,
    sha1: Sha1Digest,
    sha256: Digest,
}

impl<'a> PayloadResolver<'a> {
    pub fn new(store: &'a Store) -> Self {
        let pages = Pages::of(store);
        Self { store, pages }
    }

    /// The file that `request` stands for.
    pub fn resolve(&self, request: &PayloadRequest) -> Result<Pin> {
        let (sha256, verified) = match &request.location {
            Location::Url(url) => self.at_url(request, url),
            Location::File(path) => self.at_path(request, path),
        }?;
        Ok(Pin {
            name: request.name.clone(),
            description: request.name.clone(),
            location: request.location.clone(),
            also: Vec::new(),
            size: None,
            sha256,
            verified: vec![verified],
            resolved: clock::now(),
            image: ImageFacts::default(),
        })
    }

    fn at_url(&self, request: &PayloadRequest, url: &Url) -> Result<(Digest, Verified)> {
        let sums = match (&request.sha256, &request.sums) {
            (Some(sha256), _) => return Ok((*sha256, Verified::Given)),
            (None, Some(sums)) => sums,
            (None, None) if request.first_use => {
                refuse_plain(&request.name, "no checksum", [url].into_iter())?;
                let digest = self.at_first_use(&request.name, url)?;
                return Ok((digest, Verified::FirstUse));
            }
            (None, None) => {
                let hint =
                    "give its `sha256`, or `sums` with the URL of a checksum file that lists it";
                return Err(Error::usage(format!("no sha256 is known for {url}")).with_hint(hint));
            }
        };
        let origin = sums.to_string();
        match sums::find(&self.pages.sums(sums)?, &url.file_name(), &origin)? {
            Checksum::Sha256(digest) => Ok((digest, Verified::PublishedSums)),
            Checksum::Unknown(_) => Err(Error::failed(format!("{origin} lists no checksum"))),
            Checksum::Sha1(sha1) => {
                let sums = match sums {
                    Location::Url(sums) => Some(sums),
                    Location::File(_) => None,
                };
                refuse_plain(&request.name, "only a SHA-1", sums.into_iter().chain([url]))?;
                let digest = self.by_sha1(&request.name, url, &origin, sha1)?;
                Ok((digest, Verified::PublishedSha1))
            }
        }
    }

    fn at_path(&self, request: &PayloadRequest, path: &Path) -> Result<(Digest, Verified)> {
        let found = self.store.local_digest(path, &request.name)?;
        let (expected, verified) = match (&request.sha256, &request.sums) {
            (Some(sha256), _) => (*sha256, Verified::Given),
            (None, Some(sums)) => {
                let text = self.pages.sums(sums)?;
                let digest = sums::find_sha256(&text, &name_of(path), &sums.to_string())?;
                (digest, Verified::PublishedSums)
            }
            (None, None) => (found, Verified::Local),
        };
        must_be(path, &expected, &found)?;
        Ok((found, verified))
    }

    /// The sha256 of what is at `url` now. Nothing is published to check it by.
    fn at_first_use(&self, name: &str, url: &Url) -> Result<Digest> {
        let wanted = Wanted {
            url,
            name,
            checksum: &Checksum::Unknown(Digest::of_bytes(url.as_str())),
            size: None,
            hint: None,
        };
        let _lock = self.store.download_lock(&wanted)?;
        let digest = self.store.download(&wanted)?;
        write_record(&self.store.cache.name(&digest), &name)?;
        Ok(digest)
    }

    /// The sha256 of the file at `url`, of which only the SHA-1 is published: what an earlier
    /// download with this SHA-1 came to, or else what one comes to now.
    fn by_sha1(&self, name: &str, url: &Url, sums: &str, sha1: Sha1Digest) -> Result<Digest> {
        let record = self.store.cache.pin(url);
        let known = || {
            let known = read_record::<Sha1Record>(&record)?;
            (known.url == url.as_str() && known.sha1 == sha1).then_some(known.sha256)
        };
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let wanted = Wanted {
            url,
            name,
            checksum: &Checksum::Sha1(sha1),
            size: None,
            hint: None,
        };
        let _lock = self.store.download_lock(&wanted)?;
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let sha256 = self.store.download(&wanted)?;
        self.store.job.progress.note(&format!(
            "{name} could only be verified by the SHA-1 in {sums}; to pin it give its sha256 = \"{sha256}\""
        ));
        let url = url.as_str().to_owned();
        write_record(&record, &Sha1Record { url, sha1, sha256 })?;
        Ok(sha256)
    }
}

/// What anybody on the way could have changed needs a sha256.
fn refuse_plain<'u>(
    name: &str,
    published: &str,
    mut urls: impl Iterator<Item = &'u Url>,
) -> Result<()> {
    match urls.find(|url| url.is_plain()) {
        None => Ok(()),
        Some(plain) => Err(Error::refused(format!(
            "{published} is published for {name}, and {plain} is read without encryption"
        ))
        .with_hint("use an https URL, or give the sha256")),
    }
}
