//! What is kept of every request that was answered.

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::pin::{ImageFacts, Pin};
use super::request::Location;
use super::verified::Verified;
use crate::digest::Digest;
use crate::error::Result;

/// A file and what was asked for: a base or a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub name: String,
    /// What was asked for. A URL is without its credentials.
    pub request: String,
    /// Where the file was found, when that is not what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub sha256: Digest,
    /// What it is, for people, when that is more than its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub locked: Moment,
    pub verified: Vec<Verified>,
    #[serde(default, skip_serializing_if = "ImageFacts::is_empty")]
    pub image: ImageFacts,
}

impl FileEntry {
    /// The answer `pin` to `request`.
    pub fn of(name: &str, request: &str, pin: &Pin) -> Self {
        let url = pin.location.to_string();
        Self {
            name: name.to_owned(),
            request: request.to_owned(),
            url: (url != request).then_some(url),
            size: pin.size,
            sha256: pin.sha256,
            description: (pin.description != name).then(|| pin.description.clone()),
            locked: Moment(pin.resolved),
            verified: pin.verified.clone(),
            image: pin.image,
        }
    }

    /// The pin. `asked` is the location that was asked for, with its credentials.
    pub fn pin(&self, asked: Option<&Location>) -> Result<Pin> {
        let location = match (asked, &self.url) {
            (Some(asked), None) => asked.clone(),
            (_, url) => Location::parse(url.as_deref().unwrap_or(&self.request))?,
        };
        let description = self.description.as_ref().unwrap_or(&self.name);
        Ok(Pin {
            name: self.name.clone(),
            description: description.clone(),
            location,
            also: Vec::new(),
            size: self.size,
            sha256: self.sha256,
            verified: self.verified.clone(),
            resolved: self.locked.0,
            image: self.image,
        })
    }
}

/// What was seen of an archive of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveEntry {
    /// Its URL and suite.
    pub name: String,
    /// The date in its InRelease: an older one is not believed later.
    pub date: Moment,
    /// Of the InRelease file.
    pub sha256: Digest,
    pub verified: Vec<Verified>,
}

/// A set of Debian packages that was asked for together, and what it came to on one base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    /// The base that they were asked for on, as it is called.
    pub base: String,
    /// The names that were asked for, sorted.
    pub request: Vec<String>,
    /// Of the base's list of installed packages, which the answer depends on.
    pub status: Digest,
    pub locked: Moment,
    /// Keys of the packages to install, sorted: `samba=2:4.22.1+dfsg-1:arm64`.
    pub install: Vec<String>,
    /// Of those, the ones that replace what the base has, with its version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade: Vec<Upgrade>,
    /// Of those, the ones that must be installed before the others, batch by batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Vec<String>>,
}

/// An installed package that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    pub package: String,
    pub from: String,
}

/// A package as plans show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedPackage {
    pub name: String,
    pub version: String,
    /// The version that the base has, where it is replaced.
    pub replaces: Option<String>,
}

/// A file with a Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// URL and suite of the archive that it is from.
    pub archive: String,
    /// Where the archive has it.
    pub url: String,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
    pub locked: Moment,
}

/// A container image, as it is for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// What was asked for, in full: `docker.io/library/nginx:1.27`.
    pub name: String,
    /// Of its manifest for linux/arm64, which names everything else of it.
    pub sha256: Digest,
    /// Of the index that the name stood for, when it stood for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Bytes of its manifest, configuration and layers.
    pub size: u64,
    pub locked: Moment,
    pub verified: Vec<Verified>,
}

/// A container image as plans show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedImage {
    pub name: String,
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

impl ImageEntry {
    /// The same, as plans show it.
    pub fn shown(&self) -> PinnedImage {
        PinnedImage {
            name: self.name.clone(),
            sha256: self.sha256,
            size: self.size,
        }
    }
}

impl PackageSet {
    /// `packages` of this set, as plans show them.
    pub fn shown(&self, packages: &[PackageEntry]) -> Vec<PinnedPackage> {
        let shown = |package: &PackageEntry| {
            let key = package.key();
            let mut upgrades = self.upgrade.iter();
            let upgrade = upgrades.find(|upgrade| upgrade.package == key);
            PinnedPackage {
                name: package.name.clone(),
                version: package.version.clone(),
                replaces: upgrade.map(|upgrade| upgrade.from.clone()),
            }
        };
        packages.iter().map(shown).collect()
    }
}

impl PackageEntry {
    /// What it is, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Names one version of it among all.
    pub fn key(&self) -> String {
        format!("{}={}:{}", self.name, self.version, self.architecture)
    }
}
