//! Holds the nodes against their bases before anything is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Base, BuildOptions, base_request, open_base};
use crate::config::Node;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::inspect::{self, BaseFacts, Subject};
use crate::job::Job;
use crate::plan::Plan;
use crate::problem::{Problem, Problems};
use crate::project::Project;
use crate::source::{BaseRequest, FetchOptions, Fetcher};

/// Checks every node against its base. All problems are reported at once.
pub fn check(
    project: &Project,
    nodes: &[&Node],
    plans: &[Plan],
    bases: &[Arc<Base>],
) -> Result<()> {
    let mut problems = Problems::new();
    let mut opened: Vec<(&Arc<Base>, BaseFacts)> = Vec::new();
    for ((node, plan), base) in nodes.iter().zip(plans).zip(bases) {
        let known = opened
            .iter()
            .position(|(other, _)| Arc::ptr_eq(other, base));
        let index = match known {
            Some(index) => index,
            None => {
                opened.push((base, facts_of(base)?));
                opened.len() - 1
            }
        };
        let (_, facts) = &opened[index];
        check_node(project, node, plan, facts, &mut problems)?;
    }
    problems.report()
}

fn facts_of(base: &Base) -> Result<BaseFacts> {
    BaseFacts::open(base.disk.clone()).context(|| format!("reading {}", base.image.description))
}

fn check_node(
    project: &Project,
    node: &Node,
    plan: &Plan,
    facts: &BaseFacts,
    problems: &mut Problems,
) -> Result<()> {
    let roles = project.catalog.roles_of(node)?;
    let subject = Subject { node, roles, plan };
    inspect::check(&subject, facts, problems)
        .context(|| format!("holding {} against its base", node.hostname))
}

/// Checks nodes against `base`, or each against its own, with nothing but what is on this computer.
/// `plans` are those of all nodes of the project. All problems are reported at once, bases that are
/// not here among them. Says what the bases are.
pub fn check_with_bases(
    project: &Project,
    plans: &[Plan],
    base: Option<BaseRequest>,
    fetch: FetchOptions,
    job: &Job,
) -> Result<Vec<String>> {
    let fetch = FetchOptions {
        offline: true,
        ..fetch
    };
    let options = BuildOptions::without_files(base, fetch, None);
    let fetcher = Fetcher::new(options.fetch.clone(), job.clone())?;
    let mut problems = Problems::new();
    let mut opened: BTreeMap<String, Option<BaseFacts>> = BTreeMap::new();
    let mut names = Vec::new();
    for (node, plan) in project.cluster.nodes.iter().zip(plans) {
        let request = base_request(project, node, &options);
        let key = format!("{request:?}");
        if !opened.contains_key(&key) {
            let base = open_here(node, &request, &options, &fetcher, &mut problems)?;
            names.extend(base.as_ref().map(|base| base.image.description.clone()));
            let facts = base.as_ref().map(facts_of).transpose()?;
            opened.insert(key.clone(), facts);
        }
        if let Some(Some(facts)) = opened.get(&key) {
            check_node(project, node, plan, facts, &mut problems)?;
        }
    }
    problems.report()?;
    Ok(names)
}

/// The base of `node`, if it is on this computer. That it is not is a problem with the command that
/// fetches it.
fn open_here(
    node: &Node,
    request: &BaseRequest,
    options: &BuildOptions,
    fetcher: &Fetcher,
    problems: &mut Problems,
) -> Result<Option<Base>> {
    let opened = open_base(request, 1, options, fetcher);
    // Of a URL not even the digest need be known here, which is a mistake of the user elsewhere.
    let is_absent = |kind: ErrorKind| match request {
        BaseRequest::Path(_) => false,
        BaseRequest::Alias(_) => kind == ErrorKind::Failed,
        BaseRequest::Url { .. } => matches!(kind, ErrorKind::Failed | ErrorKind::Usage),
    };
    match opened {
        Err(error) if is_absent(error.kind()) => {
            let place = match &options.base {
                Some(_) => "--base".to_owned(),
                None => node.origin("base.image").to_string(),
            };
            let words: Vec<String> = error.chain().map(ToString::to_string).collect();
            let (profile, argument) = (&node.profile, base_argument(options));
            let what = format!("the base image is not in the cache: {}", words.join(": "));
            let problem = Problem::new(place, what).with_hint(format!(
                "`imgbuild build --profile {profile}{argument}` downloads it; `check` never does"
            ));
            problems.push(problem);
            Ok(None)
        }
        other => problems.keep(other),
    }
}

fn base_argument(options: &BuildOptions) -> String {
    match &options.base {
        Some(BaseRequest::Alias(image)) => format!(" --base {image}"),
        Some(BaseRequest::Url { url, .. }) => format!(" --base {url}"),
        Some(BaseRequest::Path(_)) | None => String::new(),
    }
}
