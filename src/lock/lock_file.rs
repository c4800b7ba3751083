//! `imgbuild.lock`: what requests were found to mean, kept beside the profiles.
//!
//! TOML with arrays of tables, sorted, one value a line, so that a pin that moves is one hunk of a
//! diff. Every entry keeps the request it answers: that makes out of date decidable.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::entries::{
    ArchiveEntry, FileEntry, ImageEntry, PackageEntry, PackageSet, PinnedImage, PinnedPackage,
};
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};

/// Its name.
pub const LOCK_FILE: &str = "imgbuild.lock";
const VERSION: u32 = 1;
const HEAD: &str = "\
# Written by imgbuild: what each request was found to mean. Commit it with the profiles.
# `imgbuild update` moves it; nothing else does.

";

/// The kinds of files in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    Base,
    Payload,
}

/// What is in an `imgbuild.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    /// SHA-256 of the certificates of authorities in secrets.toml, by their names there. The file itself is in
    /// nobody's repository: this tells that it is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authority: BTreeMap<String, Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<FileEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload: Vec<FileEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archive: Vec<ArchiveEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_set: Vec<PackageSet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package: Vec<PackageEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image: Vec<ImageEntry>,
}

/// The version alone, whatever else there is.
#[derive(Deserialize)]
struct VersionOnly {
    version: Option<toml::Value>,
}

impl Default for LockFile {
    fn default() -> Self {
        Self {
            version: VERSION,
            authority: BTreeMap::new(),
            base: Vec::new(),
            payload: Vec::new(),
            archive: Vec::new(),
            package_set: Vec::new(),
            package: Vec::new(),
            image: Vec::new(),
        }
    }
}

