//! Which runs of dpkg a choice takes. One run unpacks all and then configures all, in an order that dpkg
//! finds itself; but what a package pre-depends on has to be configured before it is unpacked.

use std::collections::BTreeMap;

use super::package::Field;
use super::relation::Relation;
use super::system::{Member, System};
use crate::error::{Error, Result};

/// `later` is in the run of `earlier` or in a later one; `apart`: in a later one.
struct Order<'s> {
    earlier: &'s str,
    later: &'s str,
    apart: bool,
}

/// The names of all changed packages in runs.
///
/// # Errors
/// Packages that wait for each other.
pub(super) fn runs(system: &System<'_>, base: &System<'_>) -> Result<Vec<Vec<String>>> {
    let changed: Vec<&Member<'_>> = system.members().filter(|m| m.is_changed()).collect();
    let orders: Vec<Order<'_>> = changed
        .iter()
        .flat_map(|member| orders(system, base, member))
        .collect();
    let mut run_of: BTreeMap<&str, usize> = changed.iter().map(|m| (&*m.package.name, 0)).collect();
    let mut settled = false;
    while !settled {
        settled = true;
        for order in &orders {
            let wanted = run_of.get(order.earlier).copied().unwrap_or(0) + usize::from(order.apart);
            let run = run_of.entry(order.later).or_default();
            if *run < wanted {
                *run = wanted;
                settled = false;
            }
            if wanted > changed.len() {
                return Err(Error::failed(format!(
                    "{} and {} each have to be installed before the other",
                    order.later, order.earlier
                )));
            }
        }
    }
    let mut runs = vec![Vec::new(); run_of.values().max().map_or(0, |last| last + 1)];
    for (name, run) in run_of {
        if let Some(run) = runs.get_mut(run) {
            run.push(name.to_owned());
        }
    }
    runs.retain(|run| !run.is_empty());
    Ok(runs)
}

/// What has to be there before `member`, or together with it.
fn orders<'s>(system: &'s System<'_>, base: &System<'_>, member: &'s Member<'_>) -> Vec<Order<'s>> {
    let name = &*member.package.name;
    let needs = member.needs().iter();
    let needs = needs.filter(|(_, relation)| !base.satisfies(relation));
    let mut orders: Vec<Order<'_>> = needs
        .filter_map(|(field, relation)| {
            let earlier = changed_for(system, relation)?;
            let apart = *field == Field::PreDepends;
            Some(Order {
                earlier,
                later: name,
                apart,
            })
        })
        .filter(|order| order.earlier != name)
        .collect();
    // A package that the base's version of another excludes, or that excludes it, waits for the newer one.
    for exclusion in base.exclusions(member) {
        let by_it = exclusion.by.name == member.package.name;
        let other = if by_it { exclusion.found } else { exclusion.by };
        let other = system.get(&other.name).filter(|other| other.is_changed());
        orders.extend(other.map(|other| Order {
            earlier: &other.package.name,
            later: name,
            apart: exclusion.field == Field::Conflicts,
        }));
    }
    orders
}

/// The changed package that satisfies a relation.
fn changed_for<'s>(system: &'s System<'_>, relation: &Relation) -> Option<&'s str> {
    for target in &relation.alternatives {
        let single = Relation {
            alternatives: vec![target.clone()],
        };
        let found = system
            .satisfying(&single)
            .find(|member| member.is_changed());
        if let Some(member) = found {
            let name = &*member.package.name;
            return system.get(name).map(|member| &*member.package.name);
        }
    }
    None
}
