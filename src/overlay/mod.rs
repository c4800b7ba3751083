//! Roles: overlay folders with files, templates, options, payloads and units. `docs/roles.md`
//! describes the format for people who write one.

mod account_spec;
mod balloon;
mod catalog;
mod check;
mod context;
mod files;
mod filters;
mod functions;
mod host_key;
mod manifest_spec;
mod payload_spec;
mod pki_needs;
mod pki_use;
mod required;
mod role;
mod role_keys;
mod secret_check;
mod secret_use;
mod shared_secrets;
mod template;

pub use account_spec::{AccountSpec, system_id};
pub use catalog::Catalog;
pub use check::{Findings, check_roles, check_rules};
pub use context::{ClusterContext, NodeContext, USER_ID};
pub use files::{FileKind, OverlayFile, Part, clean_path};
pub use manifest_spec::{EditSpec, ManifestSpec};
pub use payload_spec::{Member, Payload, parse_mode};
pub use pki_needs::pki_needs;
pub use role::{Role, parse_owner};
pub use secret_check::check_secrets;
pub use shared_secrets::check_shared_secrets;
pub use template::Renderer;
