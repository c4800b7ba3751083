//! The plan of one node.

use std::collections::BTreeSet;

use super::edit::{Action, Content, Edit};
use super::order::sort;
use super::payload::PayloadRef;
use crate::config::{DiskTable, FirstBoot};
use crate::lock::{PinnedImage, PinnedPackage};

/// Everything that turns a base into one node.
#[derive(Debug, Clone)]
pub struct Plan {
    pub profile: String,
    pub hostname: String,
    pub identity: FirstBoot,
    /// Names the seed: cloud-init runs again when it changes.
    pub instance_id: String,
    /// In the order in which they are carried out.
    pub edits: Vec<Edit>,
    /// Debian packages that the node needs, as roles ask for them ([`PackageWish`](crate::lock::PackageWish)),
    /// sorted. The base may have some.
    pub packages: Vec<String>,
    /// What those came to, where that is pinned.
    pub pinned: Vec<PinnedPackage>,
    /// Container images that roles name, in full.
    pub images: BTreeSet<String>,
    /// Whether those that manifests of the project's nodes name are wanted as well.
    pub images_of_manifests: bool,
    /// What is on the card of them, where that is pinned.
    pub pinned_images: Vec<PinnedImage>,
    /// Bytes of the whole image, when the profile fixes them.
    pub image_size: Option<u64>,
    /// Bytes that stay free in the root file system.
    pub spare: u64,
    /// With a GPT, the `PARTUUID`s in fstab and cmdline.txt follow.
    pub table: DiskTable,
    /// What to do, and what answers where, once the node runs. Secrets are masked.
    pub next: Vec<String>,
}

impl Plan {
    /// Adds edits in their places.
    pub fn add(&mut self, edits: Vec<Edit>) {
        self.edits.extend(edits);
        sort(&mut self.edits);
    }

    /// Whether an image made after it holds what only its owner should read.
    pub fn holds_secrets(&self) -> bool {
        self.edits.iter().any(|edit| match &edit.action {
            Action::Write(Content::Bytes(bytes), _) => bytes.is_secret(),
            Action::Account(account) => account.password_hash.is_some(),
            _ => false,
        })
    }

    /// The payloads it needs, each once.
    pub fn payloads(&self) -> Vec<&PayloadRef> {
        let mut found: Vec<&PayloadRef> = self
            .edits
            .iter()
            .filter_map(|edit| match &edit.action {
                Action::Write(Content::Payload(payload), _) | Action::Unpack(payload) => {
                    Some(payload.as_ref())
                }
                _ => None,
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}
