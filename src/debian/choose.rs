//! Chooses packages, greedily: what is requested comes first, then what that needs, then what of the
//! base has to move along. Whether the result is sound is for `check` to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::available::Available;
use super::package::Package;
use super::relation::{Relation, Target};
use super::resolution::Why;
use super::status::Status;
use super::system::{Member, System};
use crate::error::Result;

/// Relations of the base that it does not satisfy itself: by whom, and which.
pub(super) type BrokenBefore = BTreeSet<(String, String)>;

pub(super) struct Choice<'a> {
    pub(super) system: System<'a>,
    pub(super) why: BTreeMap<&'a str, Why>,
    pub(super) broken_before: BrokenBefore,
}

struct Walk<'a> {
    available: &'a Available,
    choice: Choice<'a>,
    /// Chosen packages whose needs were not looked at yet, in their order.
    chosen: VecDeque<&'a str>,
    /// Needs that are being looked at, the next one last: those of a package before those of the
    /// package that needs it.
    open: Vec<(&'a str, Relation)>,
}

/// Chooses `requested` and what it needs. Nothing is chosen for a need that nobody can satisfy.
pub(super) fn choose<'a>(
    requested: &[&'a Package],
    status: &'a Status,
    available: &'a Available,
) -> Result<Choice<'a>> {
    let system = System::of(status, available.architecture())?;
    let broken_before = broken(&system);
    let mut walk = Walk {
        available,
        choice: Choice {
            system,
            why: BTreeMap::new(),
            broken_before,
        },
        chosen: VecDeque::new(),
        open: Vec::new(),
    };
    for package in requested {
        walk.take(package, Why::Requested)?;
    }
    walk.run()?;
    while walk.move_along()? {
        walk.run()?;
    }
    Ok(walk.choice)
}

fn broken(system: &System<'_>) -> BrokenBefore {
    let members = system.members();
    let broken = members.flat_map(|member| {
        let unmet = system.unmet(member);
        unmet.map(|(_, r)| (member.package.name.to_string(), r.to_string()))
    });
    broken.collect()
}

