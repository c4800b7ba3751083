//! `imgbuild plan`: shows the edits of a node.

use super::args::PlanArgs;
use crate::error::{Error, Result, ResultExt};
use crate::plan::{print_json, print_text};
use crate::project::Project;

pub fn run(args: &PlanArgs) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage(
            "which node? Name one with --profile NAME, or plan --all",
        ));
    }
    let project = Project::open(
        &args.project.project,
        &args.project.set,
        &args.nodes.profile,
    )?;
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let plans = project.plans(&nodes, true)?;
    if args.json {
        let values: Vec<_> = plans.iter().map(print_json).collect();
        let text = serde_json::to_string_pretty(&values).context(|| "printing JSON".into())?;
        println!("{text}");
    } else {
        for plan in &plans {
            print!("{}", print_text(plan));
        }
    }
    Ok(())
}
