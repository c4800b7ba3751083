//! Carries a [`Plan`](crate::plan::Plan) out on a copy-on-write disk: looks at what the base has, grows
//! its root file system when the payload needs room, and edits both partitions.
//!
//! | file | holds |
//! |---|---|
//! | `apply.rs`, `options.rs` | the way through one disk, and what it is given |
//! | `fit.rs`, `fit_base.rs`, `cloud_init.rs` | what a base is for a plan, told before anything is written |
//! | `needs.rs`, `room.rs` | what edits take of the root file system, and making room for it |
//! | `boot_files.rs`, `config_txt.rs` | edits of the boot partition |
//! | `root.rs`, `accounts.rs`, `system_accounts.rs`, `units.rs` | edits of the root file system |
//! | `payload.rs` | payloads as patching takes them |
//! | `touched.rs`, `made.rs` | which paths an edit touches: as far as a plan tells, and in the end |

pub(crate) mod accounts;
mod apply;
mod boot_files;
mod cloud_init;
mod config_txt;
mod fit;
mod fit_base;
mod made;
mod needs;
mod options;
mod payload;
mod room;
mod root;
pub(crate) mod system_accounts;
mod touched;
pub(crate) mod units;

pub use apply::{Patched, apply};
pub use fit_base::{check_room, check_size, edits_of};
pub use made::MadePath;
pub use options::PatchOptions;
pub use payload::{LoadedPayload, Payloads, check_elf};
pub use touched::touched;
