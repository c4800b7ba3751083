//! imgbuild turns Raspberry Pi OS into ready-to-flash images for the nodes of a home cluster.
//!
//! ```text
//! profiles ──► config ──► Cluster ──┐
//! overlays ──► overlay ─────────────┼──► plan ──► Plan (ordered edits of boot and root)
//! base, payloads ──► source ────────┘               │
//!                      └──► disk (copy-on-write) ◄── patch (fat, ext4) ──► emit: .img, .img.xz, …
//! ```
//!
//! | room | holds | may use |
//! |---|---|---|
//! | [`cli`] | one file a command with its arguments, messages, exit codes | everything |
//! | [`assemble`] | the way from plans to files: options, bases, payloads, nodes in parallel, memory | everything but `cli` |
//! | [`project`] | a folder of profiles and roles, loaded and checked | config, overlay, plan, secrets, source |
//! | [`config`] | profiles: values with their lines, schema, `extends`, checks between nodes | secrets |
//! | [`overlay`] | roles: `role.toml`, files, templates; the built-in ones | config, secrets |
//! | [`plan`] | `Plan` and `Edit`, identity, printing | config, overlay, secrets |
//! | [`secrets`] | where secrets come from, each followed once and wiped; the mask of all that is printed | nothing of ours |
//! | [`source`] | Imager index, downloads, cache, decompression, archives | disk |
//! | [`disk`] | bases, the copy-on-write disk, partition tables, the xz container | nothing of ours |
//! | [`fat`] | editing FAT32 | disk |
//! | [`ext4`] | editing and growing ext4 | disk |
//! | [`image`] | opens images, finds boot and root, reads what a base has and which parts are in use | disk, ext4, fat, xz |
//! | [`patch`] | carries a plan out on a disk | config, disk, ext4, fat, image, overlay, plan, secrets, source |
//! | [`base_check`] | rules for what only a base can tell: whether it has what nodes ask for | config, ext4, image, overlay, patch, plan |
//! | [`lzma`] | LZMA2 streams, changed without compressing them again | nothing of ours |
//! | [`emit`] | raw, xz, zstd and gzip images, block maps, checksums | disk, lzma |
//! | [`flash`] | reasons not to write to a device, and writing to one | disk |
//! | [`error`], [`problem`], [`problems`], [`job`], [`clock`], `parallel`, `size`, `suggest` | what everything uses: errors with hints, problems of the input, nearest names, progress, cancellation, the date, threads, sizes for people | |

#![forbid(unsafe_code)]
// A mistake in the input ends in an error, never in a panic.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Only the command line prints, and only through `cli::output`; the rest reports through `job::Progress`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod assemble;
pub mod base_check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod digest;
pub mod disk;
mod disk_space;
pub mod emit;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod flash;
mod home_path;
pub mod image;
pub mod job;
pub mod lock;
pub mod overlay;
mod parallel;
pub mod patch;
pub mod plan;
mod positioned;
pub mod problem;
pub mod problems;
pub mod project;
pub mod secrets;
mod size;
pub mod source;
mod suggest;
pub mod url;
pub mod xz;
