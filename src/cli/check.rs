//! `imgbuild check`: checks profiles without building anything.

use super::args::CheckArgs;
use super::build::base_named;
use super::open_project;
use crate::build::check_with_bases;
use crate::error::Result;
use crate::job::Job;
use crate::source::FetchOptions;

pub fn run(args: &CheckArgs, job: &Job) -> Result<()> {
    let project = open_project(&args.project, &[], job)?;
    project.check_files()?;
    let mut plans = Vec::new();
    for node in &project.cluster.nodes {
        plans.push(project.plan(node, args.no_secrets)?);
    }
    if let Some(image) = &args.base {
        let base = image.as_deref().map(|image| base_named(image, None));
        let fetch = FetchOptions::from_env()?;
        let names = check_with_bases(&project, &plans, base, fetch, job)?;
        job.progress
            .note(&format!("checked against {}", names.join(", ")));
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
