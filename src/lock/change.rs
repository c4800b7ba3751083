//! What moved in the lock file.

use std::fmt;

use super::entries::{FileEntry, ImageEntry, PackageEntry};
use crate::digest::Digest;

/// One thing that is pinned, was, or is pinned otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is called.
    pub name: String,
    /// What was pinned.
    pub old: Option<String>,
    /// What is pinned now.
    pub new: Option<String>,
}

impl Change {
    /// A file that is pinned anew; `None`: what it was or is did not change.
    pub fn of_file(old: Option<&FileEntry>, new: &FileEntry) -> Option<Self> {
        let (before, after) = match old {
            None => (None, summary(new)),
            Some(old) if old.sha256 == new.sha256 && old.request == new.request => return None,
            Some(old) if summary(old) == summary(new) => (Some(content(old)), content(new)),
            Some(old) => (Some(summary(old)), summary(new)),
        };
        Some(Self {
            name: new.name.clone(),
            old: before,
            new: Some(after),
        })
    }

    /// A file that is no longer pinned.
    pub fn removed_file(old: &FileEntry) -> Self {
        Self {
            name: old.name.clone(),
            old: Some(summary(old)),
            new: None,
        }
    }

    /// A package whose version moved, that is new, or that is gone.
    pub fn of_package(old: Option<&PackageEntry>, new: Option<&PackageEntry>) -> Option<Self> {
        let name = &old.or(new)?.name;
        let version = |package: Option<&PackageEntry>| package.map(|found| found.version.clone());
        let (old, new) = (version(old), version(new));
        (old != new).then(|| Self {
            name: format!("package {name}"),
            old,
            new,
        })
    }

    /// An image that is pinned, was, or is pinned otherwise; `None`: a node gets the same.
    pub fn of_image(old: Option<&ImageEntry>, new: Option<&ImageEntry>) -> Option<Self> {
        let name = &old.or(new)?.name;
        let digest = |image: Option<&ImageEntry>| image.map(|found| found.sha256);
        let (old, new) = (digest(old), digest(new));
        (old != new).then(|| Self {
            name: format!("image {name}"),
            old: old.map(short),
            new: new.map(short),
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{name}: {old} → {new}"),
            (None, Some(new)) => write!(f, "{name}: {new}"),
            (Some(old), None) => write!(f, "{name}: {old} is no longer pinned"),
            (None, None) => f.write_str(name),
        }
    }
}

fn summary(entry: &FileEntry) -> String {
    match &entry.description {
        Some(description) => description.clone(),
        None => entry.url.as_ref().unwrap_or(&entry.request).clone(),
    }
}

/// Enough of the digest to tell two files apart.
fn content(entry: &FileEntry) -> String {
    short(entry.sha256)
}

fn short(digest: Digest) -> String {
    let digits: String = digest.to_string().chars().take(12).collect();
    format!("sha256 {digits}…")
}
