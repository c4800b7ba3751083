//! Holds the nodes against their bases before anything is written.

use super::bases::{self, Base, Bases, Demand};
use super::options::Inputs;
use crate::base_check::{self, Subject};
use crate::config::Node;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::image::BaseFacts;
use crate::job::Job;
use crate::lock::{LockBook, LockPolicy};
use crate::patch::Payloads;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::project::Project;
use crate::source::{BaseRequest, FetchOptions, Pins, Store};

/// Nodes with their plans, and the facts of their bases.
pub struct BaseCheck<'a> {
    /// Each node with the place of its base in `facts`.
    subjects: Vec<(Subject<'a>, usize)>,
    facts: &'a [BaseFacts],
}

impl<'a> BaseCheck<'a> {
    /// `facts` are those of the distinct bases of `bases`.
    pub fn new(
        project: &'a Project,
        nodes: &[&'a Node],
        plans: &'a [Plan],
        facts: &'a [BaseFacts],
        bases: &Bases,
    ) -> Result<Self> {
        let subjects = nodes.iter().zip(plans).zip(bases.places());
        Ok(Self {
            facts,
            subjects: subjects
                .map(|((node, plan), place)| Ok((subject(project, node, plan)?, place)))
                .collect::<Result<_>>()?,
        })
    }

    /// What the bases lack or have in the way, as far as the plans tell. All of it at once.
    pub fn check(&self) -> Result<()> {
        self.each(base_check::check)
    }

    /// Whether there is room for all that the plans and `payloads` bring.
    pub fn check_room(&self, payloads: &Payloads) -> Result<()> {
        self.each(|subject, facts, problems| {
            base_check::check_room(subject, facts, payloads, problems)
        })
    }

    fn each(
        &self,
        check: impl Fn(&Subject<'_>, &BaseFacts, &mut Problems) -> Result<()>,
    ) -> Result<()> {
        let mut problems = Problems::new();
        for (subject, place) in &self.subjects {
            check(subject, &self.facts[*place], &mut problems).context(|| against(subject.node))?;
        }
        problems.report()
    }
}

fn against(node: &Node) -> String {
    format!("checking {} against its base", node.hostname)
}

fn subject<'a>(project: &'a Project, node: &'a Node, plan: &'a Plan) -> Result<Subject<'a>> {
    let roles = project.catalog.roles_of(node)?;
    Ok(Subject { node, roles, plan })
}

/// Reads the facts of a base as they are asked for.
pub fn facts_of(base: &Base) -> Result<BaseFacts> {
    BaseFacts::open(base.disk.clone()).context(|| format!("reading {}", base.description()))
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
    let store = Store::new(fetch.clone(), job.clone())?;
    let inputs = Inputs::new(base, fetch, None);
    let book = LockBook::open(project.folder(), LockPolicy::Add)?;
    let pins = Pins::new(&store, &book);
    let mut problems = Problems::new();
    let mut opened: Vec<(BaseRequest, Option<BaseFacts>)> = Vec::new();
    let mut names = Vec::new();
    for (node, plan) in project.cluster.nodes.iter().zip(plans) {
        let request = bases::request(project, node, &inputs)?;
        let known = opened.iter().position(|(other, _)| *other == request);
        if known.is_none() {
            let base = open_here(node, &request, &inputs, &pins, &mut problems)?;
            names.extend(base.as_ref().map(|base| base.description().to_owned()));
            opened.push((request, base.as_ref().map(facts_of).transpose()?));
        }
        let place = known.unwrap_or(opened.len() - 1);
        if let Some((_, Some(facts))) = opened.get(place) {
            base_check::check(&subject(project, node, plan)?, facts, &mut problems)
                .context(|| against(node))?;
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
    inputs: &Inputs,
    pins: &Pins<'_>,
    problems: &mut Problems,
) -> Result<Option<Base>> {
    let opened = bases::open(request, 1, &Demand::of_edits(), inputs.memory, pins);
    // Of a URL not even the digest need be known here, which is a mistake of the user elsewhere.
    let is_absent = |kind: ErrorKind| match request {
        BaseRequest::Path { .. } => false,
        BaseRequest::Alias(_) => kind == ErrorKind::Failed,
        BaseRequest::Url { .. } => matches!(kind, ErrorKind::Failed | ErrorKind::Usage),
    };
    match opened {
        Err(error) if is_absent(error.kind()) => {
            let place = match &inputs.base {
                Some(_) => "--base".to_owned(),
                None => node.origin("base.image").to_string(),
            };
            let words: Vec<String> = error.chain().map(ToString::to_string).collect();
            let (profile, argument) = (&node.profile, base_argument(inputs));
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

fn base_argument(inputs: &Inputs) -> String {
    match &inputs.base {
        Some(BaseRequest::Alias(image)) => format!(" --base {image}"),
        Some(BaseRequest::Url { url, .. }) => format!(" --base {url}"),
        Some(BaseRequest::Path { .. }) | None => String::new(),
    }
}
