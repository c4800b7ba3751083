//! A project: the folder with `profiles/` and `overlays/`, or the built-in ones, and its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::clock;
use crate::config::{
    BaseSettings, Cluster, Kind, Node, Overrides, ProfileSource, Profiles, RawProfile,
    check_cluster, check_stock_base,
};
use crate::error::{Error, Result, ResultExt};
use crate::home_path::expand;
use crate::lock::{LOCK_FILE, LockBook, LockPolicy};
use crate::overlay::{
    Catalog, ClusterContext, Findings, check_roles, check_shared_secrets, pki_needs,
};
use crate::pki::{self, Owner, Place, Purpose};
use crate::plan::{Plan, plan_node};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::{Added, SECRETS_FILE, SecretAccess, SecretMode, Tables, Vault, not_ignored};
use crate::source::BaseRequest;

/// Seconds.
const DAY: i64 = 86_400;

/// All profiles and roles of a project, checked against each other.
pub struct Project {
    vault: Arc<Vault>,
    /// Names of nodes as they were asked for, and the profiles they stand for.
    named: BTreeMap<String, String>,
    pub cluster: Cluster,
    pub catalog: Catalog,
    context: ClusterContext,
    /// Where the profiles come from, when they are the built-in ones, and files that are not read.
    pub reading: Vec<String>,
    /// What rules of roles want the user to know.
    pub notes: BTreeSet<String>,
}

impl Project {
    /// Loads and checks a project: that of `folder`, or of the current folder where none is named, or
    /// the built-in one where that has none. `selected` nodes, by profile or host name, take the
    /// overrides of keys that belong to one node; empty means all nodes.
    pub fn open(folder: Option<&Path>, set: &[String], selected: &[String]) -> Result<Self> {
        let mut problems = Problems::new();
        let source = ProfileSource::find(folder)?;
        let folder = folder.unwrap_or(Path::new("."));
        let catalog = problems.keep(Catalog::load(folder))?;
        let profiles = Profiles::open(source, &mut problems)?;
        let mut named = BTreeMap::new();
        for name in selected {
            if let Some(profile) = problems.keep(profiles.find(name))? {
                named.insert(name.clone(), profile);
            }
        }
        let selected: Vec<String> = named.values().cloned().collect();
        let overrides = Overrides::parse(set, &mut problems);
        let raw = profiles.load(&overrides, &selected, &mut problems);
        let cluster = match &catalog {
            Some(catalog) => resolve(catalog, raw, &mut problems)?,
            None => None,
        };
        // Nodes are compared when all of them are known.
        let (catalog, cluster) = problems.settle(catalog.zip(cluster))?;
        let vault = Arc::new(Vault::new(folder));
        let redacted = SecretAccess::new(vault.clone(), SecretMode::Redact);
        let (context, notes) = compare(&catalog, &cluster, &redacted)?;
        Ok(Self {
            vault,
            named,
            cluster,
            catalog,
            context,
            reading: profiles.notes().to_vec(),
            notes,
        })
    }

