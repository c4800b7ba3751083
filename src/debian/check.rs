//! The hard check of a chosen system: every relation of what is new, and every one of the base that
//! something new could break. What it finds is refused; nothing is ever removed.

use std::collections::BTreeSet;

use super::available::Available;
use super::choose::{BrokenBefore, Choice};
use super::package::{Field, MultiArch, Package};
use super::relation::{Relation, Target};
use super::system::{Exclusion, Member, System};
use crate::error::{Error, ErrorKind, Result};

/// Problems that a message lists.
const SHOWN: usize = 8;

/// What is wrong: a sentence, the kind of error, what to do.
struct Fault {
    kind: ErrorKind,
    what: String,
    hint: String,
}

struct Check<'c, 'a> {
    system: &'c System<'a>,
    available: &'a Available,
    broken_before: &'c BrokenBefore,
}

/// Refuses a choice that is not sound.
pub(super) fn check(choice: &Choice<'_>, available: &Available) -> Result<()> {
    let check = Check {
        system: &choice.system,
        available,
        broken_before: &choice.broken_before,
    };
    let members = choice.system.members();
    let faults: Vec<Fault> = members.flat_map(|member| check.faults(member)).collect();
    match <[Fault; 1]>::try_from(faults) {
        Ok([fault]) => Err(Error::new(fault.kind, fault.what).with_hint(fault.hint)),
        Err(faults) if faults.is_empty() => Ok(()),
        Err(faults) => Err(refusal(&faults)),
    }
}

/// One error of many faults, each told once.
fn refusal(faults: &[Fault]) -> Error {
    let mut seen = BTreeSet::new();
    let told = faults.iter().filter(|fault| seen.insert(&fault.what));
    let told: Vec<&Fault> = told.collect();
    let mut lines: Vec<String> = told
        .iter()
        .take(SHOWN)
        .map(|f| format!("  {}", f.what))
        .collect();
    if told.len() > SHOWN {
        lines.push(format!("  … and {} more", told.len() - SHOWN));
    }
    let first = told.first();
    let kind = first.map_or(ErrorKind::Failed, |fault| fault.kind);
    Error::new(
        kind,
        format!(
            "the packages cannot be installed on this base:\n{}",
            lines.join("\n")
        ),
    )
    .with_maybe_hint(first.map(|fault| fault.hint.clone()))
}

impl Check<'_, '_> {
    fn faults(&self, member: &Member<'_>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, relation) in self.system.unmet(member) {
            let known = (member.package.name.to_string(), relation.to_string());
            if member.is_changed() || !self.broken_before.contains(&known) {
                faults.push(self.unmet(member.package, *field, relation));
            }
        }
        if member.is_changed() {
            let exclusions = self.system.exclusions(member);
            faults.extend(exclusions.iter().map(|exclusion| self.excluded(exclusion)));
            faults.extend(self.of_architectures(member.package));
        }
        faults
    }

    fn unmet(&self, package: &Package, field: Field, relation: &Relation) -> Fault {
        let found: Vec<String> = relation
            .alternatives
            .iter()
            .map(|t| self.found(t))
            .collect();
        let verb = match field {
            Field::PreDepends => "needs before it is unpacked",
            _ => "needs",
        };
        Fault {
            kind: ErrorKind::Failed,
            what: format!(
                "{} {verb} `{relation}`: {}",
                titled(package),
                found.join(", ")
            ),
            hint: "take the package out of the list, or choose a base whose archives have what it \
                   needs; an archive in the middle of an update is whole again within the hour"
                .to_owned(),
        }
    }

    /// What there is of a package that a relation names.
    fn found(&self, target: &Target) -> String {
        let name = &target.name;
        let newest = self.available.newest(name);
        match (self.system.get(name), newest) {
            (Some(member), _) if member.held => {
                format!("the base holds {} back", titled(member.package))
            }
            (Some(member), _) if member.is_changed() => {
                format!("{} would be there", titled(member.package))
            }
            (Some(member), Some(newest)) if newest.version > member.package.version => format!(
                "the base has {}, the archives have {}",
                titled(member.package),
                newest.version
            ),
            (Some(member), _) => format!("the base has {}", titled(member.package)),
            (None, Some(newest)) => format!("the archives have {}", titled(newest)),
            (None, None) => format!("no archive has {name}"),
        }
    }

    fn excluded(&self, exclusion: &Exclusion<'_>) -> Fault {
        let verb = match exclusion.field {
            Field::Breaks => "breaks",
            _ => "conflicts with",
        };
        let (by, found) = (exclusion.by, exclusion.found);
        let is_of_base = |package: &Package| {
            let member = self.system.get(&package.name);
            member.is_none_or(|member| member.base.is_some())
        };
        let of_base = [by, found].into_iter().find(|package| is_of_base(package));
        let what = format!(
            "{} {verb} `{}`: that is {}",
            titled(by),
            exclusion.target,
            titled(found)
        );
        match of_base {
            Some(package) => Fault {
                kind: ErrorKind::Refused,
                what: format!("{what}; the base has {}", package.name),
                hint: format!(
                    "imgbuild removes nothing from a base: choose packages that go with `{}`, or a \
                     base without it",
                    package.name
                ),
            },
            None => Fault {
                kind: ErrorKind::Failed,
                what,
                hint: "these two cannot be on one system: put them on different nodes".to_owned(),
            },
        }
    }

    /// What is against a package among those of other architectures.
    fn of_architectures(&self, package: &Package) -> Option<Fault> {
        let foreign = self.system.foreign().iter().map(|member| member.package);
        let mut twins = foreign.filter(|foreign| foreign.name == package.name);
        let together = |twin: &Package| {
            let same = MultiArch::Same;
            (package.multi_arch, twin.multi_arch) == (same, same) && twin.version == package.version
        };
        let twin = twins.find(|twin| !together(twin))?;
        Some(Fault {
            kind: ErrorKind::Refused,
            what: format!(
                "{} cannot be together with {} of {}, which the base has",
                titled(package),
                titled(twin),
                twin.architecture
            ),
            hint: format!(
                "choose a base without `{}:{}`",
                twin.name, twin.architecture
            ),
        })
    }
}

/// Name and version.
fn titled(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}
