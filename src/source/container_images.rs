//! Container images: from a name to a pin, from a pin to files.

use std::fs;
use std::path::Path;

use reqwest::header::CONTENT_TYPE;

use super::cache::{write_record, write_whole};
use super::checksum::Checksum;
use super::download::Wanted;
use super::http::{self, Failure, Server, header};
use super::registry::Registry;
use super::store::Store;
use crate::clock;
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::lock::{ImageEntry, LOCK_FILE, Moment, Verified};
use crate::oci::{
    ArchivedImage, Blob, Descriptor, Document, ImageManifest, ImageName, MAX_DOCUMENT,
    config_platform, not_for_nodes,
};
use crate::url::Url;

/// Container images over a store: what a tag means today, and what was pinned.
pub struct ContainerImages<'a> {
    store: &'a Store,
}

/// What is to be brought into the cache.
struct Object<'o> {
    url: Url,
    label: String,
    digest: &'o Digest,
    size: Option<u64>,
}

impl<'a> ContainerImages<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// What `name` stands for today on a node. The manifest is in the cache afterwards.
    pub fn resolve(&self, name: &ImageName) -> Result<ImageEntry> {
        if self.store.options.offline {
            return Err(self.store.not_cached(&format!("the image {name}")));
        }
        let text = name.to_string();
        let registry = Registry::of(self.store, name);
        let url = registry.manifest(name.tag())?;
        self.note_plain(&url);
        let asked = self.store.client.retrying(|| ask(&registry, &url));
        let (bytes, media_type, promised) = asked.map_err(Failure::into_error)?;
        let digest = Digest::of_bytes(&bytes);
        must_be(name, promised.as_deref(), &digest)?;
        let document = Document::read(&bytes, media_type.as_deref(), &text)?;
        let (manifest, descriptor, index) = match document {
            Document::Index(index) => {
                let descriptor = index.for_nodes(&text)?.clone();
                let manifest =
                    self.manifest(&registry, name, &descriptor.digest, Some(descriptor.size))?;
                (manifest, descriptor, Some(digest))
            }
            Document::Image(manifest) => {
                let size = bytes.len() as u64;
                self.keep_manifest(name, &digest, &bytes)?;
                self.must_be_for_nodes(&registry, name, &manifest)?;
                let media_type = manifest.media_type.clone();
                let descriptor = Descriptor {
                    media_type,
                    digest,
                    size,
                };
                (manifest, descriptor, None)
            }
        };
        Ok(ImageEntry {
            name: text,
            sha256: descriptor.digest,
            index,
            size: manifest.size().saturating_add(descriptor.size),
            locked: Moment(clock::now()),
            verified: vec![Verified::FirstUse],
        })
    }

    /// The files of a pinned image: from the cache, or from its registry into it.
    pub fn fetch(&self, entry: &ImageEntry) -> Result<ArchivedImage> {
        let name = ImageName::parse(&entry.name).context(|| LOCK_FILE.into())?;
        let registry = Registry::of(self.store, &name);
        let manifest = self.manifest(&registry, &name, &entry.sha256, None)?;
        let path = self.store.cache.object(&entry.sha256);
        let size = len_of(&path)?;
        let mut blobs = vec![Blob {
            digest: entry.sha256,
            size,
            path,
        }];
        let count = manifest.blobs().count();
        for (number, blob) in (1..).zip(manifest.blobs()) {
            let label = format!("{name}, part {number} of {count}");
            blobs.push(self.blob(&registry, blob, label)?);
        }
        Ok(ArchivedImage {
            manifest: Descriptor {
                media_type: manifest.media_type,
                digest: entry.sha256,
                size,
            },
            name,
            blobs,
        })
    }

    /// Where the manifest of a pinned image is, for whoever wants to know what an image was made from.
    pub fn url(&self, entry: &ImageEntry) -> Result<Url> {
        let name = ImageName::parse(&entry.name).context(|| LOCK_FILE.into())?;
        let (host, repository) = (name.host(), name.repository());
        Url::parse(&format!(
            "https://{host}/v2/{repository}/manifests/sha256:{}",
            entry.sha256
        ))
    }

    /// The manifest with this digest, by way of the cache.
    fn manifest(
        &self,
        registry: &Registry<'_>,
        name: &ImageName,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<ImageManifest> {
        let object = Object {
            url: registry.manifest(&format!("sha256:{digest}"))?,
            label: format!("the manifest of {name}"),
            digest,
            size,
        };
        self.bring(registry, &object)?;
        match read_manifest(&self.store.cache.object(digest), &name.to_string())? {
            Some(manifest) => Ok(manifest),
            None => Err(
                Error::failed(format!("{name}: an index has an index in it"))
                    .with_hint("take another image, or ask its makers: nobody pulls such an image"),
            ),
        }
    }

    fn blob(&self, registry: &Registry<'_>, blob: &Descriptor, label: String) -> Result<Blob> {
        let object = Object {
            url: registry.blob(&format!("sha256:{}", blob.digest))?,
            label,
            digest: &blob.digest,
            size: Some(blob.size),
        };
        self.bring(registry, &object)?;
        let path = self.store.cache.object(&blob.digest);
        let size = len_of(&path)?;
        if size != blob.size {
            return Err(Error::verification(format!(
                "{} has {size} bytes, and its manifest says {}",
                object.label, blob.size
            ))
            .with_hint("the image was put together wrongly: take another tag"));
        }
        Ok(Blob {
            digest: blob.digest,
            size,
            path,
        })
    }

    /// Brings an object into the cache, unless it is there.
    fn bring(&self, registry: &Registry<'_>, object: &Object<'_>) -> Result<()> {
        if self.store.use_cached(object.digest) {
            return Ok(());
        }
        let wanted = Wanted {
            url: &object.url,
            name: &object.label,
            checksum: &Checksum::Sha256(*object.digest),
            size: object.size,
            hint: Some(
                "nothing was kept; a proxy or mirror on the way alters it, or the registry is damaged"
                    .to_owned(),
            ),
        };
        let _lock = self.store.download_lock(&wanted)?;
        if !self.store.has(object.digest) {
            self.store.download_from(registry, &wanted)?;
            write_record(&self.store.cache.name(object.digest), &object.label)?;
        }
        Ok(())
    }

    fn keep_manifest(&self, name: &ImageName, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.store.cache.object(digest);
        if let Some(folder) = path.parent() {
            let failed = || format!("cannot make {}", folder.display());
            fs::create_dir_all(folder).context(failed)?;
        }
        write_whole(&path, bytes)?;
        write_record(
            &self.store.cache.name(digest),
            &format!("the manifest of {name}"),
        )
    }

    /// An image that is in no index says in its configuration what it is for.
    fn must_be_for_nodes(
        &self,
        registry: &Registry<'_>,
        name: &ImageName,
        manifest: &ImageManifest,
    ) -> Result<()> {
        let text = name.to_string();
        let config = &manifest.config;
        if config.size > MAX_DOCUMENT {
            return Err(too_large(&text, config.size));
        }
        let found = self.blob(registry, config, format!("the configuration of {name}"))?;
        let bytes =
            fs::read(&found.path).context(|| format!("reading {}", found.path.display()))?;
        let platform = config_platform(&bytes, &text)?;
        match platform.is_for_nodes() {
            true => Ok(()),
            false => Err(not_for_nodes(&text, &[platform.to_string()])),
        }
    }

    fn note_plain(&self, url: &Url) {
        if url.is_plain() {
            self.store.job().progress.note(&format!(
                "{url} is read without encryption: whoever is on the way decides what is pinned"
            ));
        }
    }
}

