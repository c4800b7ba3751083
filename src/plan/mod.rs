//! The plan of a node: every edit of its boot and root partition, in order. Planning is pure: it
//! needs no base image and fetches nothing, and patching obeys nothing else.

mod account;
mod attributes;
mod build;
mod edit;
mod file_bytes;
mod identity;
mod images;
mod manifests;
mod node_plan;
mod order;
mod packages;
mod payload;
mod print;
mod role_accounts;
mod role_manifests;
mod role_payloads;
mod show;
mod ssh_key;
mod ssh_keys;

pub use account::{Account, SystemAccount};
pub use build::plan_node;
pub use edit::{Action, Attr, Content, Edit, When};
pub use file_bytes::FileBytes;
pub use identity::locale_line;
pub use manifests::{manifest_files, manifest_text};
pub use node_plan::Plan;
pub use payload::{PayloadRef, Unpack};
pub use print::{Touched, print_json, print_text};
pub use show::{Shown, show, showable};
