//! The answer: which packages a base gets.

use std::fmt;

use super::package::Package;
use super::version::Version;

/// What is installed on a base so that it has the requested packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// New packages, by name.
    pub install: Vec<Chosen>,
    /// Packages of the base that a relation moves to a newer version, by name.
    pub upgrade: Vec<Upgrade>,
    /// Requested packages that the base has, by name: they stay as they are.
    pub present: Vec<Package>,
    /// Names of all that is installed or upgraded, in runs of dpkg: a package is in a later run than
    /// what it pre-depends on, if the base does not have that. Nearly always one run.
    pub runs: Vec<Vec<String>>,
}

/// A new package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub package: Package,
    pub why: Why,
}

/// A package of the base in a newer version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    pub package: Package,
    /// What the base has.
    pub from: Version,
    pub why: Why,
}

/// Why a package was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was asked for by name.
    Requested,
    /// The package `by` says that it needs it, with `relation`.
    Needed { by: String, relation: String },
    /// The base has it, and it does not go with the new version of this package.
    MovesWith(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("requested"),
            Self::Needed { by, relation } => write!(f, "{by} needs {relation}"),
            Self::MovesWith(name) => write!(f, "moves with {name}"),
        }
    }
}
