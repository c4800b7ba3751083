//! One node that is to be built, and what it has in common with the others.

use super::bases::Base;
use super::budget::Shares;
use super::options::Outputs;
use super::record_sources::NodeSources;
use crate::job::Job;
use crate::patch::Payloads;
use crate::plan::Plan;

/// A node to be built.
pub struct NodeJob<'a> {
    pub plan: &'a Plan,
    pub base: &'a Base,
    pub sources: &'a NodeSources,
}

/// What all nodes of a build have in common.
pub struct BuildContext<'a> {
    pub payloads: &'a Payloads,
    pub outputs: &'a Outputs,
    pub shares: Shares,
    /// Unix time (seconds) of everything written, in the place of what the base says.
    pub time: Option<i64>,
    pub job: Job,
}
