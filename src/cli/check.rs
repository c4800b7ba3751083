//! `imgbuild check`: checks profiles without building anything.

use super::args::{CheckArgs, GlobalArgs};
use super::open_project;
use crate::error::Result;
use crate::job::Job;

pub fn run(args: &CheckArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &[], job)?;
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
        "{} {} OK: {}",
        names.len(),
        if names.len() == 1 { "node" } else { "nodes" },
        names.join(", ")
    ));
    Ok(())
}
