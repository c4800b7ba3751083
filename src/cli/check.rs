//! `imgbuild check`: checks profiles without building anything.

use super::args::CheckArgs;
use super::open_project;
use crate::error::Result;
use crate::job::Job;

pub fn run(args: &CheckArgs, job: &Job) -> Result<()> {
    let project = open_project(&args.project, &[], job)?;
    project.check_files()?;
    for node in &project.cluster.nodes {
        project.plan(node, args.no_secrets)?;
    }
    let names: Vec<String> = project
        .cluster
        .nodes
        .iter()
        .map(|n| format!("{} ({}, {})", n.hostname, n.profile, n.address))
        .collect();
    for note in &project.notes {
        job.progress.note(note);
    }
    job.progress.note(&format!(
        "{} nodes are fine: {}",
        names.len(),
        names.join(", ")
    ));
    Ok(())
}
