//! Debian packages: what a plan asks for, resolved for its base, onto the card.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::{Result, ResultExt};
use crate::image::BaseFacts;
use crate::lock::{Location, PackageEntry, PackageSet, PayloadRequest};
use crate::overlay::Part;
use crate::patch::{LoadedPayload, Payloads};
use crate::plan::{Action, Attr, Content, Edit, FileBytes, PayloadRef, Plan, When};
use crate::source::{BasePackages, Pins};
use crate::url::Url;

const STATUS: &str = "/var/lib/dpkg/status";
const SOURCES_LIST: &str = "/etc/apt/sources.list";
const SOURCES_FOLDER: &str = "/etc/apt/sources.list.d";
const KEYRINGS: [&str; 2] = ["/usr/share/keyrings", "/etc/apt/keyrings"];
/// Where the first boot finds packages: one folder for each run of dpkg.
const ON_CARD: &str = "/var/lib/imgbuild/packages";
/// Who asks for these edits, as plans print it.
const ORIGIN: &str = "packages";

/// What the base with these facts says of its packages. `name` is what the lock file calls it.
pub fn of_base(name: String, facts: &BaseFacts) -> Result<BasePackages> {
    let mut found = BasePackages {
        name,
        status: facts.text(STATUS)?.unwrap_or_default(),
        ..BasePackages::default()
    };
    let mut paths = vec![SOURCES_LIST.to_owned()];
    let mut names = facts.names_in(SOURCES_FOLDER)?;
    names.sort();
    let names = names
        .iter()
        .filter(|name| name.ends_with(".list") || name.ends_with(".sources"));
    paths.extend(names.map(|name| format!("{SOURCES_FOLDER}/{name}")));
    for path in paths {
        if let Some(text) = facts.text(&path)? {
            found.sources.push((path, text));
        }
    }
    for folder in KEYRINGS {
        let mut names = facts.names_in(folder)?;
        names.sort();
        for name in names {
            found.keys.extend(facts.bytes(&format!("{folder}/{name}"))?);
        }
    }
    Ok(found)
}

/// Puts the packages that `plan` asks for on the card, for its first boot to install.
pub fn add(
    plan: &mut Plan,
    base: &BasePackages,
    pins: &Pins<'_>,
    payloads: &mut Payloads,
) -> Result<()> {
    if plan.packages.is_empty() {
        return Ok(());
    }
    let (set, packages) = pins
        .packages(&plan.packages, base)
        .context(|| format!("packages of {}", plan.hostname))?;
    if packages.is_empty() {
        return Ok(());
    }
    plan.pinned = set.shown(&packages);
    let mut edits = vec![folder(ON_CARD)];
    let mut folders = BTreeSet::new();
    for package in &packages {
        let path = pins
            .fetch_package(package)
            .context(|| format!("fetching the package {}", package.name))?;
        let run = format!("{ON_CARD}/{}", run_of(&set, package));
        if folders.insert(run.clone()) {
            edits.push(folder(&run));
        }
        edits.push(deb(&run, package, path, payloads)?);
    }
    edits.push(auto(plan, &packages));
    plan.add(edits);
    Ok(())
}

/// Which run of dpkg installs it, from 1.
fn run_of(set: &PackageSet, package: &PackageEntry) -> usize {
    let before = set
        .before
        .iter()
        .position(|run| run.contains(&package.key()));
    1 + before.unwrap_or(set.before.len())
}

fn deb(
    folder: &str,
    package: &PackageEntry,
    path: PathBuf,
    payloads: &mut Payloads,
) -> Result<Edit> {
    let reference = PayloadRef::file(PayloadRequest {
        name: package.name.clone(),
        location: Location::Url(Url::parse(&package.url)?),
        sha256: Some(package.sha256),
        sums: None,
        first_use: false,
    });
    payloads.insert(reference.clone(), LoadedPayload::File(path, package.size));
    // A `:` of an epoch is no character for the names of files.
    let version = package.version.replace(':', "%3a");
    let name = format!("{}_{version}_{}.deb", package.name, package.architecture);
    let content = Content::Payload(Box::new(reference));
    Ok(edit(
        &format!("{folder}/{name}"),
        Action::Write(content, root(0o644)),
    ))
}

/// The list of packages that were not asked for by name: they may leave with what needs them.
fn auto(plan: &Plan, packages: &[PackageEntry]) -> Edit {
    let asked: BTreeSet<&str> = plan
        .packages
        .iter()
        .flat_map(|wish| wish.split(['|', '?', ' ']))
        .collect();
    let names = packages.iter().map(|package| package.name.as_str());
    let lines: String = names
        .filter(|name| !asked.contains(name))
        .map(|name| format!("{name}\n"))
        .collect();
    let content = Content::Bytes(FileBytes::new(lines.into_bytes(), false));
    edit(
        &format!("{ON_CARD}/auto"),
        Action::Write(content, root(0o644)),
    )
}

fn folder(path: &str) -> Edit {
    edit(path, Action::Directory(root(0o755)))
}

fn root(mode: u32) -> Attr {
    Attr {
        mode,
        uid: 0,
        gid: 0,
    }
}

fn edit(path: &str, action: Action) -> Edit {
    Edit {
        part: Part::Root,
        path: path.to_owned(),
        when: When::Always,
        origin: ORIGIN.to_owned(),
        action,
    }
}
