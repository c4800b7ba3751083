//! What requests were found to mean: plain data, without the network that found it.

mod change;
mod entries;
mod lock_book;
mod lock_file;
mod moment;
mod package_wish;
mod pin;
mod request;
mod verified;

pub use change::Change;
pub use entries::{
    ArchiveEntry, FileEntry, ImageEntry, PackageEntry, PackageSet, PinnedImage, PinnedPackage,
    Upgrade,
};
pub use lock_book::{LockBook, LockPolicy, Wanted};
pub use lock_file::{FileKind, LOCK_FILE, LockFile};
pub use moment::Moment;
pub use package_wish::PackageWish;
pub use pin::{ImageFacts, Pin};
pub use request::{Location, PayloadRequest};
pub use verified::Verified;
