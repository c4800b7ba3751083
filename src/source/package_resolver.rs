//! What a wish for Debian packages comes to on a base.

use std::collections::BTreeSet;

use super::archives::{ARCHITECTURE, Archive, Archives, name_of, purpose};
use super::store::Store;
use crate::clock;
use crate::debian::{
    ArchiveSource, Available, Package, Resolution, Status, read_list, read_sources, resolve,
};
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::lock::{ArchiveEntry, LockBook, Moment, PackageEntry, PackageSet, PackageWish, Upgrade};

/// What a base says of its packages.
#[derive(Debug, Clone, Default)]
pub struct BasePackages {
    /// What the lock file calls the base.
    pub name: String,
    /// Text of /var/lib/dpkg/status.
    pub status: String,
    /// Paths and texts of the files that name its archives.
    pub sources: Vec<(String, String)>,
    /// The keyrings that it has for them.
    pub keys: Vec<Vec<u8>>,
}

/// Turns wishes into packages.
pub struct PackageResolver<'a> {
    store: &'a Store,
    book: &'a LockBook,
}

/// The answer, as the lock file keeps it.
pub struct ResolvedPackages {
    pub set: PackageSet,
    pub packages: Vec<PackageEntry>,
    pub archives: Vec<ArchiveEntry>,
}

impl BasePackages {
    /// What is asked for when `wishes` are wanted on this base.
    pub(super) fn request(&self, wishes: &[String]) -> PackageSet {
        PackageSet {
            base: self.name.clone(),
            request: wishes.to_vec(),
            status: Digest::of_bytes(&self.status),
            locked: Moment(clock::now()),
            install: Vec::new(),
            upgrade: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Whether it has all that is wished for: then there is nothing to pin.
    pub(super) fn has(&self, wishes: &[String]) -> Result<bool> {
        Ok(missing(wishes, &self.status()?)?.is_empty())
    }

    fn status(&self) -> Result<Status> {
        Status::read(self.status.as_bytes(), "/var/lib/dpkg/status of the base")
    }

    fn sources(&self) -> Result<Vec<ArchiveSource>> {
        let mut all = Vec::new();
        for (path, text) in &self.sources {
            let read = if path.ends_with(".sources") {
                read_sources
            } else {
                read_list
            };
            for source in read(text, ARCHITECTURE, &format!("{path} of the base"))? {
                if !all.contains(&source) {
                    all.push(source);
                }
            }
        }
        Ok(all)
    }
}

impl<'a> PackageResolver<'a> {
    pub fn new(store: &'a Store, book: &'a LockBook) -> Self {
        Self { store, book }
    }

    /// What `wishes` come to on `base`, over all archives that it has.
    pub fn resolve(&self, wishes: &[String], base: &BasePackages) -> Result<ResolvedPackages> {
        let status = base.status()?;
        let missing = missing(wishes, &status)?;
        let (archives, available) = self.available(base)?;
        let names = offered(&missing, &available);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let resolution = resolve(&names, &status, &available)
            .context(|| format!("resolving the packages {}", wishes.join(", ")))?;
        answer(base.request(wishes), resolution, &archives)
    }

    fn available(&self, base: &BasePackages) -> Result<(Vec<Archive>, Available)> {
        let mut available = Available::new(ARCHITECTURE);
        let reader = Archives::new(self.store, &base.keys);
        let mut archives = Vec::new();
        for source in base.sources()? {
            let name = name_of(&source);
            let is_skipped = self.store.options.skip_signatures.contains(&name);
            if purpose(&source).is_none() && !is_skipped {
                self.store.job().progress.note(&format!(
                    "{name} is neither Debian's archive nor Raspberry Pi's: no packages are taken from it"
                ));
                continue;
            }
            let known = self.book.archive(&name);
            let number = archives.len();
            archives.push(reader.read(&source, number, known.as_ref(), &mut available)?);
        }
        if archives.is_empty() {
            return Err(Error::failed("the base names no archives of packages").with_hint(
                "start from an image of Raspberry Pi OS: they are in its /etc/apt/sources.list.d",
            ));
        }
        Ok((archives, available))
    }
}

/// The wishes that the base does not have, by any of their names.
fn missing(wishes: &[String], status: &Status) -> Result<Vec<PackageWish>> {
    let installed = status.installed().iter();
    let installed: BTreeSet<&str> = installed.map(|found| &*found.package.name).collect();
    let mut missing = Vec::new();
    for text in wishes {
        let wish = PackageWish::parse(text).map_err(Error::usage)?;
        if !wish
            .names
            .iter()
            .any(|name| installed.contains(name.as_str()))
        {
            missing.push(wish);
        }
    }
    Ok(missing)
}

/// Of each wish the first name that an archive offers.
fn offered(wishes: &[PackageWish], available: &Available) -> Vec<String> {
    let name = |wish: &PackageWish| {
        let mut names = wish.names.iter();
        let offered = names.find(|name| available.newest(name).is_some());
        // Of one that nobody offers the resolver says what is wrong with it.
        let first = wish.names.first().filter(|_| !wish.optional);
        offered.or(first).cloned()
    };
    wishes.iter().filter_map(name).collect()
}

fn answer(
    mut set: PackageSet,
    resolution: Resolution,
    archives: &[Archive],
) -> Result<ResolvedPackages> {
    let locked = set.locked;
    let mut packages = Vec::new();
    for chosen in &resolution.install {
        packages.push(entry(&chosen.package, archives, locked)?);
    }
    for upgrade in &resolution.upgrade {
        let package = entry(&upgrade.package, archives, locked)?;
        set.upgrade.push(Upgrade {
            package: package.key(),
            from: upgrade.from.to_string(),
        });
        packages.push(package);
    }
    packages.sort_by_key(PackageEntry::key);
    set.install = packages.iter().map(PackageEntry::key).collect();
    set.before = before(&resolution.runs, &packages);
    Ok(ResolvedPackages {
        archives: archives
            .iter()
            .map(|archive| archive.entry.clone())
            .collect(),
        set,
        packages,
    })
}

/// The keys of what earlier runs of dpkg install; the last run needs no list.
fn before(runs: &[Vec<String>], packages: &[PackageEntry]) -> Vec<Vec<String>> {
    let earlier = runs.iter().take(runs.len().saturating_sub(1));
    let keys = |run: &Vec<String>| {
        let found = packages
            .iter()
            .filter(|package| run.contains(&package.name));
        found.map(PackageEntry::key).collect()
    };
    earlier.map(keys).collect()
}

fn entry(package: &Package, archives: &[Archive], locked: Moment) -> Result<PackageEntry> {
    let file = package.file.as_ref();
    let found = file.and_then(|file| Some((file, archives.get(file.archive)?)));
    let (file, archive) =
        found.ok_or_else(|| Error::failed(format!("{} is in no archive", package.name)))?;
    Ok(PackageEntry {
        name: package.name.to_string(),
        version: package.version.to_string(),
        architecture: package.architecture.to_string(),
        archive: archive.entry.name.clone(),
        url: format!("{}/{}", archive.uri, file.path),
        size: file.size,
        sha256: file.sha256,
        locked,
    })
}