    /// The secrets of this run.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The folder of the project.
    pub fn folder(&self) -> &Path {
        self.vault.project()
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

    /// Plans `nodes`, and tells everything that is wrong with what they are given: keys, secrets, and
    /// secrets that differ between nodes.
    pub fn plans(&self, nodes: &[&Node], mode: SecretMode) -> Result<Vec<Plan>> {
        let mut problems = Problems::new();
        let mode = self.check_keys(nodes, mode, &mut problems)?;
        let secrets = self.secrets(mode);
        let mut plans = Vec::new();
        for node in nodes {
            plans.extend(problems.keep(self.plan_one(node, &secrets))?);
        }
        self.check_shared(&secrets, &mut problems)?;
        problems.report()?;
        Ok(plans)
    }

    /// Plans one node. What all nodes share is checked too.
    pub fn plan(&self, node: &Node, mode: SecretMode) -> Result<Plan> {
        let mut problems = Problems::new();
        let mode = self.check_keys(&[node], mode, &mut problems)?;
        let secrets = self.secrets(mode);
        let plan = self.plan_one(node, &secrets)?;
        self.check_shared(&secrets, &mut problems)?;
        problems.report()?;
        Ok(plan)
    }

    /// Which keys of the cluster `nodes` need.
    pub fn pki_needs(&self, nodes: &[&Node]) -> Result<BTreeSet<Purpose>> {
        let redacted = self.secrets(SecretMode::Redact);
        let mut needs = BTreeSet::new();
        for node in nodes {
            needs.extend(pki_needs(&self.catalog, &self.context, node, &redacted)?);
        }
        Ok(needs)
    }

    /// Makes the keys of the cluster that `nodes` need and secrets.toml does not have yet, if nothing else is in
    /// the way of building the nodes. Returns what the user should know.
    pub fn make_keys(&self, nodes: &[&Node]) -> Result<Vec<String>> {
        let needs = self.pki_needs(nodes)?;
        if needs.is_empty() {
            return Ok(Vec::new());
        }
        let kept = self.vault.kept();
        let (owner, tables) = (self.owner(), kept.tables()?);
        if !pki::make_missing(&tables, &needs, &owner)?.is_empty() {
            self.plans(nodes, SecretMode::Rehearse)?;
        }
        let added = kept.add(|tables| pki::make_missing(tables, &needs, &owner))?;
        let place = kept.path().display();
        let mut notes = Vec::new();
        if added != Added::Nothing {
            notes.push(format!(
                "{place} holds new keys of this cluster. Keep a copy in a safe place: without the file, \
                 images that you build later do not fit the cluster, and every node must be flashed again \
                 (docs/secrets.md)"
            ));
        }
        notes.extend(self.key_notes(nodes)?);
        Ok(notes)
    }

    /// What the user should know of secrets.toml: keys that end soon, and that git would take it.
    pub fn key_notes(&self, nodes: &[&Node]) -> Result<Vec<String>> {
        let needs = self.pki_needs(nodes)?;
        let mut problems = Problems::new();
        let mut notes = self.verify_keys(&needs, &mut problems)?;
        problems.report()?;
        if self.vault.kept().path().exists() {
            notes.extend(not_ignored(self.folder(), SECRETS_FILE));
        }
        Ok(notes)
    }

    /// What secrets.toml holds.
    pub fn keys(&self) -> Result<Arc<Tables>> {
        self.vault.kept().tables()
    }

    /// Where kubeconfigs lead to: the first server.
    pub fn place(&self) -> Result<Place> {
        let server = self.cluster.k3s_server();
        let server = server.ok_or_else(|| Error::usage("no node is a k3s-server"))?;
        Ok(Place {
            name: self.cluster.settings.name.clone(),
            server: format!("https://{}:6443", server.address),
        })
    }

    fn owner(&self) -> Owner<'_> {
        Owner {
            cluster: &self.cluster.settings.name,
            domain: &self.cluster.network.domain,
        }
    }

    /// Collects what is wrong with the keys that `nodes` need. Returns how secrets are looked up: where the keys
    /// cannot be read something stands in for them, so that all else is told as well.
    fn check_keys(
        &self,
        nodes: &[&Node],
        mode: SecretMode,
        problems: &mut Problems,
    ) -> Result<SecretMode> {
        if mode == SecretMode::Redact {
            return Ok(mode);
        }
        let needs = self.pki_needs(nodes)?;
        let before = problems.len();
        let verified = self.verify_keys(&needs, problems);
        problems.keep(verified)?;
        Ok(match problems.len() == before {
            true => mode,
            false => SecretMode::Rehearse,
        })
    }

    /// Remembers in imgbuild.lock which authorities `nodes` were built with.
    pub fn remember_authorities(&self, nodes: &[&Node], policy: &LockPolicy) -> Result<()> {
        let needs = self.pki_needs(nodes)?;
        if needs.is_empty() {
            return Ok(());
        }
        let found = pki::landmarks(&*self.keys()?, &needs);
        let found = found
            .into_iter()
            .filter_map(|(name, digest)| Some((name.to_owned(), digest?)));
        let lock = LockBook::open(self.folder(), policy.clone())?;
        lock.keep_authorities(found);
        lock.save()
    }

    /// Collects authorities that nodes were built with and that secrets.toml does not have: it was lost, or is
    /// that of another cluster.
    fn compare_with_lock(
        &self,
        needs: &BTreeSet<Purpose>,
        tables: &Tables,
        problems: &mut Problems,
    ) -> Result<()> {
        let lock = LockBook::open(self.folder(), LockPolicy::Locked)?.content();
        for (name, found) in pki::landmarks(tables, needs) {
            let Some(expected) = lock.authority.get(name).filter(|d| Some(**d) != found) else {
                continue;
            };
            let what = match found {
                None => {
                    "does not have it: new keys would not fit the nodes that were built with it"
                }
                Some(_) => "has another one: what is built with it does not fit the nodes that run",
            };
            let what = format!("[authority] {name} is {expected}, and {SECRETS_FILE} {what}");
            let hint = format!(
                "copy {SECRETS_FILE} to here from where the nodes were built; for new keys, remove the line from {LOCK_FILE}"
            );
            problems.push(Problem::new(LOCK_FILE, what).with_hint(hint));
        }
        Ok(())
    }

