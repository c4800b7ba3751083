//! Small images with everything that a registry has of them.

use serde_json::{Value, json};

use crate::common::tools::sha256;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image for one platform.
#[derive(Clone)]
pub struct TestImage {
    pub platform: (&'static str, &'static str),
    /// The configuration, then the layers.
    pub blobs: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// A tar with one file, as layers are.
fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

impl TestImage {
    /// An image for linux on `architecture` with a layer for each of `contents`.
    pub fn new(architecture: &'static str, contents: &[&[u8]]) -> Self {
        let layers: Vec<Vec<u8>> = contents
            .iter()
            .map(|content| layer("file", content))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>(),
            },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config),
            "layers": layers.iter().map(|bytes| descriptor(LAYER, bytes)).collect::<Vec<_>>(),
        });
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self {
            platform: ("linux", architecture),
            blobs,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        let blobs: usize = self.blobs.iter().map(Vec::len).sum();
        (blobs + self.manifest.len()) as u64
    }
}

/// The index of `images`, with an attestation as builders add.
pub fn index(images: &[TestImage]) -> Vec<u8> {
    let entries = images.iter().map(|image| {
        let mut entry = descriptor(MANIFEST, &image.manifest);
        entry["platform"] = json!({"os": image.platform.0, "architecture": image.platform.1});
        entry
    });
    let mut attestation = descriptor(MANIFEST, b"an attestation");
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let entries: Vec<Value> = entries.chain([attestation]).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}
