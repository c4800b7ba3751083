//! FAT32 editing: reads and writes files of the boot partition without mounting it.
//!
//! After Microsoft's “FAT32 File System Specification” 1.03 and what `fsck.vfat` and Linux's vfat
//! agree on. The table is held in memory: checking it for loops and cross-links needs all of it
//! anyway, and with it the editing is short. (The `fatfs` crate was tried first. It writes `.` and
//! `..` with long names and a `..` that does not say 0 for the root, does not clear clusters that
//! the root directory grows by, leaves stale bytes behind the end of files, refuses FAT32 with
//! fewer than 65,525 clusters and wants a `'static` clock.)
//!
//! A partition is checked as a whole when it is opened, so that editing never meets a damaged one.
//! The same edits of the same partition give the same bytes: clusters are handed out in order, times
//! are given by the caller, and what is left of a file's last cluster, and clusters that become
//! free, are zeroed; but for what the base has in clusters that a file leaves, because to zero them
//! is what leaving them is to save.

mod check;
mod damaged;
mod directory;
mod edit;
mod file_system;
mod geometry;
mod name;
mod placement;
mod table;
mod time;
mod used;

pub use file_system::Fat;
pub use used::used_ranges;
