//! What a registry answers when it is asked for a manifest: one of an image, or an index of several.
//!
//! OCI image-spec 1.1 (manifest.md, image-index.md) and docker's schema 2, which differ in media types
//! alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, Result};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Configurations of images; others are of charts and the like.
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// All that is understood, as a value of `Accept`. Without the indexes, registries answer 404.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Bytes of a manifest at the most (distribution-spec: registries take 4 MiB).
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// A blob or a manifest, as documents name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// Its own.
    pub media_type: String,
    pub config: Descriptor,
    /// Each once, in the order of their first.
    pub layers: Vec<Descriptor>,
}

/// What is in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    entries: Vec<(Descriptor, Option<Platform>)>,
}

/// What a registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Image(ImageManifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

impl Document {
    /// Reads `bytes`, which the registry says are `media_type`; `name` is the image, for messages. Errors
    /// are of kind `Failed`.
    pub fn read(bytes: &[u8], media_type: Option<&str>, name: &str) -> Result<Self> {
        let raw: RawDocument = serde_json::from_slice(bytes).map_err(|error| {
            broken(
                name,
                &format!("what the registry answered is no manifest: {error}"),
            )
        })?;
        if raw.schema_version != 2 {
            return Err(broken(
                name,
                &format!(
                    "its manifest has schema version {}, and only 2 is understood",
                    raw.schema_version
                ),
            ));
        }
        let media_type = raw.media_type.as_deref().or(media_type);
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        match (media_type, raw.config, raw.layers, raw.manifests) {
            // One that can be read both ways would be checked as one and used as the other
            // (CVE-2021-41190).
            (_, Some(_), _, Some(_)) | (_, _, Some(_), Some(_)) => {
                Err(broken(name, "its manifest is an index as well"))
            }
            (None | Some(OCI_INDEX | DOCKER_LIST), None, None, Some(entries)) => {
                index(entries, name)
            }
            (None, Some(config), Some(layers), None) => image(OCI_MANIFEST, config, layers, name),
            (Some(OCI_MANIFEST | DOCKER_MANIFEST), Some(config), Some(layers), None) => {
                image(media_type.unwrap_or(OCI_MANIFEST), config, layers, name)
            }
            (Some(other), ..) => Err(broken(
                name,
                &format!("its manifest is not understood: {other}"),
            )),
            (None, ..) => Err(broken(name, "its manifest names neither layers nor images")),
        }
    }
}

impl ImageManifest {
    /// All that it names, each once: the configuration first.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Bytes of all that it names.
    pub fn size(&self) -> u64 {
        self.blobs()
            .fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

impl Index {
    /// The manifest for a node. An index without is an error that names what it is for.
    pub fn for_nodes(&self, name: &str) -> Result<&Descriptor> {
        let mut entries = self.entries.iter();
        let found =
            entries.find(|(_, platform)| platform.as_ref().is_some_and(Platform::is_for_nodes));
        found.map(|(descriptor, _)| descriptor).ok_or_else(|| {
            let platforms = self
                .entries
                .iter()
                .filter_map(|(_, platform)| platform.as_ref());
            let known: BTreeSet<String> = platforms
                .filter(|platform| platform.is_known())
                .map(Platform::to_string)
                .collect();
            not_for_nodes(name, &known.into_iter().collect::<Vec<_>>())
        })
    }
}

/// The platform that the configuration of an image says it is for.
pub fn config_platform(bytes: &[u8], name: &str) -> Result<Platform> {
    serde_json::from_slice(bytes).map_err(|error| {
        broken(
            name,
            &format!("its configuration is not understood: {error}"),
        )
    })
}

/// That a node cannot run the image `name`, which is for `platforms`.
pub fn not_for_nodes(name: &str, platforms: &[String]) -> Error {
    let list = match platforms {
        [] => "names no platform at all".to_owned(),
        platforms => format!("is for {}", platforms.join(", ")),
    };
    Error::failed(format!(
        "{name} has no image for {}: it {list}",
        Platform::of_nodes()
    ))
    .with_hint("take another tag or another image that has one: nodes are linux/arm64")
}

fn image(
    media_type: &str,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
    name: &str,
) -> Result<Document> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(broken(
            name,
            &format!("it is not a container image, but {}", config.media_type),
        ));
    }
    let config = config.checked(name)?;
    let mut seen = BTreeSet::from([config.digest]);
    let mut all = Vec::new();
    for layer in layers {
        if layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable") {
            return Err(broken(name, "it has layers that no registry may hand out"));
        }
        let layer = layer.checked(name)?;
        if seen.insert(layer.digest) {
            all.push(layer);
        }
    }
    Ok(Document::Image(ImageManifest {
        media_type: media_type.to_owned(),
        config,
        layers: all,
    }))
}

fn index(entries: Vec<RawDescriptor>, name: &str) -> Result<Document> {
    let entries = entries.into_iter().map(|entry| {
        let platform = entry.platform.clone();
        Ok((entry.checked(name)?, platform))
    });
    Ok(Document::Index(Index {
        entries: entries.collect::<Result<_>>()?,
    }))
}

