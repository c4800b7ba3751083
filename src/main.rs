//! The `imgbuild` program: a thin shell around the library.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::give_back_large_buffers();
    imgbuild::cli::run()
}
