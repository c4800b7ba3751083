//! Container images: pinned, fetched, and on the card in one archive that k3s imports at its start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{manifests, payloads};
use crate::error::{Result, ResultExt};
use crate::kubernetes;
use crate::lock::{ImageEntry, Location, PayloadRequest};
use crate::oci::{Archive, ArchivedImage, ImageName};
use crate::overlay::Part;
use crate::patch::{LoadedPayload, Payloads};
use crate::plan::{Action, Attr, Content, Edit, FileBytes, PayloadRef, Plan, When};
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::source::Pins;

/// Where k3s looks for archives. It imports all of them before it starts any pod.
const ARCHIVE: &str = "/var/lib/rancher/k3s/agent/images/imgbuild.tar";
/// Where k3s notes what it has imported. It fills the file and does not make it: without it every start
/// would import everything again.
const NOTES: &str = "/var/lib/rancher/k3s/agent/images/.cache.json";
/// Who asks for these edits, as plans print it.
const ORIGIN: &str = "images";

/// The images of `names`, pinned, sorted, each once.
pub fn pinned(names: &BTreeSet<String>, pins: &Pins<'_>) -> Result<Vec<ImageEntry>> {
    let names: BTreeSet<ImageName> = names
        .iter()
        .map(|name| ImageName::parse(name))
        .collect::<Result<_>>()?;
    names.iter().map(|name| pins.image(name)).collect()
}

/// The images that the manifests of the cluster name, if a node of the project wants them: a pod may run on any.
pub fn of_manifests(project: &Project, pins: &Pins<'_>) -> Result<BTreeSet<String>> {
    let nodes = project.select(&[], true)?;
    let plans = project.plans(&nodes, SecretMode::Redact)?;
    if !plans.iter().any(|plan| plan.images_of_manifests) {
        return Ok(BTreeSet::new());
    }
    let mut names = BTreeSet::new();
    for plan in &plans {
        let mut loaded = Payloads::new();
        payloads::load_manifests(plan, pins, &mut loaded)?;
        for file in manifests::of_plan(plan, &loaded)? {
            for name in kubernetes::images(&file.objects) {
                let name = ImageName::parse(&name).context(|| {
                    format!("{} of the role {}: image `{name}`", file.path, file.origin)
                })?;
                names.insert(name.to_string());
            }
        }
    }
    Ok(names)
}

/// The files of `images`, in the cache.
pub fn fetched(images: &[ImageEntry], pins: &Pins<'_>) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for image in images {
        let files = pins.fetch_image(image)?;
        paths.extend(files.blobs.into_iter().map(|blob| blob.path));
    }
    Ok(paths)
}

/// Puts the images with these names on the card, for k3s to import.
pub fn add(
    plan: &mut Plan,
    names: &BTreeSet<String>,
    pins: &Pins<'_>,
    payloads: &mut Payloads,
) -> Result<()> {
    let entries = pinned(names, pins)?;
    if entries.is_empty() {
        return Ok(());
    }
    let images = entries.iter().map(|entry| pins.fetch_image(entry));
    let images: Vec<ArchivedImage> = images.collect::<Result<_>>()?;
    plan.pinned_images = entries.iter().map(ImageEntry::shown).collect();
    plan.images = entries.into_iter().map(|entry| entry.name).collect();
    let archive = Archive::of(&images)?;
    let reference = reference(&archive);
    let content = Content::Payload(Box::new(reference.clone()));
    payloads.insert(reference, LoadedPayload::Images(archive));
    let mut edits = vec![write(ARCHIVE, content)];
    // A role that brings archives of its own may have written it.
    if plan.edits.iter().all(|edit| edit.path != NOTES) {
        let nothing = Content::Bytes(FileBytes::new(Vec::new(), false));
        edits.push(write(NOTES, nothing));
    }
    plan.add(edits);
    Ok(())
}

/// Whether `payload` is an archive of container images, which is put together here and pinned nowhere.
pub fn is_archive(payload: &PayloadRef) -> bool {
    matches!(&payload.request.location, Location::File(path) if path == Path::new(ARCHIVE))
}

fn reference(archive: &Archive) -> PayloadRef {
    PayloadRef::file(PayloadRequest {
        name: format!("container images {}", archive.identity()),
        location: Location::File(PathBuf::from(ARCHIVE)),
        sha256: None,
        sums: None,
        first_use: false,
    })
}

fn write(path: &str, content: Content) -> Edit {
    Edit {
        part: Part::Root,
        path: path.to_owned(),
        when: When::Always,
        origin: ORIGIN.to_owned(),
        action: Action::Write(content, Attr::root(0o644)),
    }
}
