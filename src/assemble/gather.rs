//! All that nodes are made from, pinned, fetched, and held against the nodes.

use super::base_check::{BaseCheck, facts_of};
use super::bases::{self, Bases, Demand};
use super::options::Inputs;
use super::{packages, payloads, requests};
use crate::config::Node;
use crate::error::Result;
use crate::image::BaseFacts;
use crate::lock::LockBook;
use crate::patch::Payloads;
use crate::plan::Plan;
use crate::project::Project;
use crate::source::{Pins, Store};

/// What nodes are made from.
pub struct Gathered {
    pub bases: Bases,
    /// With the packages that they ask for.
    pub plans: Vec<Plan>,
    pub payloads: Payloads,
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
    for ((node, plan), place) in nodes.iter().zip(&mut plans).zip(bases.places()) {
        if plan.packages.is_empty() {
            continue;
        }
        let name = bases::request(project, node, inputs)?.name();
        let base = packages::of_base(name, &facts[place])?;
        packages::add(plan, &base, &pins, &mut found)?;
    }
    payloads::load(&plans, &pins, &mut found)?;
    BaseCheck::new(project, nodes, &plans, &facts, &bases)?.check_room(&found)?;
    requests::save(&book, project, inputs, store.job())?;
    Ok(Gathered {
        bases,
        plans,
        payloads: found,
    })
}
