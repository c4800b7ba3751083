//! Kubernetes manifests as data: read, changed as roles ask for, written, checked for what k3s demands of
//! the files in its manifests folder, and searched for the container images that they name.
//!
//! k3s applies every file of `/var/lib/rancher/k3s/server/manifests` in the order of their paths, again and
//! again until none fails, so a file that can never succeed is worse than one that is not there
//! (k3s, `pkg/deploy/controller.go`).

mod addon;
mod documents;
mod edits;
mod images;
mod namespace;
mod object;
mod pod_spec;

pub use addon::{MANIFESTS_FOLDER, ManifestFile, check_files, is_manifest};
pub use documents::{read, write};
pub use edits::{ContainerEdit, ManifestEdits, ObjectEdit};
pub use images::images;
pub use object::Object;
