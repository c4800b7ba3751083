//! The `imgbuild` program: a thin shell around the library.

#![deny(unsafe_code)]

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::give_back_large_buffers();
    imgbuild::cli::run()
}
