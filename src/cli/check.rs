//! `imgbuild check`: checks profiles without building anything.

use super::args::{CheckArgs, GlobalArgs};
use super::build::base_named;
use super::open_project;
use crate::assemble::check_with_bases;
use crate::error::Result;
use crate::job::Job;
use crate::problems::Problems;
use crate::source::FetchOptions;

pub fn run(args: &CheckArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &[], job)?;
    let mut problems = Problems::new();
    let given = matches!(&args.base, Some(Some(_)));
    problems.keep(project.check_files(given))?;
    let nodes = project.select(&[], true)?;
    let plans = problems.keep(project.plans(&nodes, args.no_secrets))?;
    if let (Some(image), Some(plans)) = (&args.base, &plans) {
        let base = image.as_deref().map(|image| base_named(image, None));
        let fetch = FetchOptions::from_env()?;
        let checked = check_with_bases(&project, plans, base, fetch, job);
        if let Some(names) = problems.keep(checked)? {
            job.progress
                .note(&format!("checked against {}", names.join(", ")));
        }
    }
    problems.report()?;
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
