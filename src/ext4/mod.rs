//! Editing and growing the ext4 root file system of an image, without mounting it.
//!
//! [`Ext4`] is deliberately narrow, so that the engine behind it (`engine.rs`) can be replaced.
//! Everything it does is decided by its arguments: times are given, inode generations counted,
//! so the same operations on the same base give the same bytes. Whatever it leaves behind,
//! `e2fsck -fn` has nothing to say about it.
//!
//! | file | holds |
//! |---|---|
//! | `edit.rs` | [`Ext4`]: the operations |
//! | `path.rs` | paths to inodes, symbolic links |
//! | `engine.rs`, `journal_shim.rs` | the crate that does the work, and what it sees of the disk |
//! | `preflight.rs` | is this file system whole, clean and of a kind we can edit? |
//! | `superblock.rs`, `group_descriptor.rs`, `inode.rs`, `block_map.rs`, `features.rs`, `checksum.rs`, `bytes.rs` | the format |
//! | `grow.rs`, `resize_inode.rs` | making it larger |
//! | `steering.rs`, `gather.rs` | which part of the disk new data goes to, and what is moved there |
//! | `space.rs`, `estimate.rs` | what is free, and what edits will take |
//! | `names.rs`, `write_time.rs` | what an unopened file system says of itself |
//! | `used.rs` | which parts of the disk are in use |

mod block_map;
mod bytes;
mod checksum;
mod edit;
mod engine;
mod estimate;
mod features;
mod gather;
mod group_descriptor;
mod grow;
mod inode;
mod journal_shim;
mod names;
mod path;
mod preflight;
mod resize_inode;
mod space;
mod steering;
mod superblock;
mod used;
mod write_time;

pub use edit::{Attr, Entry, Ext4, FileKind, Stat};
pub use estimate::Estimate;
pub use grow::{grow, max_len, space_at};
pub use names::{Names, names};
pub use space::{Need, Space};
pub use used::used_ranges;
pub use write_time::{label, last_written};
