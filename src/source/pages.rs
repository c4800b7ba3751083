//! Short files from the network: lists of images and of checksums, indexes, keys, signatures.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::cache::{read_record, write_record};
use super::http::{self, Failure, header};
use super::store::Store;
use crate::error::{Error, Result, ResultExt};
use crate::lock::Location;
use crate::url::Url;

/// They are never longer than this.
const MAX_PAGE: u64 = 16 << 20;

/// Reads pages, and remembers them.
pub(super) struct Pages<'a> {
    store: &'a Store,
}

/// A page as last seen.
#[derive(Serialize, Deserialize)]
struct Page {
    url: String,
    etag: Option<String>,
    /// In base64.
    body: String,
}

impl Page {
    fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.body).ok()
    }
}

enum Answer {
    Page(Page, Vec<u8>),
    Unchanged,
    Absent,
}

impl<'a> Pages<'a> {
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// The text of the checksum file `sums`.
    pub fn sums(&self, sums: &Location) -> Result<String> {
        match sums {
            Location::Url(url) => {
                self.note_plain(url);
                self.text(url)
            }
            Location::File(path) => fs::read_to_string(path)
                .context(|| format!("cannot read the checksum file {}", path.display())),
        }
    }

    /// Says that whoever is on the way could have changed what is at `url`, if so.
    pub fn note_plain(&self, url: &Url) {
        if url.is_plain() {
            self.store.job.progress.note(&format!(
                "{url} is read without encryption: whoever is on the way can change the checksums in it"
            ));
        }
    }

    /// The text at `url`.
    pub fn text(&self, url: &Url) -> Result<String> {
        let bytes = self.read(url, &[])?;
        let bytes = bytes.ok_or_else(|| Error::failed(format!("{url} is not there")))?;
        http::text(bytes, url)
    }

    /// The text at `url`, if there is anything.
    pub fn optional(&self, url: &Url) -> Result<Option<String>> {
        let bytes = self.optional_bytes(url)?;
        bytes.map(|bytes| http::text(bytes, url)).transpose()
    }

    /// What is at `url`, if there is anything.
    pub fn optional_bytes(&self, url: &Url) -> Result<Option<Vec<u8>>> {
        const ABSENT: [StatusCode; 3] = [
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::GONE,
        ];
        self.read(url, &ABSENT)
    }

    /// A short file. `absent` are the answers that mean there is none; when the list is empty
    /// there must be one. A copy in the cache serves when the network does not.
    fn read(&self, url: &Url, absent: &[StatusCode]) -> Result<Option<Vec<u8>>> {
        let path = self.store.cache.page(url);
        let cached = read_record::<Page>(&path).filter(|page| page.url == url.as_str());
        let cached = cached.and_then(|page| page.bytes().map(|bytes| (page, bytes)));
        if self.store.options.offline {
            return match cached {
                Some((_, bytes)) => Ok(Some(bytes)),
                None if !absent.is_empty() => Ok(None),
                None => Err(self.store.not_cached(&url.to_string())),
            };
        }
        let etag = cached.as_ref().and_then(|(page, _)| page.etag.clone());
        let asked = self
            .store
            .client
            .retrying(|| self.ask_page(url, etag.as_deref(), absent));
        match (asked, cached) {
            (Ok(Answer::Page(page, bytes)), _) => {
                write_record(&path, &page)?;
                Ok(Some(bytes))
            }
            (Ok(Answer::Unchanged), Some((_, bytes))) => Ok(Some(bytes)),
            (Ok(_), _) => Ok(None),
            (Err(Failure::Retry { error, .. }), Some((_, bytes))) => {
                self.store
                    .job
                    .progress
                    .note(&format!("{error}; using the copy of {url} in the cache"));
                Ok(Some(bytes))
            }
            (Err(failure), _) => Err(failure.into_error()),
        }
    }

    fn ask_page(
        &self,
        url: &Url,
        etag: Option<&str>,
        absent: &[StatusCode],
    ) -> Result<Answer, Failure> {
        let headers: Vec<_> = etag
            .map(|etag| ("If-None-Match", etag))
            .into_iter()
            .collect();
        let response = self.store.client.get(url, &headers)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::Unchanged),
            status if absent.contains(&status) => return Ok(Answer::Absent),
            status => return Err(Failure::Stop(http::status_error(status, url))),
        }
        let etag = header(response.headers(), "etag").map(str::to_owned);
        let bytes = http::read_bytes(response, url, MAX_PAGE)?;
        let page = Page {
            url: url.as_str().to_owned(),
            etag,
            body: STANDARD.encode(&bytes),
        };
        Ok(Answer::Page(page, bytes))
    }
}
