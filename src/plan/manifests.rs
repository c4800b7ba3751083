//! The Kubernetes manifests of a node.

use std::path::Path;

use super::edit::{Action, Content, Edit};
use super::payload::PayloadRef;
use crate::error::{Error, Result, ResultExt};
use crate::kubernetes::{MANIFESTS_FOLDER, ManifestFile, check_files, is_manifest, read};
use crate::lock::Location;
use crate::problem::Problem;
use crate::problems::Problems;

/// Bytes of a manifest that are read at most: the largest of those in use has a million.
const MANIFEST_BYTES: u64 = 32 << 20;

/// The text of a manifest that is a file of this computer, with its changes. None where it is elsewhere; that it
/// is missing is told when it is fetched.
pub fn local_manifest(payload: &PayloadRef) -> Result<Option<Vec<u8>>> {
    match &payload.request.location {
        Location::File(path) if path.is_file() => manifest_text(payload, path).map(Some),
        _ => Ok(None),
    }
}

/// The manifest in the file at `path`, with the changes that `payload` has for it.
pub fn manifest_text(payload: &PayloadRef, path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let read = || format!("reading {shown}");
    let len = path.metadata().context(read)?.len();
    if len > MANIFEST_BYTES {
        return Err(Error::usage(format!(
            "{shown} is no manifest: it has {len} bytes"
        )));
    }
    let bytes = std::fs::read(path).context(read)?;
    let Some(edits) = &payload.manifest else {
        return Ok(bytes);
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{shown} is no manifest: it is no UTF-8 text")))?;
    let changed = edits.apply(&text).map_err(|why| {
        Error::usage(format!("{shown}: {why}"))
            .with_hint("the role may be written for another version of it")
    })?;
    Ok(changed.into_bytes())
}

/// The manifests among `edits`, those of payloads by `load`, which may not have them, and held against what k3s
/// demands of them.
pub fn manifest_files(
    edits: &[Edit],
    load: impl Fn(&PayloadRef) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<ManifestFile>> {
    let mut problems = Problems::new();
    let mut files = Vec::new();
    for edit in edits.iter().filter(|edit| is_manifest(&edit.path)) {
        let bytes = match &edit.action {
            Action::Write(Content::Bytes(bytes), _) => Some(bytes.to_vec()),
            Action::Write(Content::Payload(payload), _) => load(payload)?,
            _ => None,
        };
        let Some(bytes) = bytes else { continue };
        match objects(edit, &bytes) {
            Ok(file) => files.push(file),
            Err(why) => problems.push(problem(&edit.origin, &edit.path, why)),
        }
    }
    // The order in which k3s applies them.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for (file, why) in check_files(&files) {
        problems.push(problem(
            &file.origin,
            &format!("{MANIFESTS_FOLDER}/{}", file.path),
            why,
        ));
    }
    problems.report()?;
    Ok(files)
}

fn objects(edit: &Edit, bytes: &[u8]) -> std::result::Result<ManifestFile, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())?;
    let below = edit.path.strip_prefix(MANIFESTS_FOLDER);
    let below = below.unwrap_or(&edit.path).trim_start_matches('/');
    Ok(ManifestFile {
        path: below.to_owned(),
        origin: edit.origin.clone(),
        objects: read(text)?,
    })
}

fn problem(role: &str, path: &str, why: String) -> Problem {
    Problem::new(format!("role {role}: {path}"), why)
}
