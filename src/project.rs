//! A project: the folder with `profiles/` and `overlays/`, or the built-in ones.

use std::path::{Path, PathBuf};

use crate::config::{Cluster, Node, Overrides, ProfileSource, Profiles, RawProfile, check_cluster};
use crate::error::{Error, Result, ResultExt};
use crate::overlay::{Catalog, ClusterContext};
use crate::plan::{Plan, PlanOptions, plan_node};
use crate::problem::Problems;

/// All profiles and roles of a project, checked against each other.
pub struct Project {
    folder: PathBuf,
    pub cluster: Cluster,
    pub catalog: Catalog,
    context: ClusterContext,
    /// What the user should know: that the profiles are the built-in ones, files that are not read.
    pub notes: Vec<String>,
}

impl Project {
    /// Loads and checks a project: that of `folder`, or of the current folder where none is named, or
    /// the built-in one where that has none. `selected` profiles take the overrides of keys that
    /// belong to one node; empty means all nodes.
    pub fn open(folder: Option<&Path>, set: &[String], selected: &[String]) -> Result<Self> {
        let mut problems = Problems::new();
        let source = ProfileSource::find(folder)?;
        let folder = folder.unwrap_or(Path::new("."));
        let catalog = problems.keep(Catalog::load(folder))?;
        let profiles = Profiles::open(source, &mut problems)?;
        for name in selected {
            problems.keep(profiles.require(name))?;
        }
        let overrides = Overrides::parse(set, &mut problems);
        let raw = profiles.load(&overrides, selected, &mut problems);
        let cluster = match &catalog {
            Some(catalog) => resolve(catalog, raw, &mut problems)?,
            None => None,
        };
        // Nodes are compared when all of them are known.
        let (catalog, cluster) = problems.settle(catalog.zip(cluster))?;
        let context = compare(&catalog, &cluster)?;
        Ok(Self {
            folder: folder.to_owned(),
            cluster,
            catalog,
            context,
            notes: profiles.notes().to_vec(),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The nodes of the named profiles, or all of them, sorted by profile.
    pub fn select(&self, profiles: &[String], all: bool) -> Result<Vec<&Node>> {
        if all {
            return Ok(self.cluster.nodes.iter().collect());
        }
        let mut names = profiles.to_vec();
        names.sort();
        names.dedup();
        names
            .iter()
            .map(|name| {
                self.cluster.node(name).ok_or_else(|| {
                    Error::usage(format!(
                        "the profile `{name}` names no host: it is there to be extended, not to be built"
                    ))
                })
            })
            .collect()
    }

    /// Plans a node. With `redact`, secrets are neither needed nor shown.
    pub fn plan(&self, node: &Node, redact: bool) -> Result<Plan> {
        let options = PlanOptions {
            project: self.folder.clone(),
            redact,
        };
        plan_node(&self.catalog, &self.context, node, &options)
            .context(|| format!("planning {} (profile {})", node.hostname, node.profile))
    }
}

fn resolve(
    catalog: &Catalog,
    raw: Vec<RawProfile>,
    problems: &mut Problems,
) -> Result<Option<Cluster>> {
    match problems.keep(catalog.schema())? {
        Some(schema) => Cluster::resolve(raw, &schema, problems),
        None => Ok(None),
    }
}

/// Checks the nodes against each other and against their roles.
fn compare(catalog: &Catalog, cluster: &Cluster) -> Result<ClusterContext> {
    let mut problems = Problems::new();
    let context = problems.keep(ClusterContext::new(cluster, catalog))?;
    if let Some(context) = &context {
        problems.keep(catalog.check(cluster, context))?;
    }
    problems.keep(check_cluster(cluster))?;
    problems.settle(context)
}
