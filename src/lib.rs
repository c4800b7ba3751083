//! imgbuild turns Raspberry Pi OS into ready-to-flash images for the nodes of a home cluster.

#![forbid(unsafe_code)]

pub mod disk;
pub mod emit;
pub mod error;
pub mod fat;
pub mod job;
