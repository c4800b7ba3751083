//! `imgbuild update`: moves pins.

use clap::Args;

use super::base::SourceArgs;
use super::open::open_project;
use super::output;
use super::shared_args::{GlobalArgs, ProjectArgs};
use crate::assemble::{Inputs, update};
use crate::error::Result;
use crate::job::Job;
use crate::lock::LOCK_FILE;

/// Arguments of `imgbuild update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Base, payload, package or container image to look up again [default: everything]
    pub names: Vec<String>,
    /// Show what would move, and leave imgbuild.lock as it is
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub project: ProjectArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Moves pins, and prints old and new.
pub fn run(args: &UpdateArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &[], job)?;
    let inputs = Inputs::new(None, args.source.fetch_options()?, None);
    let changes = update(&project, &args.names, &inputs, args.dry_run, job)?;
    for change in &changes {
        output::line(change)?;
    }
    let lock = project.folder().join(LOCK_FILE);
    job.progress.note(&match (changes.len(), args.dry_run) {
        (0, _) => "everything pinned is what it would be found to be today".to_owned(),
        (n, true) => format!("{n} would move; {} is as it was", lock.display()),
        (n, false) => format!("{n} moved in {}", lock.display()),
    });
    Ok(())
}