impl RawDescriptor {
    fn checked(self, name: &str) -> Result<Descriptor> {
        let hex = self.digest.strip_prefix("sha256:");
        let digest = hex.filter(|hex| hex.len() == 64).and_then(Digest::parse);
        let digest = digest.ok_or_else(|| {
            broken(
                name,
                &format!("`{}` in its manifest is not a sha256", self.digest),
            )
        })?;
        Ok(Descriptor {
            media_type: self.media_type,
            digest,
            size: self.size,
        })
    }
}

/// A document as it stands in an archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexOut {
    pub schema_version: u32,
    pub media_type: &'static str,
    pub manifests: Vec<EntryOut>,
}

/// An entry of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryOut {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub annotations: std::collections::BTreeMap<&'static str, String>,
    pub platform: Platform,
}

impl IndexOut {
    pub fn new(manifests: Vec<EntryOut>) -> Self {
        Self {
            schema_version: 2,
            media_type: OCI_INDEX,
            manifests,
        }
    }
}

fn broken(name: &str, why: &str) -> Error {
    Error::failed(format!("{name}: {why}"))
        .with_hint("check that the name and tag are those of a container image for Linux")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(media_type: &str, digit: char, size: u64) -> Value {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn manifest() -> Value {
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 'b', 20);
        json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIGS[0], 'a', 3), "layers": [layer, layer],
        })
    }

    fn read(value: &Value) -> Result<Document> {
        Document::read(value.to_string().as_bytes(), None, "x")
    }

    fn index_of(platforms: &[(&str, &str, Option<&str>)]) -> Value {
        let entries = platforms
            .iter()
            .zip('a'..)
            .map(|((os, architecture, variant), digit)| {
                let mut entry = descriptor(OCI_MANIFEST, digit, 7);
                entry["platform"] = json!({"os": os, "architecture": architecture});
                if let Some(variant) = variant {
                    entry["platform"]["variant"] = json!(variant);
                }
                entry
            });
        json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()})
    }

    #[test]
    fn a_layer_that_is_there_twice_counts_once() {
        let Document::Image(image) = read(&manifest()).unwrap() else {
            panic!("no image");
        };
        assert_eq!(
            (image.layers.len(), image.blobs().count(), image.size()),
            (1, 2, 23)
        );
    }

    #[test]
    fn of_an_index_the_entry_for_nodes_is_taken() {
        for variant in [None, Some(""), Some("v8")] {
            let found = index_of(&[("linux", "amd64", None), ("linux", "arm64", variant)]);
            let Document::Index(index) = read(&found).unwrap() else {
                panic!("no index");
            };
            assert!(
                index
                    .for_nodes("x")
                    .unwrap()
                    .digest
                    .to_string()
                    .starts_with("bbb")
            );
        }
        let none = index_of(&[
            ("unknown", "unknown", None),
            ("linux", "arm", Some("v7")),
            ("linux", "arm64", Some("v9")),
            ("windows", "arm64", None),
        ]);
        let Document::Index(index) = read(&none).unwrap() else {
            panic!("no index");
        };
        let error = index.for_nodes("x").unwrap_err().to_string();
        let all =
            "x has no image for linux/arm64: it is for linux/arm/v7, linux/arm64/v9, windows/arm64";
        assert_eq!(error, all);
    }

    #[test]
    fn what_is_no_image_is_told() {
        let change = |key: &str, value: Value| {
            let mut changed = manifest();
            changed[key] = value;
            changed
        };
        let foreign = descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            'c',
            1,
        );
        for (wrong, word) in [
            (json!({}), "no manifest"),
            (json!([]), "no manifest"),
            (json!({"schemaVersion": 1}), "version 1"),
            (json!({"schemaVersion": 2}), "neither"),
            (change("mediaType", json!("text/html")), "text/html"),
            (change("manifests", json!([])), "index as well"),
            (
                change(
                    "config",
                    descriptor("application/vnd.cncf.helm.config.v1+json", 'a', 1),
                ),
                "helm",
            ),
            (change("layers", json!([foreign])), "hand out"),
            (
                change(
                    "layers",
                    json!([{"mediaType": "a", "digest": "sha512:00", "size": 1}]),
                ),
                "sha512:00",
            ),
            (
                change(
                    "layers",
                    json!([{"mediaType": "a", "digest": "sha256:00", "size": -1}]),
                ),
                "no manifest",
            ),
        ] {
            let error = read(&wrong).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn the_type_may_come_from_the_answers_head() {
        let mut bare = manifest();
        bare.as_object_mut().unwrap().remove("mediaType");
        let bytes = bare.to_string();
        let read = |media_type| Document::read(bytes.as_bytes(), Some(media_type), "x");
        let Document::Image(image) =
            read("application/vnd.docker.distribution.manifest.v2+json; q=1").unwrap()
        else {
            panic!("no image");
        };
        assert_eq!(image.media_type, DOCKER_MANIFEST);
        assert!(read(OCI_INDEX).is_err());
    }
}
