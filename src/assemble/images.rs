//! Container images: pinned, fetched, and on the card in one archive that k3s imports at its start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{manifests, payloads};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::kubernetes::{self, MANIFESTS_FOLDER, ManifestFile};
use crate::lock::{ImageEntry, Location, LockBook, PayloadRequest};
use crate::oci::{Archive, ArchivedImage, ImageName};
use crate::overlay::Part;
use crate::patch::{LoadedPayload, Payloads};
use crate::plan::{Action, Attr, Content, Edit, FileBytes, PayloadRef, Plan, When};
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::source::{FetchOptions, Pins, Store};

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

/// The files of `images`, in the cache.
pub fn fetched(images: &[ImageEntry], pins: &Pins<'_>) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for image in images {
        let files = pins.fetch_image(image)?;
        paths.extend(files.blobs.into_iter().map(|blob| blob.path));
    }
    Ok(paths)
}

/// The container images that the nodes of a project want.
#[derive(Debug, Default)]
pub struct Wanted {
    /// What manifests name, of whatever node: a pod may run on any.
    of_manifests: BTreeSet<String>,
}

impl Wanted {
    /// What nodes with `plans` want. Manifests are fetched when one of them wants their images.
    pub fn of(project: &Project, plans: &[Plan], pins: &Pins<'_>) -> Result<Self> {
        if plans.iter().all(|plan| !plan.images_of_manifests) {
            return Ok(Self::default());
        }
        let nodes = project.select(&[], true)?;
        let plans = project.plans(&nodes, SecretMode::Redact)?;
        let mut loaded = Payloads::new();
        payloads::load_manifests(&plans, pins, &mut loaded)?;
        let mut of_manifests = BTreeSet::new();
        for plan in &plans {
            for file in manifests::of_plan(plan, &loaded)? {
                for name in kubernetes::images(&file.objects) {
                    of_manifests.insert(in_manifest(&name, &file)?);
                }
            }
        }
        Ok(Self { of_manifests })
    }

    /// The names of those of `plan`, in full.
    pub fn of_plan(&self, plan: &Plan) -> BTreeSet<String> {
        let more = self
            .of_manifests
            .iter()
            .filter(|_| plan.images_of_manifests);
        plan.images.iter().chain(more).cloned().collect()
    }

    /// Puts the images of `plan` on its card.
    pub fn add(&self, plan: &mut Plan, pins: &Pins<'_>, payloads: &mut Payloads) -> Result<()> {
        let names = self.of_plan(plan);
        if plan.images_of_manifests || !names.is_empty() {
            note_imports(plan);
        }
        add(plan, &names, pins, payloads)
    }
}

/// Tells `plans` which images are on their cards, as far as that is known without the network: what is
/// named, and what of it is pinned. Nothing is wrong with manifests that are not there yet.
pub fn show_images(project: &Project, plans: &mut [Plan], book: &LockBook, fetch: FetchOptions) {
    let offline = FetchOptions {
        offline: true,
        ..fetch
    };
    let wanted = match plans.iter().any(|plan| plan.images_of_manifests) {
        true => Store::new(offline, Job::silent())
            .and_then(|store| Wanted::of(project, plans, &Pins::new(&store, book)))
            .unwrap_or_default(),
        false => Wanted::default(),
    };
    let locked = book.content();
    for plan in plans {
        plan.images = wanted.of_plan(plan);
        plan.pinned_images = locked.shown_images(&plan.images);
    }
}

/// The name in full of an image that a manifest has.
fn in_manifest(name: &str, file: &ManifestFile) -> Result<String> {
    let name = ImageName::parse(name).map_err(|error| {
        let ManifestFile { path, origin, .. } = file;
        Error::usage(format!("role {origin}: {MANIFESTS_FOLDER}/{path}: {error}"))
            .with_maybe_hint(error.hint().map(str::to_owned))
    })?;
    Ok(name.to_string())
}

/// Where k3s notes what it has imported from any archive.
fn note_imports(plan: &mut Plan) {
    // A role may have written it.
    if plan.edits.iter().all(|edit| edit.path != NOTES) {
        let nothing = Content::Bytes(FileBytes::new(Vec::new(), false));
        plan.add(vec![write(NOTES, nothing)]);
    }
}

/// Puts the images with these names on the card, for k3s to import.
fn add(
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
    plan.add(vec![write(ARCHIVE, content)]);
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
