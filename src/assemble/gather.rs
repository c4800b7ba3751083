//! All that nodes are made from, pinned, fetched, and held against the nodes.

use super::base_check::BaseCheck;
use super::bases::{Bases, Demand};
use super::options::Inputs;
use super::{payloads, requests};
use crate::config::Node;
use crate::error::Result;
use crate::lock::LockBook;
use crate::patch::Payloads;
use crate::plan::Plan;
use crate::project::Project;
use crate::source::{Pins, Store};

/// What nodes are made from.
pub struct Gathered {
    pub bases: Bases,
    pub payloads: Payloads,
}

/// Opens the bases and fetches the payloads of `nodes`, and holds the nodes against both: whatever can
/// be known before anything is written is told here. What was not pinned is from now on.
pub fn gather(
    project: &Project,
    nodes: &[&Node],
    plans: &[Plan],
    inputs: &Inputs,
    demand: &Demand,
    store: &Store,
) -> Result<Gathered> {
    let book = LockBook::open(project.folder(), inputs.lock.clone())?;
    let pins = Pins::new(store, &book);
    let bases = Bases::open(project, nodes, inputs, demand, &pins)?;
    let base_check = BaseCheck::open(project, nodes, plans, &bases)?;
    base_check.check()?;
    let payloads = payloads::load(plans, &pins)?;
    base_check.check_room(&payloads)?;
    requests::save(&book, project, inputs, store.job())?;
    Ok(Gathered { bases, payloads })
}
