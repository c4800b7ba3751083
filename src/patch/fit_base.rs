//! Whether a plan can be carried out on a base, told before anything is written.

use std::sync::Arc;

use super::fit::Base;
use super::needs;
use super::payload::Payloads;
use super::room::{Wanted, refuse_to_shrink, wanted_len, wanted_table};
use crate::disk::CowDisk;
use crate::error::Result;
use crate::image::OpenBase;
use crate::plan::{Edit, Plan};

/// What the base is for `plan`, whose edits can switch cloud-init off.
fn seen_by(base: &OpenBase, plan: &Plan) -> Result<Base> {
    let copy = Arc::new(CowDisk::new(base.disk.clone()));
    Base::probe(plan, &base.root, &copy, &base.chosen, &base.boot)
}

/// The edits of `plan` that apply to this base.
pub fn edits_of<'p>(base: &OpenBase, plan: &'p Plan) -> Result<Vec<&'p Edit>> {
    seen_by(base, plan)?.edits_of(plan).map(|(_, edits)| edits)
}

/// Whether all of the base is in an image of the size that `plan` fixes.
pub fn check_size(base: &OpenBase, plan: &Plan) -> Result<()> {
    let size = plan.image_size;
    size.map_or(Ok(()), |size| refuse_to_shrink(size, base.disk.len()))
}

/// Whether the root file system has, or can be given, the room that `plan` takes.
pub fn check_room(base: &OpenBase, plan: &Plan, payloads: &Payloads) -> Result<()> {
    let copy = Arc::new(CowDisk::new(base.disk.clone()));
    let table = wanted_table(plan, &copy, &base.chosen)?.table;
    let seen = seen_by(base, plan)?;
    let (_, edits) = seen.edits_of(plan)?;
    let need = needs::count(&base.root, &edits, payloads)?;
    let need = Wanted::new(need, plan.spare, seen.space.block_size);
    wanted_len(plan, &copy, &table, &seen, need).map(drop)
}
