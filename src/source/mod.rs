//! Where everything comes from: base images, payloads, container images, and the cache that keeps them.
//!
//! A resolver turns what a profile names into a [`Pin`](crate::lock::Pin), and asks the world for that;
//! the [`Store`] turns a pin into a file that is whole and verified. Downloads are resumed and retried,
//! kept by digest, and shared by builds that run at the same time.

mod archive;
mod archive_files;
mod archives;
mod base_request;
mod base_resolver;
mod cache;
mod cache_content;
mod checksum;
mod container_images;
mod decompress;
mod download;
mod http;
mod images;
mod index;
mod options;
mod package_resolver;
mod pages;
mod payload_resolver;
mod pins;
mod registry;
mod registry_logins;
mod signatures;
mod store;
mod sums;

pub use archive::{TreeEntry, TreeKind, tar_member, tar_tree};
pub use archive_files::{tree_files, tree_member};
pub use base_request::BaseRequest;
pub use base_resolver::BaseResolver;
pub use cache_content::{CachedFile, CachedKind, blobs_of, cached_files, unused};
pub use container_images::ContainerImages;
pub use images::{BaseImage, BaseImages};
pub use index::aliases;
pub use options::{DEFAULT_INDEX_URL, FetchOptions};
pub use package_resolver::{BasePackages, PackageResolver, ResolvedPackages};
pub use payload_resolver::PayloadResolver;
pub use pins::Pins;
pub use store::Store;
