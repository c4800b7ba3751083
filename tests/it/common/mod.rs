//! What tests stand on: images, file systems, servers, the program itself, and the tools that judge.

pub mod archive;
pub mod emit;
pub mod ext4;
pub mod flash;
pub mod fuzz_cases;
pub mod http_server;
pub mod images;
pub mod keys;
pub mod kube_objects;
pub mod needs;
pub mod openpgp;
pub mod sample_image;
pub mod small_base;
pub mod tcp_service;
pub mod tools;
pub mod validators;
pub mod workbench;
