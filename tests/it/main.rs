//! All integration tests, in one binary: the crate is linked once, and there is one world of helpers.

// Its `#[test]` is that of all files here: see `common::needs`.
#[macro_use]
extern crate may_skip;

mod common;

mod bad_input;
mod base_facts;
mod cluster_roles;
mod container_images;
mod debian;
mod docs;
mod emit;
mod ext4;
mod ext4_fuzz;
mod fat;
mod flash;
mod formats;
mod image;
mod images;
mod lock_file;
mod lzma;
mod manifests;
mod packages;
mod packed_bases;
mod partition_table;
mod pki;
mod profiles;
mod raw_images;
mod records;
mod role_manifest;
mod rooms;
mod secrets;
mod snapshots;
mod source;
mod splice;
mod trust;
mod used_ranges;
mod xz_image;
