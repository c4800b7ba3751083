//! `update` and `fetch`: pins without images.

use std::collections::BTreeSet;

use super::base_check::facts_of;
use super::bases::{self, Bases, Demand};
use super::options::Inputs;
use super::requests::{self, Requests, requests};
use super::{images, packages};
use crate::config::Node;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::lock::{Change, LOCK_FILE, LockBook, LockFile, LockPolicy, PackageEntry, Wanted};
use crate::oci::ImageName;
use crate::plan::Plan;
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::size::human;
use crate::source::{Pins, Store};
use crate::suggest::did_you_mean;

/// Looks up again what the nodes of a project ask for, or only what has one of `names`, and pins what
/// is found unless it is a `dry_run`. Returns what moved.
pub fn update(
    project: &Project,
    names: &[String],
    inputs: &Inputs,
    dry_run: bool,
    job: &Job,
) -> Result<Vec<Change>> {
    let nodes = project.select(&[], true)?;
    let asked = requests(project, &nodes, inputs)?;
    let locked = LockBook::open(project.folder(), LockPolicy::Locked)?.content();
    let names = &in_full(names, &asked, &locked);
    let book = LockBook::open(
        project.folder(),
        LockPolicy::Renew(names.iter().cloned().collect()),
    )?;
    refuse_unknown(names, &asked.names(), &book)?;
    let store = Store::new(inputs.fetch.clone(), job.clone())?;
    let pins = Pins::new(&store, &book);
    for base in &asked.bases {
        pins.base(base)?;
    }
    for payload in &asked.payloads {
        pins.payload(payload)?;
    }
    let images = images_of(project, &nodes, &pins)?;
    images::pinned(&images, &pins)?;
    let is_image = |name: &String| images.contains(name) || locked.image(name).is_some();
    let is_file = |name: &String| asked.is_payload(name) || is_image(name);
    if names.is_empty() || names.iter().any(|name| !is_file(name)) {
        packages_of(project, &nodes, inputs, &pins)?;
    }
    book.retire(&Wanted {
        images,
        ..asked.wanted()
    });
    if !dry_run {
        book.save()?;
    }
    Ok(book.changes())
}

/// What [`fetch`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files that are in the cache now, or on this computer anyway.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl std::fmt::Display for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noun = if self.files == 1 { "file" } else { "files" };
        write!(f, "{} {noun}, {}", self.files, human(self.bytes))
    }
}

/// Brings all that `nodes` are made from into the cache, so that a build works offline.
pub fn fetch(project: &Project, nodes: &[&Node], inputs: &Inputs, job: &Job) -> Result<Fetched> {
    let asked = requests(project, nodes, inputs)?;
    let book = LockBook::open(project.folder(), inputs.lock.clone())?;
    let store = Store::new(inputs.fetch.clone(), job.clone())?;
    let pins = Pins::new(&store, &book);
    let mut paths = BTreeSet::new();
    for base in &asked.bases {
        paths.insert(pins.store().fetch(&pins.base(base)?)?);
    }
    for payload in &asked.payloads {
        paths.insert(pins.store().fetch(&pins.payload(payload)?)?);
    }
    for package in packages_of(project, nodes, inputs, &pins)? {
        paths.insert(pins.fetch_package(&package)?);
    }
    let images = images::pinned(&images_of(project, nodes, &pins)?, &pins)?;
    paths.extend(images::fetched(&images, &pins)?);
    requests::save(&book, project, inputs, job)?;
    let sizes = paths.iter().filter_map(|path| path.metadata().ok());
    Ok(Fetched {
        files: paths.len(),
        bytes: sizes.map(|metadata| metadata.len()).sum(),
    })
}

/// The Debian packages of `nodes`. What they are depends on what their bases have.
fn packages_of(
    project: &Project,
    nodes: &[&Node],
    inputs: &Inputs,
    pins: &Pins<'_>,
) -> Result<Vec<PackageEntry>> {
    let plans = project.plans(nodes, SecretMode::Redact)?;
    let with_packages = nodes
        .iter()
        .zip(&plans)
        .filter(|(_, plan)| !plan.packages.is_empty());
    let (nodes, plans): (Vec<&Node>, Vec<&Plan>) =
        with_packages.map(|(node, plan)| (*node, plan)).unzip();
    let bases = Bases::open(project, &nodes, inputs, &Demand::of_edits(), pins)?;
    let mut found = Vec::new();
    for ((node, plan), base) in nodes.iter().zip(plans).zip(bases.of_nodes()) {
        let name = bases::request(project, node, inputs)?.name();
        let base = packages::of_base(name, &facts_of(base)?)?;
        let (_, packages) = pins
            .packages(&plan.packages, &base)
            .context(|| format!("packages of {}", node.hostname))?;
        found.extend(packages);
    }
    bases.remember(pins.store(), pins.store().job());
    Ok(found)
}

/// The container images that `nodes` want, by their names in full.
fn images_of(project: &Project, nodes: &[&Node], pins: &Pins<'_>) -> Result<BTreeSet<String>> {
    let plans = project.plans(nodes, SecretMode::Redact)?;
    let wanted = images::Wanted::of(project, &plans, pins)?;
    Ok(plans.iter().flat_map(|plan| wanted.of_plan(plan)).collect())
}

/// Names of images may be short, as people write them.
fn in_full(names: &[String], asked: &Requests, locked: &LockFile) -> Vec<String> {
    let known = asked.names();
    let full = |name: &String| {
        let full = ImageName::parse(name).ok().map(|image| image.to_string());
        let is_image = |full: &String| asked.is_image(full) || locked.image(full).is_some();
        let full = full.filter(|full| !known.contains(name) && is_image(full));
        full.unwrap_or_else(|| name.clone())
    };
    names.iter().map(full).collect()
}

fn refuse_unknown(names: &[String], asked: &BTreeSet<String>, book: &LockBook) -> Result<()> {
    let mut known = asked.clone();
    known.extend(book.content().names());
    let Some(unknown) = names.iter().find(|name| !known.contains(*name)) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = did_you_mean(unknown, &known).unwrap_or_else(|| match known.as_slice() {
        [] => "nothing of this project comes from the network".to_owned(),
        known => format!("known are {}", known.join(", ")),
    });
    Err(Error::usage(format!(
        "no node asks for `{unknown}`, and {LOCK_FILE} does not have it"
    ))
    .with_hint(hint))
}
