//! Where everything comes from: base images, payloads, and the cache that keeps them.
//!
//! A [`Fetcher`] turns what a profile names into files that are whole and verified. Downloads are
//! resumed and retried, kept by digest, and shared by builds that run at the same time.

mod archive;
mod cache;
mod decompress;
mod digest;
mod download;
mod fetcher;
mod http;
mod index;
mod options;
mod sums;

pub use archive::{TreeEntry, TreeKind, tar_member, tar_tree};
pub use fetcher::{Artifact, BaseImage, BaseRequest, Fetcher, Location, PayloadRequest, Verified};
pub use index::aliases;
pub use options::{DEFAULT_INDEX_URL, FetchOptions};
