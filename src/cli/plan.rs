//! `imgbuild plan`: shows the edits of a node.

use super::args::PlanArgs;
use super::open_project;
use super::output;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::plan::{print_json, print_text};

pub fn run(args: &PlanArgs, job: &Job) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage(
            "which node? Name one with --profile NAME, or plan --all",
        ));
    }
    let project = open_project(&args.project, &args.nodes.profile, job)?;
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let plans = project.plans(&nodes, true)?;
    if args.json {
        let values: Vec<_> = plans.iter().map(print_json).collect();
        let text = serde_json::to_string_pretty(&values).context(|| "printing JSON".into())?;
        output::line(text)?;
    } else {
        for plan in &plans {
            output::text(&print_text(plan))?;
        }
    }
    Ok(())
}
