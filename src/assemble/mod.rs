//! From plans to image files: fetches what the plans name, patches one copy-on-write disk a node
//! over a shared base, and writes the outputs.

mod access_files;
mod base_check;
mod bases;
mod budget;
mod build;
mod file_records;
mod gather;
mod images;
mod manifests;
mod node_job;
mod node_records;
mod nodes;
mod open_image;
mod options;
mod outputs;
mod packages;
mod payloads;
mod record_sources;
mod requests;
mod update;
mod verify;
mod whole_disk;

pub use access_files::{AccessFiles, write_kubeconfig};
pub use base_check::check_with_bases;
pub use bases::BaseUsage;
pub use budget::DEFAULT_MEMORY;
pub use build::{Built, PatchedNode, build, patched_node};
pub use images::show_images;
pub use nodes::NodeImages;
pub use open_image::open_image;
pub use options::{BuildOptions, Digests, Inputs, Outputs};
pub use update::{Fetched, fetch, update};
pub use verify::{Digested, Verified, VerifyRequest, verify};
