//! What an image holds: finds its boot and its root partition, and reads what they have. Knows no plan.
//!
//! | file | holds |
//! |---|---|
//! | `open.rs` | images that are read where they lie |
//! | `root_partition.rs`, `cmdline.rs` | which partition is the root file system |
//! | `open_base.rs` | both file systems, open |
//! | `facts.rs`, `formats.rs` | what a base has, and the files that tell it |
//! | `cloud_init.rs`, `unit_files.rs` | whether cloud-init will run; files of systemd units |
//! | `used_ranges.rs` | which parts of the disk are in use |

pub(crate) mod cloud_init;
pub(crate) mod cmdline;
mod facts;
mod formats;
mod open;
mod open_base;
pub(crate) mod root_partition;
pub(crate) mod unit_files;
mod used_ranges;

pub use facts::{BaseFacts, Zones};
pub use formats::Layouts;
pub use open::open_in_place;
pub use open_base::OpenBase;
pub use used_ranges::used_ranges;
