//! `imgbuild check`: checks profiles without building anything.

use super::args::CheckArgs;
use crate::error::Result;
use crate::job::Job;
use crate::project::Project;

pub fn run(args: &CheckArgs, job: &Job) -> Result<()> {
    let project = Project::open(&args.project.project, &args.project.set, &[])?;
    project.plans(&project.select(&[], true)?, args.no_secrets)?;
    let names: Vec<String> = project
        .cluster
        .nodes
        .iter()
        .map(|n| format!("{} ({}, {})", n.hostname, n.profile, n.address))
        .collect();
    job.progress.note(&format!(
        "{} nodes are fine: {}",
        names.len(),
        names.join(", ")
    ));
    Ok(())
}
