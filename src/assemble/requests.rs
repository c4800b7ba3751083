//! What nodes ask for, and the lock file of a run that answers it.

use std::collections::BTreeSet;

use super::bases;
use super::options::Inputs;
use crate::config::Node;
use crate::error::Result;
use crate::job::Job;
use crate::lock::{FileKind, LockBook, PackageWish, PayloadRequest, Wanted};
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::source::BaseRequest;

/// Writes what is new in `book`. What took the place of an older request of the project replaces it.
pub fn save(book: &LockBook, project: &Project, inputs: &Inputs, job: &Job) -> Result<()> {
    if !book.is_changed() {
        return Ok(());
    }
    // Nodes that cannot be planned now may still want what is pinned.
    let nodes = project.select(&[], true)?;
    if let Ok(asked) = requests(project, &nodes, inputs) {
        book.retire(&asked.wanted());
    }
    let (existed, path) = (book.existed(), book.path().display());
    book.save()?;
    let changes = book.changes();
    if existed {
        for change in &changes {
            job.progress.note(&format!("{path}: {change}"));
        }
    } else {
        let count = changes.len();
        let pins = if count == 1 { "pin" } else { "pins" };
        job.progress.note(&format!(
            "{path} written with {count} {pins}: later builds use the same files until `imgbuild update`. Commit it with the profiles"
        ));
    }
    Ok(())
}

/// What nodes ask for, each once.
#[derive(Default)]
pub struct Requests {
    pub bases: Vec<BaseRequest>,
    pub payloads: Vec<PayloadRequest>,
    /// Debian packages, with the base that they are for.
    pub packages: BTreeSet<(String, Vec<String>)>,
    /// Container images that roles name, in full. Manifests name more.
    pub images: BTreeSet<String>,
}

/// What `nodes` ask for. No secret is needed to know it.
pub fn requests(project: &Project, nodes: &[&Node], inputs: &Inputs) -> Result<Requests> {
    let mut requests = Requests::default();
    let plans = project.plans(nodes, SecretMode::Redact)?;
    for (node, plan) in nodes.iter().zip(&plans) {
        let payloads = plan.payloads();
        let payloads = payloads.into_iter().map(|payload| payload.request.clone());
        requests.payloads.extend(payloads);
        requests.images.extend(plan.images.iter().cloned());
        let base = bases::request(project, node, inputs)?;
        if !plan.packages.is_empty() {
            let set = (base.name(), plan.packages.clone());
            requests.packages.insert(set);
        }
        if !requests.bases.contains(&base) {
            requests.bases.push(base);
        }
    }
    requests.payloads.sort();
    requests.payloads.dedup();
    Ok(requests)
}

impl Requests {
    /// The same, as the lock file knows them.
    pub fn wanted(&self) -> Wanted {
        let bases = self.bases.iter().filter_map(BaseRequest::lock_key);
        let payloads = self.payloads.iter().filter_map(PayloadRequest::lock_key);
        let of = |kind| move |(name, request)| (kind, name, request);
        Wanted {
            files: bases
                .map(of(FileKind::Base))
                .chain(payloads.map(of(FileKind::Payload)))
                .collect(),
            package_sets: self.packages.clone(),
            images: self.images.clone(),
        }
    }

    /// Whether `name` is that of an image, in full.
    pub fn is_image(&self, name: &str) -> bool {
        self.images.contains(name)
    }

    /// Whether only payloads are called `name`.
    pub fn is_payload(&self, name: &str) -> bool {
        self.payloads.iter().any(|payload| payload.name == name)
    }

    /// The names by which they can be told to move.
    pub fn names(&self) -> BTreeSet<String> {
        let files = self.wanted().files.into_iter();
        let wishes = self.packages.iter().flat_map(|(_, wishes)| wishes);
        let packages = wishes.filter_map(|wish| PackageWish::parse(wish).ok());
        let packages = packages.flat_map(|wish| wish.names);
        let images = self.images.iter().cloned();
        files
            .map(|(_, name, _)| name)
            .chain(packages)
            .chain(images)
            .collect()
    }
}
