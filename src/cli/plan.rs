//! `imgbuild plan`: shows the edits of a node.

use clap::Args;

use super::open::open_project;
use super::output;
use super::shared_args::{GlobalArgs, NodeArgs, ProjectArgs};
use crate::assemble::show_images;
use crate::config::Node;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::lock::{LockBook, LockPolicy};
use crate::patch::touched;
use crate::plan::{Plan, print_json, print_text, show, showable};
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::source::{BaseRequest, FetchOptions};
use crate::suggest::did_you_mean;

/// Arguments of `imgbuild plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print one file as it will be on the node, with secrets masked
    ///
    /// The boot partition is at /boot/firmware. For a file of the base that is only edited, the
    /// edits are printed.
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    pub show: Option<String>,
}

/// Shows the plans of the nodes.
pub fn run(args: &PlanArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage("which node?")
            .with_hint("name one with --profile NAME, or plan all nodes with --all"));
    }
    let project = open_project(global, &args.project, &args.nodes.profile, job)?;
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let mut plans = project.plans(&nodes, SecretMode::Redact)?;
    add_pinned(&project, &nodes, &mut plans)?;
    if let Some(path) = &args.show {
        output::text(&shown(&plans, path)?)?;
    } else if args.json {
        output::text(&json(&plans)?)?;
    } else {
        let texts: Vec<String> = plans.iter().map(|p| print_text(p, &touched(p))).collect();
        output::text(&texts.join("\n\n"))?;
    }
    Ok(())
}

/// What imgbuild.lock says that their packages and container images are.
fn add_pinned(project: &Project, nodes: &[&Node], plans: &mut [Plan]) -> Result<()> {
    let book = LockBook::open(project.folder(), LockPolicy::Locked)?;
    let lock = book.content();
    for (node, plan) in nodes.iter().zip(&mut *plans) {
        let base = BaseRequest::from_setting(&node.base.image, node.base.sha256.as_deref())?;
        plan.pinned = lock.shown_packages(&base.name(), &plan.packages);
    }
    show_images(project, plans, &book, FetchOptions::from_env()?);
    Ok(())
}

fn json(plans: &[Plan]) -> Result<String> {
    let values: Vec<_> = plans.iter().map(|p| print_json(p, &touched(p))).collect();
    let text = serde_json::to_string_pretty(&values).context(|| "printing JSON".into())?;
    Ok(format!("{text}\n"))
}

/// What is at `path` on each node that has it; with a heading when there is more than one text.
fn shown(plans: &[Plan], path: &str) -> Result<String> {
    let path = format!("/{}", path.trim_start_matches('/'));
    let mut found = Vec::new();
    for plan in plans {
        let texts = show(plan, &path).into_iter();
        found.extend(texts.map(|shown| (&plan.hostname, shown)));
    }
    match found.as_slice() {
        [] => Err(unknown_path(plans, &path)),
        [(_, only)] => Ok(only.text.clone()),
        several => {
            let texts: Vec<String> = several
                .iter()
                .map(|(host, shown)| {
                    let (origin, when) = (&shown.origin, shown.when.note());
                    let note = when.map(|n| format!(", {n}")).unwrap_or_default();
                    format!("==> {host}: {path} ({origin}{note}) <==\n{}", shown.text)
                })
                .collect();
            Ok(texts.join("\n"))
        }
    }
}

fn unknown_path(plans: &[Plan], path: &str) -> Error {
    let paths: Vec<String> = plans.iter().flat_map(showable).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let hint = did_you_mean(path, &paths);
    let hint = hint.unwrap_or_else(|| "`imgbuild plan` without --show lists the files".to_owned());
    Error::usage(format!("--show {path}: the plan has no such file")).with_hint(hint)
}
