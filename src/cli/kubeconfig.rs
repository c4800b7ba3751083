//! `imgbuild kubeconfig`: makes access to the cluster.

use std::path::PathBuf;

use clap::Args;

use super::open::open_project;
use super::output;
use super::shared_args::{GlobalArgs, ProjectArgs};
use crate::assemble::write_kubeconfig;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::pki::{Access, Purpose};

/// Longest life of a kubeconfig, in days.
const MOST_DAYS: i64 = 3650;

/// Arguments of `imgbuild kubeconfig`.
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Days that the access lasts. Kubernetes cannot take it back sooner
    #[arg(long, value_name = "N", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=MOST_DAYS))]
    pub days: u32,
    /// File to write, with mode 0600
    #[arg(short, long, value_name = "FILE", default_value = "out/kubeconfig")]
    pub out: PathBuf,
    /// Name that the cluster knows the user by
    #[arg(long, value_name = "NAME", default_value = "imgbuild-admin")]
    pub user: String,
    /// Group that the user is in. system:masters may do everything; rights of another group come from a
    /// RoleBinding
    #[arg(long, value_name = "GROUP", default_value = "system:masters")]
    pub group: String,
}

/// Writes the kubeconfig.
pub fn run(args: &KubeconfigArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let project = open_project(global, &args.project, &[], job)?;
    let place = project.place()?;
    if !Purpose::Cluster.is_in(project.keys()?.as_ref()) {
        return Err(Error::usage(
            "the cluster has no keys yet: secrets.toml is made by the first build of a k3s node",
        )
        .with_hint("build the nodes first: imgbuild build --all"));
    }
    let nodes = project.select(&[], true)?;
    for note in project.key_notes(&nodes)? {
        job.progress.note(&note);
    }
    let access = Access {
        user: args.user.clone(),
        group: args.group.clone(),
        days: args.days,
    };
    let made = write_kubeconfig(&project, &access, &args.out)?;
    job.progress.note(&format!(
        "{} in the group {} of {}, until {}",
        access.user, access.group, place.server, made.until
    ));
    output::line(args.out.display())
}
