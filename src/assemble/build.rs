//! The two ways from profiles to nodes: images in files, and one node in memory.

use std::path::PathBuf;
use std::sync::Arc;

use super::access_files::{self, AccessFiles};
use super::bases::{BaseUsage, Demand};
use super::budget::{self, Shares};
use super::gather::{Gathered, gather};
use super::node_job::{BuildContext, NodeJob};
use super::nodes::{self, NodeImages};
use super::options::{BuildOptions, Inputs};
use super::outputs;
use crate::config::Node;
use crate::disk::{CowDisk, PageStore};
use crate::emit;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::patch::{PatchOptions, Patched};
use crate::project::Project;
use crate::secrets::SecretMode;
use crate::source::Store;

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// In the order of the nodes.
    pub nodes: Vec<NodeImages>,
    /// The checksum file, if there is anything in it.
    pub checksums: Option<PathBuf>,
    /// What lets people into the cluster.
    pub access: AccessFiles,
    /// Each base once.
    pub bases: Vec<BaseUsage>,
}

/// Builds `nodes`.
pub fn build(
    project: &Project,
    nodes: &[&Node],
    options: &BuildOptions,
    job: &Job,
) -> Result<Built> {
    let BuildOptions {
        inputs, outputs, ..
    } = options;
    make_keys(project, nodes, job)?;
    let plans = project.plans(nodes, SecretMode::Resolve)?;
    emit::prepare_folder(&outputs.folder)?;
    let store = Store::new(inputs.fetch.clone(), job.clone())?;
    let demand = Demand::of(outputs);
    let Gathered {
        bases,
        plans,
        payloads,
        sources,
    } = gather(project, nodes, plans, inputs, &demand, &store)?;
    let jobs: Vec<NodeJob<'_>> = plans
        .iter()
        .zip(bases.of_nodes())
        .zip(&sources)
        .map(|((plan, base), sources)| NodeJob {
            plan,
            base,
            sources,
        })
        .collect();
    let preset = outputs.packing.xz.preset;
    let context = BuildContext {
        payloads: &payloads,
        outputs,
        shares: Shares::new(inputs.memory, preset, options.jobs, nodes.len()),
        time: inputs.time,
        job: job.clone(),
    };
    let outcome = nodes::build(jobs, context);
    let images = outcome.done.iter().flat_map(|node| &node.images);
    // Also when a node failed: the images that were replaced must not stand beside their old digests.
    let checksums = outputs::write_checksums(&outputs.folder, images.chain(&outcome.images));
    if let Some(error) = outcome.error {
        return Err(error);
    }
    let checksums = checksums?;
    bases.remember(&store, job);
    project.remember_authorities(nodes, &inputs.lock)?;
    Ok(Built {
        nodes: outcome.done,
        checksums,
        access: access_files::write(project, nodes, &outputs.folder)?,
        bases: bases.usage(),
    })
}

/// Makes what is missing in secrets.toml, and tells of it.
fn make_keys(project: &Project, nodes: &[&Node], job: &Job) -> Result<()> {
    for note in project.make_keys(nodes)? {
        job.progress.note(&note);
    }
    Ok(())
}

/// A node whose image is in memory and in its base, not in a file.
pub struct PatchedNode {
    pub disk: Arc<CowDisk>,
    pub patched: Patched,
}

/// Makes one node without writing it anywhere.
pub fn patched_node(
    project: &Project,
    node: &Node,
    inputs: &Inputs,
    job: &Job,
) -> Result<PatchedNode> {
    make_keys(project, &[node], job)?;
    let plan = project.plan(node, SecretMode::Resolve)?;
    let store = Store::new(inputs.fetch.clone(), job.clone())?;
    let demand = Demand::of_edits();
    let Gathered {
        bases,
        plans,
        payloads,
        sources,
    } = gather(project, &[node], vec![plan], inputs, &demand, &store)?;
    let made = plans.first().zip(bases.of_nodes().next());
    let made = made.zip(sources.first());
    let ((plan, base), sources) = made.ok_or_else(|| Error::failed("no base was opened"))?;
    let pages = Arc::new(PageStore::new(budget::PAGES, &std::env::temp_dir()));
    let options = PatchOptions {
        payloads: &payloads,
        time: inputs.time.or(base.locked),
        cancel: &job.cancel,
    };
    project.remember_authorities(&[node], &inputs.lock)?;
    let node = NodeJob {
        plan,
        base,
        sources,
    };
    let (disk, patched) = nodes::patch_disk(&node, &pages, &options)?;
    bases.remember(&store, job);
    Ok(PatchedNode { disk, patched })
}
