//! What nodes are made from, for their records.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{images, packages};
use crate::debian::Status;
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::image::BaseFacts;
use crate::job::Job;
use crate::lock::{ArchiveEntry, PackageEntry, Verified};
use crate::plan::Plan;
use crate::records::{BasePackage, SourceFile};
use crate::source::{BasePackages, BaseRequest, ContainerImages, Pins};

/// Says which release of Debian a base is (os-release(5)).
const RELEASE: [&str; 2] = ["/usr/lib/os-release", "/etc/os-release"];
const CODE_NAME: &str = "VERSION_CODENAME=";

/// What a node is made from.
pub struct NodeSources {
    pub base: SourceFile,
    pub content: Arc<BaseContent>,
    pub payloads: Vec<SourceFile>,
    pub packages: Vec<PackageEntry>,
    pub archives: Vec<ArchiveEntry>,
    /// Of the lock file, once it is written.
    pub lock_file: Option<Digest>,
}

/// What records say of a base.
pub struct BaseContent {
    /// What is installed, and where more is to be had.
    pub packages: BasePackages,
    /// Code name of its Debian.
    suite: Option<String>,
    /// Sorted.
    installed: Vec<BasePackage>,
}

impl BaseContent {
    /// That of the base with `facts`. `name` is what the lock file calls it.
    pub fn of(name: String, facts: &BaseFacts, job: &Job) -> Result<Self> {
        let packages = packages::of_base(name, facts)?;
        let status = Status::read(packages.status.as_bytes(), "/var/lib/dpkg/status");
        let installed = status.map(|status| installed(&status));
        let installed = installed.unwrap_or_else(|error| {
            job.progress.note(&format!(
                "the SPDX does not list the packages of {}: {error}",
                packages.name
            ));
            Vec::new()
        });
        let mut suite = None;
        for path in RELEASE {
            let text = facts.text(path)?.unwrap_or_default();
            suite = suite.or_else(|| code_name(&text));
        }
        Ok(Self {
            packages,
            suite,
            installed,
        })
    }

    /// Code name of its Debian, such as `trixie`.
    pub fn suite(&self) -> Option<&str> {
        self.suite.as_deref()
    }

    /// The packages it has, sorted.
    pub fn installed(&self) -> &[BasePackage] {
        &self.installed
    }
}

fn installed(status: &Status) -> Vec<BasePackage> {
    let packages = status.installed().iter().map(|installed| BasePackage {
        name: installed.package.name.to_string(),
        version: installed.package.version.to_string(),
        architecture: installed.package.architecture.to_string(),
    });
    let packages: BTreeSet<BasePackage> = packages.collect();
    packages.into_iter().collect()
}

fn code_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(CODE_NAME))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// What `plan` is made from. All of it is pinned already.
pub fn of_node(
    plan: &Plan,
    base: &BaseRequest,
    content: &Arc<BaseContent>,
    pins: &Pins<'_>,
) -> Result<NodeSources> {
    let packages = match plan.packages.is_empty() {
        true => Vec::new(),
        false => pins.packages(&plan.packages, &content.packages)?.1,
    };
    let is_package = |sha256: Option<Digest>| {
        packages
            .iter()
            .any(|package| Some(package.sha256) == sha256)
    };
    let mut payloads = BTreeSet::new();
    for payload in plan.payloads() {
        if !is_package(payload.request.sha256) && !images::is_archive(payload) {
            payloads.insert(SourceFile::of(&pins.payload(&payload.request)?));
        }
    }
    for image in images::pinned(&plan.images, pins)? {
        payloads.insert(SourceFile {
            url: Some(ContainerImages::new(pins.store()).url(&image)?.public()),
            sha256: image.sha256,
            size: Some(image.size),
            verified: image.verified.iter().map(Verified::to_string).collect(),
            name: image.name,
        });
    }
    let from: BTreeSet<&String> = packages.iter().map(|package| &package.archive).collect();
    let mut archives = pins.book().content().archive;
    archives.retain(|archive| from.contains(&archive.name));
    archives.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(NodeSources {
        base: SourceFile {
            name: base.name(),
            ..SourceFile::of(&pins.base(base)?)
        },
        content: content.clone(),
        payloads: payloads.into_iter().collect(),
        packages,
        archives,
        lock_file: None,
    })
}

/// The digest of the lock file at `path`; `None` when there is none.
pub fn lock_file(path: &Path, job: &Job) -> Result<Option<Digest>> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => Digest::of_file(
            path,
            &Job {
                progress: Job::silent().progress,
                cancel: job.cancel.clone(),
            },
        )
        .context(|| "reading the lock file".into())
        .map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::code_name;

    #[test]
    fn releases_are_named_with_and_without_quotes() {
        let text = "ID=debian\nVERSION_CODENAME=trixie\n";
        assert_eq!(code_name(text).as_deref(), Some("trixie"));
        let text = "VERSION_CODENAME=\"bookworm\"";
        assert_eq!(code_name(text).as_deref(), Some("bookworm"));
        assert_eq!(code_name("ID=x\nVERSION_CODENAME=\n"), None);
    }
}
