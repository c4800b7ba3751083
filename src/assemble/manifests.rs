//! The Kubernetes manifests of nodes, those from upstream included.

use crate::error::{Result, ResultExt};
use crate::kubernetes::ManifestFile;
use crate::patch::{LoadedPayload, Payloads};
use crate::plan::{PayloadRef, Plan, manifest_files, manifest_text};

/// The manifests of `plan`, held against what k3s demands of them.
pub fn of_plan(plan: &Plan, payloads: &Payloads) -> Result<Vec<ManifestFile>> {
    manifest_files(&plan.edits, |payload| text_of(payload, payloads))
        .context(|| format!("manifests of {}", plan.hostname))
}

fn text_of(payload: &PayloadRef, payloads: &Payloads) -> Result<Option<Vec<u8>>> {
    match payloads.get(payload) {
        Some(LoadedPayload::Bytes(bytes)) => Ok(Some(bytes.clone())),
        Some(LoadedPayload::File(path, _)) => manifest_text(payload, path).map(Some),
        Some(LoadedPayload::Tree(_) | LoadedPayload::Images(_)) | None => Ok(None),
    }
}
