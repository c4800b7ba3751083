//! The command line: parses, calls, prints. Results go to stdout, everything else to stderr.

mod args;
mod build;
mod check;
mod confirm;
mod flash;
mod init;
mod output;
mod plan;
mod report;
mod values;

use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result, exit_code};
use crate::job::{Cancel, Job};
use crate::project::Project;
use args::{Cli, Command, ProjectArgs};

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
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

/// Opens the project of a command, and tells what there is to know about it.
fn open_project(args: &ProjectArgs, selected: &[String], job: &Job) -> Result<Project> {
    let project = Project::open(args.project.as_deref(), &args.set, selected)?;
    for note in &project.reading {
        job.progress.note(note);
    }
    Ok(project)
}

fn dispatch(cli: Cli) -> Result<()> {
    let cancel = Cancel::default();
    let handler = cancel.clone();
    ctrlc::set_handler(move || handler.cancel())
        .map_err(|e| Error::failed("listening for Ctrl-C").with_source(e))?;
    let job = Job {
        progress: report::progress(),
        cancel,
    };
    match cli.command {
        None => build::run(&cli.build, &job),
        Some(Command::Plan(args)) => plan::run(&args, &job),
        Some(Command::Check(args)) => check::run(&args, &job),
        Some(Command::Init(args)) => init::run(&args),
        Some(Command::Flash(args)) => flash::run(&args, &job),
    }
}
