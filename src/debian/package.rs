//! A package: who it is, what it needs, and where its file is.

use std::str::FromStr as _;

use super::names::{is_architecture, is_name, is_relative_path};
use super::paragraph::{Paragraph, shown};
use super::relation::Relation;
use super::version::Version;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// How a package goes with its like of another architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiArch {
    #[default]
    No,
    /// Can be installed for several architectures at once, all of one version.
    Same,
    /// Serves packages of any architecture.
    Foreign,
    /// Serves packages of any architecture that ask for `name:any`.
    Allowed,
}

/// How much a system needs a package; the most needed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    Required,
    Important,
    Standard,
    #[default]
    Optional,
    Extra,
}

/// A package of an index, of a dpkg status or of a `.deb`: the fields that decide what can be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: Box<str>,
    pub version: Version,
    /// The source that it is built from, `name (version)`, where either is not the package's own.
    pub source: Option<Box<str>>,
    /// `all`, or the one that it runs on.
    pub architecture: Box<str>,
    pub multi_arch: MultiArch,
    pub essential: bool,
    pub priority: Priority,
    /// Relations as they are written: most packages of an index are never asked for theirs.
    pub pre_depends: Box<str>,
    pub depends: Box<str>,
    pub provides: Box<str>,
    pub conflicts: Box<str>,
    pub breaks: Box<str>,
    /// KiB that its files take on a disk, as the package says.
    pub installed_size: u64,
    /// `None` for what is installed.
    pub file: Option<PackageFile>,
}

/// The `.deb` of a package in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// Which of the caller's archives it is in.
    pub archive: usize,
    /// Below the URI of the archive.
    pub path: Box<str>,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// A field with relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    PreDepends,
    Depends,
    Provides,
    Conflicts,
    Breaks,
}

impl Field {
    /// As control files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Provides => "Provides",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
        }
    }
}

impl Package {
    /// The package that a paragraph describes, without its file.
    pub(super) fn read(paragraph: &Paragraph) -> Result<Self> {
        let text = |name: &str| Box::from(paragraph.text(name));
        let name = |text: &str| is_name(text).then(|| Box::from(text));
        let architecture = |text: &str| is_architecture(text).then(|| Box::from(text));
        Ok(Self {
            name: paragraph.parsed("Package", name)?,
            version: paragraph.parsed("Version", Version::parse)?,
            source: paragraph.get("Source").map(Box::from),
            architecture: paragraph.parsed("Architecture", architecture)?,
            multi_arch: paragraph
                .maybe("Multi-Arch", multi_arch)?
                .unwrap_or_default(),
            essential: paragraph.get("Essential") == Some("yes"),
            priority: paragraph
                .get("Priority")
                .map_or_else(Priority::default, priority),
            pre_depends: text("Pre-Depends"),
            depends: text("Depends"),
            provides: text("Provides"),
            conflicts: text("Conflicts"),
            breaks: text("Breaks"),
            installed_size: paragraph.maybe("Installed-Size", number)?.unwrap_or(0),
            file: None,
        })
    }

    /// The package of an index, with its file in `archive`.
    pub(super) fn read_indexed(paragraph: &Paragraph, archive: usize) -> Result<Self> {
        let path = |text: &str| {
            let text = text.strip_prefix("./").unwrap_or(text);
            is_relative_path(text).then(|| Box::from(text))
        };
        let file = PackageFile {
            archive,
            path: paragraph.parsed("Filename", path)?,
            size: paragraph.parsed("Size", number)?,
            sha256: paragraph.parsed("SHA256", Digest::parse)?,
        };
        let package = Self::read(paragraph)?;
        Ok(Self {
            file: Some(file),
            ..package
        })
    }

    /// Name and version of the source.
    pub fn source(&self) -> (&str, &str) {
        let own = (&*self.name, self.version.as_str());
        let Some(source) = &self.source else {
            return own;
        };
        match source.split_once('(') {
            None => (source.trim(), own.1),
            Some((name, version)) => (name.trim(), version.trim_end().trim_end_matches(')')),
        }
    }

    /// The relations of a field, for a system of `architecture`.
    pub(super) fn relations(&self, field: Field, architecture: &str) -> Result<Vec<Relation>> {
        let text = match field {
            Field::PreDepends => &self.pre_depends,
            Field::Depends => &self.depends,
            Field::Provides => &self.provides,
            Field::Conflicts => &self.conflicts,
            Field::Breaks => &self.breaks,
        };
        Relation::parse_all(text, architecture).ok_or_else(|| {
            Error::failed(format!(
                "`{}` of {} {} cannot be read: `{}`",
                field.name(),
                self.name,
                self.version,
                shown(text)
            ))
        })
    }
}

fn multi_arch(text: &str) -> Option<MultiArch> {
    Some(match text {
        "no" => MultiArch::No,
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => return None,
    })
}

/// Anything else is as little needed as `optional`: archives of others write what they like.
fn priority(text: &str) -> Priority {
    match text {
        "required" => Priority::Required,
        "important" => Priority::Important,
        "standard" => Priority::Standard,
        "extra" => Priority::Extra,
        _ => Priority::Optional,
    }
}

fn number(text: &str) -> Option<u64> {
    u64::from_str(text).ok()
}