impl<'a> Walk<'a> {
    /// Looks at the needs of all that is chosen.
    fn run(&mut self) -> Result<()> {
        loop {
            if let Some((by, relation)) = self.open.pop() {
                self.settle(by, &relation)?;
            } else if let Some(name) = self.chosen.pop_front() {
                self.look_at(name)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Opens the needs of a package.
    fn look_at(&mut self, name: &'a str) -> Result<()> {
        let system = &self.choice.system;
        let Some(member) = system.get(name) else {
            return Ok(());
        };
        let unmet: Vec<Relation> = system.unmet(member).map(|(_, r)| r.clone()).collect();
        self.open.extend(unmet.into_iter().rev().map(|r| (name, r)));
        Ok(())
    }

    /// Chooses a package that satisfies a relation, if none does yet.
    fn settle(&mut self, by: &'a str, relation: &Relation) -> Result<()> {
        if self.choice.system.satisfies(relation) {
            return Ok(());
        }
        let solutions = self.solutions(relation)?;
        let mut best = None;
        for package in &solutions {
            if self.fits(package)? {
                best = Some(*package);
                break;
            }
        }
        // Where none fits, the check tells why the first one does not.
        let Some(package) = best.or(solutions.first().copied()) else {
            return Ok(());
        };
        self.put(package, needed(by, relation))?;
        self.look_at(&package.name)
    }

    /// Packages that would satisfy a relation, the best first: alternatives in their order, and of
    /// each the package of that name before those that provide it.
    fn solutions(&self, relation: &Relation) -> Result<Vec<&'a Package>> {
        let mut solutions: Vec<&'a Package> = Vec::new();
        for target in &relation.alternatives {
            let named = self.available.newest(&target.name);
            let named = named.filter(|package| target.takes(&package.version));
            let providers = self.available.providers(target)?;
            for package in named.into_iter().chain(providers) {
                if self.can_be_had(package, target)
                    && !solutions.iter().any(|s| s.name == package.name)
                {
                    solutions.push(package);
                }
            }
        }
        Ok(solutions)
    }

    /// Whether a package may be put in for `target`. One that is there is only replaced by a newer one.
    fn can_be_had(&self, package: &Package, target: &Target) -> bool {
        let system = &self.choice.system;
        let newer = match system.get(&package.name) {
            None => true,
            Some(member) => is_upgrade(member, package),
        };
        newer && system.serves(package, target)
    }

    /// Whether nothing that has to stay is against a package.
    fn fits(&self, package: &'a Package) -> Result<bool> {
        let system = &self.choice.system;
        let member = Member::new(package, self.available.architecture())?;
        let exclusions = system.exclusions(&member);
        let others = exclusions.iter().map(|exclusion| {
            let by_it = std::ptr::eq(exclusion.by, package);
            if by_it { exclusion.found } else { exclusion.by }
        });
        for other in others {
            let Some(upgrade) = self.upgrade_of(&other.name) else {
                return Ok(false);
            };
            if Member::new(upgrade, self.available.architecture())?.is_against(&member) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A newer version of a package of the base.
    fn upgrade_of(&self, name: &str) -> Option<&'a Package> {
        let member = self.choice.system.get(name)?;
        let newest = self.available.newest(name)?;
        is_upgrade(member, newest).then_some(newest)
    }

    /// Chooses a package, and looks at its needs when its turn comes.
    fn take(&mut self, package: &'a Package, why: Why) -> Result<()> {
        self.chosen.push_back(&package.name);
        self.put(package, why)
    }

    /// Puts a package in. Where it is an upgrade, what the base has of the same source moves along, as
    /// with apt: such packages are only tested together.
    fn put(&mut self, package: &'a Package, why: Why) -> Result<()> {
        let system = &mut self.choice.system;
        let before = system.get(&package.name).map(|member| member.package);
        system.put(package)?;
        self.choice.why.insert(&package.name, why);
        let Some(before) = before else {
            return Ok(());
        };
        let members = self.choice.system.members();
        let kin = members.filter(|m| !m.is_changed() && m.package.source() == before.source());
        let upgrades = kin.filter_map(|member| self.upgrade_of(&member.package.name));
        let upgrades: Vec<&'a Package> = upgrades
            .filter(|upgrade| upgrade.source() == package.source())
            .collect();
        for upgrade in upgrades {
            // They have nothing to bring along themselves.
            self.choice.system.put(upgrade)?;
            let why = Why::MovesWith(package.name.to_string());
            self.choice.why.insert(&upgrade.name, why);
            self.chosen.push_back(&upgrade.name);
        }
        Ok(())
    }

    /// Upgrades packages of the base which what was chosen would break. Whether there were any.
    fn move_along(&mut self) -> Result<bool> {
        let upgrades = self.broken_of_base();
        let any = !upgrades.is_empty();
        for (package, with) in upgrades {
            self.take(package, Why::MovesWith(with))?;
        }
        Ok(any)
    }

    /// Newer versions of what is broken now, each with the package that breaks it.
    fn broken_of_base(&self) -> Vec<(&'a Package, String)> {
        let system = &self.choice.system;
        let mut upgrades = Vec::new();
        for member in system.members().filter(|member| !member.is_changed()) {
            let Some(upgrade) = self.upgrade_of(&member.package.name) else {
                continue;
            };
            if let Some(with) = self.breaker(member) {
                upgrades.push((upgrade, with));
            }
        }
        upgrades
    }

    /// Which chosen package breaks a package of the base.
    fn breaker(&self, member: &Member<'a>) -> Option<String> {
        let system = &self.choice.system;
        let name = &member.package.name;
        let is_new = |relation: &Relation| {
            let broken_before = (name.to_string(), relation.to_string());
            !self.choice.broken_before.contains(&broken_before)
        };
        let mut unmet = system.unmet(member).filter(|(_, r)| is_new(r));
        if let Some((_, relation)) = unmet.next() {
            let alternatives = relation.alternatives.first();
            return alternatives.map(|target| target.name.clone());
        }
        let exclusions = system.exclusions(member);
        let mut others = exclusions
            .iter()
            .map(|exclusion| match exclusion.by.name == *name {
                true => exclusion.found,
                false => exclusion.by,
            });
        let changed = others.find(|o| system.get(&o.name).is_some_and(Member::is_changed));
        changed.map(|other| other.name.to_string())
    }
}

/// Whether `package` may come in place of a package of the base.
fn is_upgrade(member: &Member<'_>, package: &Package) -> bool {
    !member.is_changed() && !member.held && member.package.version < package.version
}

fn needed(by: &str, relation: &Relation) -> Why {
    Why::Needed {
        by: by.to_owned(),
        relation: relation.to_string(),
    }
}