    fn verify_keys(
        &self,
        needs: &BTreeSet<Purpose>,
        problems: &mut Problems,
    ) -> Result<Vec<String>> {
        if needs.is_empty() {
            return Ok(Vec::new());
        }
        let kept = self.vault.kept();
        let (place, tables) = (kept.path().display().to_string(), kept.tables()?);
        self.compare_with_lock(needs, &tables, problems)?;
        // Authorities end by the clock, also where SOURCE_DATE_EPOCH is the date of an old commit.
        let now = clock::now().max(clock::today()? * DAY);
        let owner = self.owner();
        Ok(pki::verify(&tables, needs, &owner, (&place, now), problems))
    }

    fn secrets(&self, mode: SecretMode) -> SecretAccess {
        SecretAccess::new(self.vault.clone(), mode)
    }

    fn check_shared(&self, secrets: &SecretAccess, problems: &mut Problems) -> Result<()> {
        check_shared_secrets(&self.cluster, &self.catalog, secrets, problems)
    }

    fn plan_one(&self, node: &Node, secrets: &SecretAccess) -> Result<Plan> {
        plan_node(&self.catalog, &self.context, node, secrets)
            .context(|| format!("planning {} (profile {})", node.hostname, node.profile))
    }

    /// Looks for the files of this machine that profiles name, and at what is known of `base.image`
    /// unless another is `given`. A build that is given another base or never reaches a payload does
    /// not need them, so only `check` asks.
    pub fn check_files(&self, given: bool) -> Result<()> {
        let mut problems = Problems::new();
        for node in &self.cluster.nodes {
            if !given {
                self.check_base(node, &mut problems);
                check_stock_base(node, &mut problems);
            }
            for role in self.catalog.roles_of(node)? {
                for (name, spec) in &role.manifest.options {
                    let value = node.options.get(&role.name).and_then(|o| o.get(name));
                    if spec.kind == Kind::File || spec.of == Some(Kind::File) {
                        let key = format!("{}.{name}", role.name);
                        for path in value.map(file_names).unwrap_or_default() {
                            self.check_file(node, &key, path, &mut problems);
                        }
                    }
                }
            }
        }
        problems.report()
    }

    fn check_base(&self, node: &Node, problems: &mut Problems) {
        let BaseSettings { image, sha256 } = &node.base;
        // What is wrong with either by itself was told with its key.
        let Ok(request) = BaseRequest::from_setting(image, sha256.as_deref()) else {
            return;
        };
        match request {
            BaseRequest::Path { .. } => self.check_file(node, "base.image", image, problems),
            BaseRequest::Url { url, sha256: None } if !url.is_https() => {
                let what = "`base.image` is fetched over plain http, where anybody on the way can change it";
                let hint = "set `base.sha256`, or use https";
                problems.push(Problem::new(node.origin("base.image"), what).with_hint(hint));
            }
            BaseRequest::Alias(_) if sha256.is_some() => {
                let what = "`base.sha256` has no effect: it is the checksum of a file or of what is behind a URL";
                problems.push(Problem::new(node.origin("base.sha256"), what));
            }
            _ => {}
        }
    }

    fn check_file(&self, node: &Node, key: &str, path: &str, problems: &mut Problems) {
        let found = expand(path, self.folder());
        if !found.is_file() {
            let what = format!("`{key}`: there is no file {}", found.display());
            problems.push(Problem::new(node.origin(key), what));
        }
    }
}

/// The files that an option names: one, or a list of them. An empty text names none.
fn file_names(value: &serde_json::Value) -> Vec<&str> {
    let one = value.as_str();
    let several = value.as_array().into_iter().flatten();
    let names = one
        .into_iter()
        .chain(several.filter_map(|item| item.as_str()));
    names.filter(|name| !name.is_empty()).collect()
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

/// Checks the nodes against each other and against their roles. Returns what templates see of them,
/// and what rules want the user to know.
fn compare(
    catalog: &Catalog,
    cluster: &Cluster,
    redacted: &SecretAccess,
) -> Result<(ClusterContext, BTreeSet<String>)> {
    let mut findings = Findings::default();
    let provides = |node: &Node, what: &str| catalog.provides(node, what);
    check_cluster(cluster, &provides, &mut findings.problems);
    let context = check_roles(cluster, catalog, redacted, &mut findings)?;
    Ok((findings.problems.settle(context)?, findings.notes))
}
