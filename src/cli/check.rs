//! `imgbuild check`: checks profiles without building anything.

use clap::Args;

use super::base::base_named;
use super::open::open_project;
use super::shared_args::{GlobalArgs, ProjectArgs};
use crate::assemble::check_with_bases;
use crate::error::Result;
use crate::job::Job;
use crate::problems::Problems;
use crate::secrets::SecretMode;
use crate::source::FetchOptions;

/// Arguments of `imgbuild check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Do not check that secrets are available
    #[arg(long)]
    pub no_secrets: bool,
    /// Also check against the base images: IMAGE, or the profiles' own. Never downloads
    #[arg(long, value_name = "IMAGE", num_args = 0..=1)]
    pub base: Option<Option<String>>,
}

/// Checks all profiles.
pub fn run(args: &CheckArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &[], job)?;
    let mut problems = Problems::new();
    let given = matches!(&args.base, Some(Some(_)));
    problems.keep(project.check_files(given))?;
    let nodes = project.select(&[], true)?;
    let mode = if args.no_secrets {
        SecretMode::Redact
    } else {
        SecretMode::Rehearse
    };
    let plans = problems.keep(project.plans(&nodes, mode))?;
    if let (Some(image), Some(plans)) = (&args.base, &plans) {
        let named = |image: &str| base_named(image, None);
        let base = image.as_deref().map(named).transpose()?;
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
    if !args.no_secrets {
        for note in project.key_notes(&nodes)? {
            job.progress.note(&note);
        }
    }
    job.progress.note(&format!(
        "{} {} OK: {}",
        names.len(),
        if names.len() == 1 { "node" } else { "nodes" },
        names.join(", ")
    ));
    Ok(())
}
