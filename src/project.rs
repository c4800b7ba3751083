//! A project: the folder with `profiles/` and `overlays/`, or the built-in ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Cluster, Node, Overrides, ProfileSource, Profiles, check_cluster};
use crate::error::{Error, Result, ResultExt};
use crate::overlay::Catalog;
use crate::plan::{Plan, PlanOptions, plan_node};

/// All profiles and roles of a project, checked against each other.
pub struct Project {
    folder: PathBuf,
    /// Names of nodes as they were asked for, and the profiles they stand for.
    named: BTreeMap<String, String>,
    pub cluster: Cluster,
    pub catalog: Catalog,
    /// Whether the profiles are the built-in ones.
    pub built_in: bool,
}

impl Project {
    /// Loads and checks everything in `folder`. `selected` nodes, by profile or host name, take the
    /// overrides of keys that belong to one node; empty means all nodes.
    pub fn open(folder: &Path, set: &[String], selected: &[String]) -> Result<Self> {
        let catalog = Catalog::load(folder)?;
        let profiles = Profiles::open(ProfileSource::find(folder))?;
        let mut named = BTreeMap::new();
        for name in selected {
            named.insert(name.clone(), profiles.find(name)?);
        }
        let selected: Vec<String> = named.values().cloned().collect();
        let raw = profiles.load(&Overrides::parse(set)?, &selected)?;
        let cluster = Cluster::resolve(raw, &catalog.schema()?)?;
        catalog.check(&cluster)?;
        check_cluster(&cluster)?;
        Ok(Self {
            folder: folder.to_owned(),
            named,
            cluster,
            catalog,
            built_in: matches!(profiles.source(), ProfileSource::BuiltIn),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The nodes named by profile or host name, or all of them, sorted by profile.
    pub fn select(&self, names: &[String], all: bool) -> Result<Vec<&Node>> {
        if all {
            return Ok(self.cluster.nodes.iter().collect());
        }
        let mut profiles: Vec<&String> = names
            .iter()
            .map(|name| self.named.get(name).unwrap_or(name))
            .collect();
        profiles.sort();
        profiles.dedup();
        profiles
            .into_iter()
            .map(|name| {
                self.cluster.node(name).ok_or_else(|| {
                    Error::usage(format!(
                        "the profile `{name}` has no `hostname`, so it can only be extended, not built"
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
        plan_node(&self.cluster, &self.catalog, node, &options)
            .context(|| format!("planning {} (profile {})", node.hostname, node.profile))
    }
}
