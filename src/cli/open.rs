//! Opens the project that a command works on.

use super::output;
use super::shared_args::{GlobalArgs, ProjectArgs};
use crate::error::Result;
use crate::job::Job;
use crate::project::Project;

/// Opens the project for `selected` nodes, by profile or host name (none means all), and tells what
/// there is to know about it.
pub fn open_project(
    global: &GlobalArgs,
    args: &ProjectArgs,
    selected: &[String],
    job: &Job,
) -> Result<Project> {
    let project = Project::open(global.project.as_deref(), &args.set, selected)?;
    output::keep_secrets_of(project.vault());
    for note in &project.reading {
        job.progress.note(note);
    }
    Ok(project)
}
