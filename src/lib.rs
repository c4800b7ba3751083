//! imgbuild turns Raspberry Pi OS into ready-to-flash images for the nodes of a home cluster.

#![forbid(unsafe_code)]

pub mod build;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod emit;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod job;
pub mod overlay;
pub mod patch;
pub mod plan;
pub mod project;
pub mod secrets;
pub mod source;
