//! Debian packages without dpkg: which archives a base has, what is in them, what is installed, and what
//! a list of packages means for that base. Pure data: whoever calls brings the files, verified.
//!
//! ```text
//! sources.list ──► ArchiveSource ─ (caller: InRelease, signature) ─► Release ─ (caller: index) ─► Available ─┐
//! /var/lib/dpkg/status ──► Status ───────────────────────────────────────────────────────────────────────────┼─► resolve ─► Resolution
//! names of packages ─────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `resolve` answers as `apt-get install --no-install-recommends` does; tests/it/debian.rs holds it
//! against apt itself. Formats: Debian Policy 5 and 7, deb(5), deb822(5), sources.list(5), and
//! <https://wiki.debian.org/DebianRepository/Format>.

mod available;
mod check;
mod choose;
mod names;
mod package;
mod paragraph;
mod relation;
mod release;
mod resolution;
mod resolve;
mod runs;
mod sources;
mod status;
mod system;
mod version;

pub use available::Available;
pub use package::{MultiArch, Package, PackageFile, Priority};
pub use release::{IndexFile, Release};
pub use resolution::{Chosen, Resolution, Upgrade, Why};
pub use resolve::resolve;
pub use sources::{ArchiveSource, SignedBy, read_list, read_sources};
pub use status::{Installed, Status};
pub use version::Version;
