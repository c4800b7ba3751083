//! The `imgbuild` program: a thin shell around the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    imgbuild::cli::run()
}
