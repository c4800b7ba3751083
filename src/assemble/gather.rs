//! All that nodes are made from, pinned, fetched, and held against the nodes.

use std::sync::Arc;

use super::base_check::{BaseCheck, facts_of};
use super::bases::{self, Bases, Demand};
use super::options::Inputs;
use super::record_sources::{self, BaseContent, NodeSources};
use super::{images, manifests, packages, payloads, requests};
use crate::config::Node;
use crate::error::Result;
use crate::image::BaseFacts;
use crate::lock::LockBook;
use crate::patch::Payloads;
use crate::plan::Plan;
use crate::project::Project;
use crate::source::{BaseRequest, Pins, Store};

/// What nodes are made from.
pub struct Gathered {
    pub bases: Bases,
    /// With the packages and container images that they ask for.
    pub plans: Vec<Plan>,
    pub payloads: Payloads,
    /// What each node is made from, in the order of the nodes.
    pub sources: Vec<NodeSources>,
}

/// Opens the bases and fetches the payloads of `nodes`, and holds the nodes against both: whatever can
/// be known before anything is written is told here. What was not pinned is from now on.
pub fn gather(
    project: &Project,
    nodes: &[&Node],
    mut plans: Vec<Plan>,
    inputs: &Inputs,
    demand: &Demand,
    store: &Store,
) -> Result<Gathered> {
    let book = LockBook::open(project.folder(), inputs.lock.clone())?;
    let pins = Pins::new(store, &book);
    let bases = Bases::open(project, nodes, inputs, demand, &pins)?;
    let facts = bases.distinct().iter().map(|base| facts_of(base));
    let facts: Vec<BaseFacts> = facts.collect::<Result<_>>()?;
    BaseCheck::new(project, nodes, &plans, &facts, &bases)?.check()?;
    let mut found = Payloads::new();
    let asked = nodes
        .iter()
        .map(|node| bases::request(project, node, inputs));
    let asked: Vec<BaseRequest> = asked.collect::<Result<_>>()?;
    let contents = contents(&asked, &bases, &facts, store)?;
    for (plan, place) in plans.iter_mut().zip(bases.places()) {
        packages::add(plan, &contents[place].packages, &pins, &mut found)?;
    }
    payloads::load(&plans, &pins, &mut found)?;
    let images = images::Wanted::of(project, &plans, &pins)?;
    for plan in &mut plans {
        manifests::of_plan(plan, &found)?;
        images.add(plan, &pins, &mut found)?;
    }
    BaseCheck::new(project, nodes, &plans, &facts, &bases)?.check_room(&found)?;
    let mut sources = Vec::new();
    for ((plan, base), place) in plans.iter().zip(&asked).zip(bases.places()) {
        let content = &contents[place];
        sources.push(record_sources::of_node(plan, base, content, &pins)?);
    }
    requests::save(&book, project, inputs, store.job())?;
    let lock_file = record_sources::lock_file(book.path(), store.job())?;
    for node in &mut sources {
        node.lock_file = lock_file;
    }
    Ok(Gathered {
        bases,
        plans,
        payloads: found,
        sources,
    })
}

/// What records and packages need to know of each distinct base, in the order of those.
fn contents(
    asked: &[BaseRequest],
    bases: &Bases,
    facts: &[BaseFacts],
    store: &Store,
) -> Result<Vec<Arc<BaseContent>>> {
    let contents = facts.iter().enumerate().map(|(index, facts)| {
        let node = bases.places().position(|place| place == index);
        let name = node.and_then(|node| asked.get(node)).map(BaseRequest::name);
        BaseContent::of(name.unwrap_or_default(), facts, store.job()).map(Arc::new)
    });
    contents.collect()
}
