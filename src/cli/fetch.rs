//! `imgbuild fetch`: fills the cache.

use clap::Args;

use super::base::{BaseArgs, base_request};
use super::open::open_project;
use super::shared_args::{GlobalArgs, ProjectArgs};
use crate::assemble::{Inputs, fetch};
use crate::error::Result;
use crate::job::Job;

/// Arguments of `imgbuild fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Node, by the name of its profile or by its host name; repeatable [default: all nodes]
    #[arg(short, long, value_name = "NAME")]
    pub profile: Vec<String>,
    #[command(flatten)]
    pub project: ProjectArgs,
    #[command(flatten)]
    pub base: BaseArgs,
}

/// Brings what nodes are made from into the cache.
pub fn run(args: &FetchArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &args.profile, job)?;
    let nodes = project.select(&args.profile, args.profile.is_empty())?;
    let inputs = Inputs {
        lock: args.base.lock_policy(),
        ..Inputs::new(
            base_request(&args.base)?,
            args.base.source.fetch_options()?,
            None,
        )
    };
    let fetched = fetch(&project, &nodes, &inputs, job)?;
    job.progress.note(&format!(
        "{fetched}: `imgbuild build --offline` needs nothing else"
    ));
    Ok(())
}
