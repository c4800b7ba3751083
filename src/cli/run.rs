//! From the process's arguments to its exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command};
use super::default_command::with_command;
use super::{
    build, cache, check, fetch, flash, init, kubeconfig, output, plan, report, update, verify,
};
use crate::error::{Error, Result, exit_code};
use crate::job::{Cancel, Job};

/// All commands with their options, for the reference that is made from them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    output::tell_panics();
    let cli = match Cli::try_parse_from(with_command(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too, and belong on stdout.
            let code = if error.use_stderr() {
                exit_code::USAGE
            } else {
                exit_code::DONE
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = dispatch(cli);
    output::tell_overheard();
    match done {
        Ok(()) => ExitCode::from(exit_code::DONE),
        Err(error) => {
            report::print_error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let cancel = Cancel::default();
    let handler = cancel.clone();
    ctrlc::set_handler(move || handler.cancel())
        .map_err(|e| Error::failed("listening for Ctrl-C").with_source(e))?;
    let global = &cli.global;
    let job = Job {
        progress: report::progress(global.quiet),
        cancel,
    };
    match &cli.command {
        Command::Build(args) => build::run(args, global, &job),
        Command::Plan(args) => plan::run(args, global, &job),
        Command::Check(args) => check::run(args, global, &job),
        Command::Init(args) => init::run(args, global),
        Command::Update(args) => update::run(args, global, &job),
        Command::Fetch(args) => fetch::run(args, global, &job),
        Command::Kubeconfig(args) => kubeconfig::run(args, global, &job),
        Command::Cache(args) => cache::run(args, global, &job),
        Command::Flash(args) => flash::run(args, global, &job),
        Command::Verify(args) => verify::run(args, global, &job),
    }
}
