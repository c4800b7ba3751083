//! Archives of Debian packages: their signed indexes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

use super::pages::Pages;
use super::signatures::Signatures;
use super::store::Store;
use crate::clock;
use crate::debian::{ArchiveSource, Available, IndexFile, Release, SignedBy};
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::lock::{ArchiveEntry, ImageFacts, Location, Moment, Pin, Verified};
use crate::trust::Purpose;
use crate::url::Url;

/// The architecture of every Raspberry Pi since the 3, in 64 bits.
pub(super) const ARCHITECTURE: &str = "arm64";

/// An archive whose index was read.
pub(super) struct Archive {
    /// URL, without a slash at its end.
    pub uri: String,
    pub entry: ArchiveEntry,
}

/// Reads archives.
pub(super) struct Archives<'a> {
    store: &'a Store,
    pages: Pages<'a>,
    signatures: Signatures<'a>,
    /// Keys that the base trusts: the pinned ones among them count.
    keys: &'a [Vec<u8>],
}

impl<'a> Archives<'a> {
    pub fn new(store: &'a Store, keys: &'a [Vec<u8>]) -> Self {
        Self {
            store,
            pages: Pages::of(store),
            signatures: Signatures::of(store),
            keys,
        }
    }

    /// Reads what `source` has into `available`, as its archive number `number`. `known` is the newest
    /// index that was ever believed of it: an older one is refused.
    pub fn read(
        &self,
        source: &ArchiveSource,
        number: usize,
        known: Option<&ArchiveEntry>,
        available: &mut Available,
    ) -> Result<Archive> {
        let name = name_of(source);
        let (release, entry) = self
            .release(source, &name, known)
            .context(|| format!("reading the archive {name}"))?;
        for component in &source.components {
            for index in release.indexes(component, ARCHITECTURE)? {
                let path = self.index(source, &name, &index)?;
                let origin = format!("{name} {}", index.path);
                available.add_index(unpacked(&path, &index.path)?, number, &origin)?;
            }
        }
        Ok(Archive {
            uri: source.uri.clone(),
            entry,
        })
    }

    fn release(
        &self,
        source: &ArchiveSource,
        name: &str,
        known: Option<&ArchiveEntry>,
    ) -> Result<(Release, ArchiveEntry)> {
        let url = self.url(source, "InRelease")?;
        let bytes = self.pages.optional_bytes(&url)?;
        let bytes = bytes.ok_or_else(|| {
            Error::failed(format!("{url} is not there")).with_hint(
                "look at the files in /etc/apt/sources.list.d of the base, or try again later",
            )
        })?;
        let (text, verified) = self.text(source, name, &bytes)?;
        let release = Release::parse(&text, &format!("InRelease of {name}"))?;
        refuse_old(&release, name, known)?;
        let entry = ArchiveEntry {
            name: name.to_owned(),
            date: Moment(release.date),
            sha256: Digest::of_bytes(&bytes),
            verified,
        };
        Ok((release, entry))
    }

    /// The text of an `InRelease`, and whose signature it has.
    fn text(
        &self,
        source: &ArchiveSource,
        name: &str,
        bytes: &[u8],
    ) -> Result<(String, Vec<Verified>)> {
        if self.signatures.is_skipped(name) {
            return Ok((unsigned(bytes), Vec::new()));
        }
        let purpose = purpose(source).ok_or_else(|| unknown_archive(name))?;
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let (text, verified) = self.signatures.of_text(name, bytes, purpose, &keys)?;
        Ok((text, vec![verified]))
    }

    /// The index in the cache. Under its digest it is to be had also while a mirror is updated.
    fn index(&self, source: &ArchiveSource, name: &str, index: &IndexFile) -> Result<PathBuf> {
        let plain = self.url(source, &index.path)?;
        let by_hash = index.by_hash.as_ref();
        let by_hash = by_hash.map(|path| self.url(source, path)).transpose()?;
        let (location, also) = match by_hash {
            Some(url) => (url, vec![plain]),
            None => (plain, Vec::new()),
        };
        self.store.fetch(&Pin {
            name: format!("index of {name}"),
            description: format!("{name} {}", index.path),
            location: Location::Url(location),
            also,
            size: Some(index.size),
            sha256: index.sha256,
            // A mirror that is being updated, not a pin that moved.
            verified: vec![Verified::Given],
            resolved: clock::now(),
            image: ImageFacts::default(),
        })
    }

    fn url(&self, source: &ArchiveSource, path: &str) -> Result<Url> {
        let text = format!("{}/dists/{}/{path}", source.uri, source.suite);
        self.store.options.mirrored(&Url::parse(&text)?)
    }
}

/// What messages and the lock file call an archive.
pub(super) fn name_of(source: &ArchiveSource) -> String {
    format!("{} {}", source.uri, source.suite)
}

/// Whose signature an archive needs, by the keyring that the base wants for it; `None`: neither
/// Debian's nor Raspberry Pi's.
pub(super) fn purpose(source: &ArchiveSource) -> Option<Purpose> {
    let keyrings: Vec<&str> = source
        .signed_by
        .iter()
        .filter_map(|signed_by| match signed_by {
            SignedBy::Path(path) => Some(path.as_str()),
            SignedBy::Fingerprint(_) | SignedBy::Key(_) => None,
        })
        .collect();
    let is_of = |who: &str| {
        keyrings.iter().any(|path| path.contains(who))
            || (source.signed_by.is_empty() && source.uri.contains(who))
    };
    if is_of("raspberrypi") {
        Some(Purpose::RaspberryPiArchive)
    } else if !is_of("debian") {
        None
    } else if source.suite.ends_with("-security") {
        Some(Purpose::DebianSecurity)
    } else {
        Some(Purpose::Debian)
    }
}

fn unknown_archive(name: &str) -> Error {
    Error::refused(format!("nobody is pinned who signs the archive {name}"))
        .with_hint("name its key in IMGBUILD_TRUST, or take it out of the base")
}

/// The text without the armour around it, for those who skip the signature.
fn unsigned(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let body = text
        .strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----")
        .and_then(|rest| rest.split_once("\n\n"))
        .map_or(&*text, |(_, body)| body);
    let end = body.find("-----BEGIN PGP SIGNATURE-----");
    body[..end.unwrap_or(body.len())].to_owned()
}

/// An index that is out of date, or older than one that was seen, hides updates.
fn refuse_old(release: &Release, name: &str, known: Option<&ArchiveEntry>) -> Result<()> {
    if let Some(known) = known
        && release.date < known.date.0
    {
        return Err(Error::verification(format!(
            "the index of {name} is of {}, and imgbuild.lock has seen that of {}",
            Moment(release.date),
            known.date
        ))
        .with_hint("a mirror is behind, or somebody hides updates: try again later, or from another network"));
    }
    match release.valid_until {
        Some(until) if until < clock::now() => Err(Error::verification(format!(
            "the index of {name} expired on {}",
            clock::date_of(until)
        ))
        .with_hint("the mirror is behind, or the clock of this computer is wrong")),
        _ => Ok(()),
    }
}

fn unpacked(path: &Path, name: &str) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).context(|| format!("cannot read {}", path.display()))?;
    let reader = BufReader::with_capacity(1 << 16, file);
    Ok(match name.rsplit_once('.') {
        Some((_, "xz")) => Box::new(BufReader::new(XzDecoder::new(reader))),
        Some((_, "gz")) => Box::new(BufReader::new(MultiGzDecoder::new(reader))),
        _ => Box::new(reader),
    })
}
