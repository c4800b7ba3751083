//! The command line: parses, calls, prints. Results go to stdout, everything else to stderr.

mod args;
mod build;
mod check;
mod confirm;
mod flash;
mod init;
mod next_steps;
mod output;
mod plan;
mod report;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::error::{Error, Result, exit_code};
use crate::job::{Cancel, Job};
use crate::project::Project;
pub use args::with_command;
use args::{Cli, Command, GlobalArgs, ProjectArgs};

/// All commands with their options, for the reference that is made from them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
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
    match dispatch(cli) {
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
        Command::Flash(args) => flash::run(args, global, &job),
    }
}

/// Opens the project for `selected` nodes, by profile or host name (none means all), and tells what
/// there is to know about it.
fn open_project(
    global: &GlobalArgs,
    args: &ProjectArgs,
    selected: &[String],
    job: &Job,
) -> Result<Project> {
    let project = Project::open(global.project.as_deref(), &args.set, selected)?;
    for note in &project.reading {
        job.progress.note(note);
    }
    Ok(project)
}
