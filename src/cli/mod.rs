//! The command line: parses, calls, prints. Results go to stdout, everything else to stderr.
//!
//! Each command is a file with its arguments beside it.

mod args;
mod base;
mod build;
mod cache;
mod check;
mod confirm;
mod default_command;
mod fetch;
mod flash;
mod init;
mod kubeconfig;
mod next_steps;
mod open;
mod output;
mod plan;
mod report;
mod run;
mod shared_args;
mod update;
mod values;
mod verify;

pub use default_command::with_command;
pub use run::{command, run};
