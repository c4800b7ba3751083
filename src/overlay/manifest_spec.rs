//! `[[manifest]]` of role.toml: Kubernetes objects from upstream, and what is changed of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::payload_spec::Payload;

/// A manifest that is fetched at build time and changed on the way into the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSpec {
    pub name: String,
    pub when: Option<String>,
    pub each: Option<String>,
    pub url: Option<String>,
    pub file: Option<String>,
    pub sums: Option<String>,
    pub sha256: Option<String>,
    #[serde(default)]
    pub pin: bool,
    /// Template: where it goes.
    pub path: String,
    /// Template: the namespace that its objects move to.
    pub namespace: Option<String>,
    #[serde(default)]
    pub edit: Vec<EditSpec>,
}

/// A change of the objects with this kind and name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EditSpec {
    pub kind: Option<String>,
    pub name: Option<String>,
    pub when: Option<String>,
    pub drop: bool,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub container: Option<String>,
    pub image: Option<String>,
    pub remove_args: Vec<String>,
    pub add_args: Vec<String>,
    pub set: BTreeMap<String, toml::Value>,
}

impl ManifestSpec {
    /// How it is fetched, and where it goes: as a payload, which only its owner reads, as k3s itself writes
    /// manifests.
    pub fn payload(&self) -> Payload {
        Payload {
            name: self.name.clone(),
            when: self.when.clone(),
            each: self.each.clone(),
            url: self.url.clone(),
            file: self.file.clone(),
            sums: self.sums.clone(),
            sha256: self.sha256.clone(),
            pin: self.pin,
            member: None,
            unpack: false,
            strip: 0,
            members: Vec::new(),
            path: self.path.clone(),
            mode: "0600".to_owned(),
            elf: None,
        }
    }
}

impl EditSpec {
    /// Whether it says what to change.
    pub fn is_change(&self) -> bool {
        self.drop
            || !self.annotations.is_empty()
            || !self.labels.is_empty()
            || self.changes_containers()
            || !self.set.is_empty()
    }

    /// Whether it is about containers.
    pub fn changes_containers(&self) -> bool {
        self.image.is_some() || !self.remove_args.is_empty() || !self.add_args.is_empty()
    }
}
