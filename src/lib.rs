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
//! | [`cli`] | one file a command with its arguments, messages, exit codes, the one writer | everything |
//! | [`assemble`] | from plans to files: options, bases, payloads, nodes in parallel, memory budget | everything but `cli` |
//! | [`project`] | a folder of profiles and roles, loaded and checked; its keys | config, lock, overlay, pki, plan, secrets, source |
//! | [`config`] | profiles: values with their lines, schema, `extends`, checks between nodes | secrets |
//! | [`overlay`] | roles: `role.toml`, files, templates; the built-in ones | config, pki, secrets |
//! | [`plan`] | `Plan` and `Edit`, identity, printing | config, kubernetes, lock, oci, overlay, secrets |
//! | [`lock`] | requests, the pins that answer them, and `imgbuild.lock` that keeps them: no network | nothing of ours |
//! | [`oci`] | container images as data: names, manifests, logins, the archive that a node imports; no network | nothing of ours |
//! | [`source`] | resolvers (request to pin) above the store (pin to file): Imager index, checksum files, signatures, archives of packages, downloads, cache, registries of container images | debian, disk, lock, oci, trust, xz |
//! | [`secrets`] | where secrets come from, each followed once and wiped; secrets.toml, where what is random is kept; the mask of all that is printed | nothing of ours |
//! | [`pki`] | the cluster's certificate authorities and keys, full tokens, kubeconfigs | secrets |
//! | [`xz`] | the container, images read in place, LZMA symbols, the splice; knows no node | disk |
//! | [`disk`] | raw images, the copy-on-write disk, windows, ranges, partition tables | nothing of ours |
//! | [`fat`] | editing FAT32 | disk |
//! | [`ext4`] | editing and growing ext4 | disk |
//! | [`image`] | any image: which partitions are boot and root, what the base has, what is in use | disk, ext4, fat, xz |
//! | [`base_check`] | whether a base has what nodes ask for, and has it not in their way | config, ext4, image, overlay, patch, plan |
//! | [`patch`] | carries a plan out on a disk | config, disk, ext4, fat, image, oci, overlay, plan, secrets, source |
//! | [`kubernetes`] | manifests as data: read, changed, written, held against what k3s demands, searched for images | nothing of ours |
//! | [`trust`] | OpenPGP: signatures of downloads and indexes by pinned keys, and those keys | nothing of ours |
//! | [`debian`] | Debian's archives and packages as data: sources, indexes, dpkg's status, resolving | nothing of ours |
//! | [`records`] | what an image is made of, as data beside it: SPDX, provenance, the list of edits | lock |
//! | [`emit`] | one door from a disk to a file: raw, xz, zstd, gzip; block maps, checksums | disk, xz |
//! | [`flash`] | reasons not to write to a device, and writing to one | disk |
//! | [`error`], [`problem`], [`problems`], [`job`], [`clock`], [`digest`], [`url`], `parallel`, `pem`, `positioned`, `disk_space`, `home_path`, `size`, `suggest`, `whole_file` | what everything uses: errors with hints, problems of the input, progress, cancellation, dates, digests, URLs that hide their credentials, threads, PEM, what only Unix has | |

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
pub mod debian;
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
pub mod kubernetes;
pub mod lock;
pub mod oci;
pub mod overlay;
mod parallel;
pub mod patch;
mod pem;
pub mod pki;
pub mod plan;
mod positioned;
pub mod problem;
pub mod problems;
pub mod project;
pub mod records;
pub mod secrets;
mod size;
pub mod source;
mod suggest;
pub mod trust;
pub mod url;
mod whole_file;
pub mod xz;