impl LockFile {
    /// Reads `text`; `place` names the file in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let broken = |error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Error::usage(format!("{place}:{line}: {}", error.message())).with_hint(
                "restore the file from git, or remove it and run `imgbuild update` to pin everything anew",
            )
        };
        let found: VersionOnly = toml::from_str(text).map_err(broken)?;
        match found.version.as_ref().and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(VERSION) => {}
            Some(version) if version > i64::from(VERSION) => {
                return Err(Error::usage(format!(
                    "{place} is of version {version}, and this imgbuild knows version {VERSION}"
                ))
                .with_hint("update imgbuild"));
            }
            _ => {
                return Err(Error::usage(format!("{place}: `version` is not {VERSION}"))
                    .with_hint("restore the file from git"));
            }
        }
        let file: Self = toml::from_str(text).map_err(broken)?;
        file.check(place)?;
        Ok(file)
    }

    /// The file as text.
    pub fn render(&self) -> Result<String> {
        let mut sorted = self.clone();
        sorted.sort();
        let text = toml::to_string_pretty(&sorted).context(|| format!("writing {LOCK_FILE}"))?;
        Ok(format!("{HEAD}{text}"))
    }

    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The files of a kind.
    pub fn files(&self, kind: FileKind) -> &Vec<FileEntry> {
        match kind {
            FileKind::Base => &self.base,
            FileKind::Payload => &self.payload,
        }
    }

    /// The same, to change.
    pub fn files_mut(&mut self, kind: FileKind) -> &mut Vec<FileEntry> {
        match kind {
            FileKind::Base => &mut self.base,
            FileKind::Payload => &mut self.payload,
        }
    }

    /// The answer to a request.
    pub fn file(&self, kind: FileKind, name: &str, request: &str) -> Option<&FileEntry> {
        let mut files = self.files(kind).iter();
        files.find(|entry| entry.name == name && entry.request == request)
    }

    /// The package with this key.
    pub fn package(&self, key: &str) -> Option<&PackageEntry> {
        self.package.iter().find(|package| package.key() == key)
    }

    /// The packages of a set.
    pub fn packages_of(&self, set: &PackageSet) -> Vec<PackageEntry> {
        let found = set.install.iter().filter_map(|key| self.package(key));
        found.cloned().collect()
    }

    /// What `wishes` came to on the base of this name when it was last looked at.
    pub fn shown_packages(&self, base: &str, wishes: &[String]) -> Vec<PinnedPackage> {
        let mut sets = self.package_set.iter();
        let set = sets.find(|set| set.base == base && set.request == wishes);
        set.map(|set| set.shown(&self.packages_of(set)))
            .unwrap_or_default()
    }

    /// The image of this name, in full.
    pub fn image(&self, name: &str) -> Option<&ImageEntry> {
        self.image.iter().find(|image| image.name == name)
    }

    /// What is pinned of the images with these names, in full.
    pub fn shown_images(&self, names: &BTreeSet<String>) -> Vec<PinnedImage> {
        let found = names.iter().filter_map(|name| self.image(name));
        found.map(ImageEntry::shown).collect()
    }

    /// The names by which pins can be told to move.
    pub fn names(&self) -> BTreeSet<String> {
        let files = self
            .base
            .iter()
            .chain(&self.payload)
            .map(|entry| &entry.name);
        let packages = self.package.iter().map(|package| &package.name);
        let images = self.image.iter().map(|image| &image.name);
        files.chain(packages).chain(images).cloned().collect()
    }

    /// The digests of all files that are pinned; of images those of their manifests.
    pub fn digests(&self) -> BTreeSet<Digest> {
        let files = self
            .base
            .iter()
            .chain(&self.payload)
            .map(|entry| entry.sha256);
        files
            .chain(self.package.iter().map(|package| package.sha256))
            .chain(self.image.iter().map(|image| image.sha256))
            .collect()
    }

    /// Removes packages that no set installs.
    pub fn drop_unused_packages(&mut self) {
        let used: BTreeSet<&String> = self
            .package_set
            .iter()
            .flat_map(|set| &set.install)
            .collect();
        self.package.retain(|package| used.contains(&package.key()));
    }

    fn sort(&mut self) {
        let file = |entry: &FileEntry| (entry.name.clone(), entry.request.clone());
        self.base.sort_by_key(file);
        self.payload.sort_by_key(file);
        self.archive.sort_by(|a, b| a.name.cmp(&b.name));
        self.package_set
            .sort_by(|a, b| (&a.base, &a.request, a.status).cmp(&(&b.base, &b.request, b.status)));
        self.package.sort_by_key(PackageEntry::key);
        self.image.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Nothing stands in it twice, and sets install packages that are in it.
    fn check(&self, place: &str) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::usage(format!("{place}: {what}")).with_hint(
                "git may have merged two versions of it: restore one of them, then run `imgbuild update`",
            ))
        };
        let files = [("base", &self.base), ("payload", &self.payload)];
        let mut seen = BTreeSet::new();
        for (kind, entry) in files
            .into_iter()
            .flat_map(|(kind, entries)| entries.iter().map(move |entry| (kind, entry)))
        {
            if !seen.insert((kind, entry.name.as_str(), entry.request.as_str())) {
                return refuse(format!(
                    "{kind} {} is pinned twice for {}",
                    entry.name, entry.request
                ));
            }
        }
        let mut keys = BTreeSet::new();
        for package in &self.package {
            if !keys.insert(package.key()) {
                return refuse(format!("package {} is pinned twice", package.key()));
            }
        }
        let mut images = BTreeSet::new();
        for image in &self.image {
            if !images.insert(&image.name) {
                return refuse(format!("image {} is pinned twice", image.name));
            }
        }
        for set in &self.package_set {
            let replaced = set.upgrade.iter().map(|upgrade| &upgrade.package);
            let first = set.before.iter().flatten();
            let named = set.install.iter().chain(replaced).chain(first);
            for key in named {
                if !keys.contains(key) {
                    return refuse(format!(
                        "package {key} is to be installed, and is not pinned"
                    ));
                }
            }
        }
        Ok(())
    }
}