/// Content, media type, and the digest that the registry says it has.
type Asked = (Vec<u8>, Option<String>, Option<String>);

fn ask(registry: &Registry<'_>, url: &Url) -> Result<Asked, Failure> {
    let answer = registry.get(url, &[])?;
    let text = |name: &str| header(answer.headers(), name).map(str::to_owned);
    let (media_type, promised) = (text(CONTENT_TYPE.as_str()), text("docker-content-digest"));
    Ok((
        http::read_bytes(answer, url, MAX_DOCUMENT)?,
        media_type,
        promised,
    ))
}

/// The manifest in the file at `path`; `None`: it is an index.
pub(super) fn read_manifest(path: &Path, name: &str) -> Result<Option<ImageManifest>> {
    let size = len_of(path)?;
    if size > MAX_DOCUMENT {
        return Err(too_large(name, size));
    }
    let bytes = fs::read(path).context(|| format!("reading {}", path.display()))?;
    Ok(match Document::read(&bytes, None, name)? {
        Document::Image(manifest) => Some(manifest),
        Document::Index(_) => None,
    })
}

fn must_be(name: &ImageName, promised: Option<&str>, found: &Digest) -> Result<()> {
    let promised = promised.and_then(|text| text.strip_prefix("sha256:"));
    match promised.and_then(Digest::parse) {
        Some(promised) if promised != *found => Err(Error::verification(format!(
            "the manifest of {name} has the wrong sha256: the registry says {promised}, and what came has {found}"
        ))
        .with_hint("a proxy or mirror on the way alters it: try again without")),
        _ => Ok(()),
    }
}

fn too_large(name: &str, size: u64) -> Error {
    Error::failed(format!(
        "{name}: {size} bytes are too many for a manifest or a configuration"
    ))
    .with_hint("check that the name is that of a container image")
}

fn len_of(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len())
}
