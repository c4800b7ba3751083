//! Container images as data: names, what registries say, the archive that a node imports. No network.
//!
//! Written from the OCI specifications (image-spec, distribution-spec 1.1), the token specification of
//! distribution, and what containerd's importer takes.
//!
//! | file | holds |
//! |---|---|
//! | `name.rs` | names of images, in full |
//! | `document.rs`, `platform.rs` | manifests, indexes, and which of an index is for a node |
//! | `challenge.rs` | how a registry asks for a login |
//! | `docker_config.rs` | logins in docker's `config.json` |
//! | `archive.rs` | OCI layout as one tar archive, described and not written |

mod archive;
mod challenge;
mod docker_config;
mod document;
mod name;
mod platform;

pub use archive::{Archive, ArchivedImage, Blob, Piece};
pub use challenge::Challenge;
pub use docker_config::{DockerConfig, Login};
pub use document::{
    ACCEPT, Descriptor, Document, ImageManifest, Index, MAX_DOCUMENT, config_platform,
    not_for_nodes,
};
pub use name::ImageName;
pub use platform::Platform;
