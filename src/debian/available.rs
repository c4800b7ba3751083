//! What can be had: the newest version of each package over all archives, as apt chooses without pins.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::package::{Field, Package};
use super::paragraph::Paragraphs;
use super::relation::Target;
use crate::error::{Error, Result};
use crate::suggest::or_meant;

/// Packages of all archives together. Debian has 68,000 for one architecture.
const MAX_PACKAGES: usize = 1_000_000;

/// The newest version of each package over several archives.
#[derive(Debug)]
pub struct Available {
    architecture: String,
    packages: BTreeMap<Box<str>, Package>,
}

impl Available {
    /// Nothing yet, for systems of `architecture` (`arm64`).
    pub fn new(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            packages: BTreeMap::new(),
        }
    }

    /// Adds the index (a `Packages` file, decompressed) of the caller's archive number `archive`.
    /// Packages of other architectures are left out. Of two files with one version, the first stays.
    ///
    /// # Errors
    /// An index that is malformed; `origin` is its name in messages.
    pub fn add_index(&mut self, index: impl BufRead, archive: usize, origin: &str) -> Result<()> {
        let mut paragraphs = Paragraphs::new(index, origin);
        while let Some(paragraph) = paragraphs.next()? {
            let package = Package::read_indexed(&paragraph, archive)?;
            if self.packages.len() >= MAX_PACKAGES {
                return Err(Error::failed(format!(
                    "{}: more than {MAX_PACKAGES} packages",
                    paragraph.place()
                )));
            }
            self.add(package);
        }
        Ok(())
    }

    /// The newest version of the package `name`.
    pub fn newest(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The architecture of the systems that this is for.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Packages that provide what `target` asks for, the most needed first, then by name.
    pub(super) fn providers(&self, target: &Target) -> Result<Vec<&Package>> {
        let mut providers = Vec::new();
        for package in self.packages.values() {
            // Parsing costs more than looking, and most packages provide nothing of that name.
            if !package.provides.contains(&target.name) {
                continue;
            }
            let provided = package.relations(Field::Provides, &self.architecture)?;
            let mut provided = provided.iter().flat_map(|r| &r.alternatives);
            if provided.any(|provided| provided.is_provided_for(target)) {
                providers.push(package);
            }
        }
        providers.sort_by_key(|package| package.priority);
        Ok(providers)
    }

    /// A question after the package whose name is most like `name`, as the end of a message.
    pub(super) fn or_meant(&self, name: &str) -> String {
        let beginning: String = name.chars().take(1).collect();
        let known = self.packages.keys().map(|known| &**known);
        let known: Vec<&str> = known.filter(|k| k.starts_with(&beginning)).collect();
        or_meant(crate::suggest::nearest(name, &known))
    }

    fn add(&mut self, package: Package) {
        if *package.architecture != *self.architecture && &*package.architecture != "all" {
            return;
        }
        let known = self.packages.get(&package.name);
        if known.is_none_or(|known| known.version < package.version) {
            self.packages.insert(package.name.clone(), package);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\nFilename: pool/{name}.deb\n\
             Size: 1\nSHA256: {}\n{more}\n",
            "0".repeat(64)
        )
    }

    fn add(available: &mut Available, archive: usize, text: &str) -> Result<()> {
        available.add_index(text.as_bytes(), archive, "the index")
    }

    #[test]
    fn the_newest_over_all_archives_wins_and_the_first_of_equals() {
        let mut available = Available::new("arm64");
        add(
            &mut available,
            0,
            &(entry("a", "1.0-1", "") + &entry("b", "2", "")),
        )
        .unwrap();
        add(
            &mut available,
            1,
            &(entry("a", "1.0-1+rpt1", "") + &entry("b", "2", "")),
        )
        .unwrap();
        add(&mut available, 2, &entry("a", "0.9", "")).unwrap();
        let archive = |name| {
            available
                .newest(name)
                .unwrap()
                .file
                .as_ref()
                .unwrap()
                .archive
        };
        assert_eq!((archive("a"), archive("b"), available.len()), (1, 0, 2));
    }

    #[test]
    fn packages_of_other_architectures_are_left_out() {
        let mut available = Available::new("arm64");
        let text = entry("a", "1", "").replace("arm64", "armhf")
            + &entry("b", "1", "").replace("arm64", "all");
        add(&mut available, 0, &text).unwrap();
        assert!(available.newest("a").is_none() && available.newest("b").is_some());
    }

    #[test]
    fn strange_packages_are_errors_with_their_line() {
        for (from, to, wanted) in [
            (
                "Version: 1",
                "Version: 1/2",
                "line 1: `Version` cannot be `1/2`",
            ),
            ("Package: a", "Package: ../a", "`Package` cannot be `../a`"),
            (
                "Filename: pool/a.deb",
                "Filename: /etc/a.deb",
                "`Filename` cannot be",
            ),
            ("Size: 1", "Size: -1", "`Size` cannot be `-1`"),
            ("SHA256: 0", "SHA256: x", "`SHA256` cannot be"),
            ("Architecture: arm64\n", "", "no field `Architecture`"),
        ] {
            let text = entry("a", "1", "").replace(from, to);
            let error = add(&mut Available::new("arm64"), 0, &text).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
