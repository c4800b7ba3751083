//! A project: the folder with `profiles/` and `overlays/`, or the built-in ones.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Cluster, Node, Overrides, ProfileSource, Profiles, check_cluster};
use crate::error::{Error, Result, ResultExt};
use crate::overlay::{Catalog, check_shared_secrets};
use crate::plan::{Plan, PlanOptions, plan_node};
use crate::problem::Problems;
use crate::secrets::Vault;

/// All profiles and roles of a project, checked against each other.
pub struct Project {
    vault: Arc<Vault>,
    pub cluster: Cluster,
    pub catalog: Catalog,
    /// Whether the profiles are the built-in ones.
    pub built_in: bool,
}

impl Project {
    /// Loads and checks everything in `folder`. `selected` profiles take the overrides of keys that
    /// belong to one node; empty means all nodes.
    pub fn open(folder: &Path, set: &[String], selected: &[String]) -> Result<Self> {
        let catalog = Catalog::load(folder)?;
        let profiles = Profiles::open(ProfileSource::find(folder))?;
        for name in selected {
            profiles.require(name)?;
        }
        let raw = profiles.load(&Overrides::parse(set)?, selected)?;
        let cluster = Cluster::resolve(raw, &catalog.schema()?)?;
        catalog.check(&cluster)?;
        check_cluster(&cluster)?;
        Ok(Self {
            vault: Arc::new(Vault::new(folder)),
            cluster,
            catalog,
            built_in: matches!(profiles.source(), ProfileSource::BuiltIn),
        })
    }

    pub fn folder(&self) -> &Path {
        self.vault.project()
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

    /// Plans `nodes`, and tells everything that is wrong with what they are given: keys, secrets, and
    /// secrets that differ between nodes. With `redact`, secrets are neither needed nor shown.
    pub fn plans(&self, nodes: &[&Node], redact: bool) -> Result<Vec<Plan>> {
        let mut problems = Problems::new();
        let mut plans = Vec::new();
        for node in nodes {
            plans.extend(problems.keep(self.plan_one(node, redact))?);
        }
        self.check_shared(redact, &mut problems)?;
        problems.report()?;
        Ok(plans)
    }

    /// Plans one node. What all nodes share is checked too.
    pub fn plan(&self, node: &Node, redact: bool) -> Result<Plan> {
        let plan = self.plan_one(node, redact)?;
        let mut problems = Problems::new();
        self.check_shared(redact, &mut problems)?;
        problems.report()?;
        Ok(plan)
    }

    fn check_shared(&self, redact: bool, problems: &mut Problems) -> Result<()> {
        let vault = (!redact).then_some(self.vault.as_ref());
        check_shared_secrets(&self.cluster, &self.catalog, vault, problems)
    }

    fn plan_one(&self, node: &Node, redact: bool) -> Result<Plan> {
        let options = PlanOptions {
            vault: self.vault.clone(),
            redact,
        };
        plan_node(&self.cluster, &self.catalog, node, &options)
            .context(|| format!("planning {} (profile {})", node.hostname, node.profile))
    }
}
