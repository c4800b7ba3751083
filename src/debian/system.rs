//! A system while it is being chosen: what the base has, and what was put in since.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::package::{Field, MultiArch, Package};
use super::relation::{Qualifier, Relation, Target};
use super::status::Status;
use crate::error::Result;

/// A package of the system with its relations.
pub(super) struct Member<'a> {
    pub(super) package: &'a Package,
    /// What the base has of that name, if this is another version; itself, if it is the base's.
    pub(super) base: Option<&'a Package>,
    /// Whether the base's owner wants it to stay as it is.
    pub(super) held: bool,
    needs: Vec<(Field, Relation)>,
    excludes: Vec<(Field, Target)>,
    provides: Vec<Target>,
}

/// One package that must not be there together with another.
pub(super) struct Exclusion<'s> {
    /// The package that says so.
    pub(super) by: &'s Package,
    pub(super) field: Field,
    pub(super) target: &'s Target,
    /// The package that is there.
    pub(super) found: &'s Package,
}

pub(super) struct System<'a> {
    architecture: &'a str,
    members: BTreeMap<&'a str, Member<'a>>,
    /// Packages of other architectures than the system's; nothing changes them.
    foreign: Vec<Member<'a>>,
    /// Who provides a name, or once did: whoever asks looks into the member.
    providers: HashMap<String, BTreeSet<&'a str>>,
}

impl<'a> Member<'a> {
    pub(super) fn new(package: &'a Package, architecture: &str) -> Result<Self> {
        let all = |field| -> Result<Vec<(Field, Relation)>> {
            let relations = package.relations(field, architecture)?;
            Ok(relations.into_iter().map(|r| (field, r)).collect())
        };
        let targets = |relations: Vec<(Field, Relation)>| {
            let targets = relations
                .into_iter()
                .flat_map(|(field, r)| r.alternatives.into_iter().map(move |t| (field, t)));
            targets.collect::<Vec<_>>()
        };
        let mut needs = all(Field::PreDepends)?;
        needs.extend(all(Field::Depends)?);
        let mut excludes = targets(all(Field::Conflicts)?);
        excludes.extend(targets(all(Field::Breaks)?));
        let provides = targets(all(Field::Provides)?);
        Ok(Self {
            package,
            base: None,
            held: false,
            needs,
            excludes,
            provides: provides.into_iter().map(|(_, target)| target).collect(),
        })
    }

    /// Whether this is not what the base has.
    pub(super) fn is_changed(&self) -> bool {
        self.base
            .is_none_or(|base| !std::ptr::eq(base, self.package))
    }

    /// What the package needs, `Pre-Depends` first.
    pub(super) fn needs(&self) -> &[(Field, Relation)] {
        &self.needs
    }

    /// Whether the two cannot be on one system.
    pub(super) fn is_against(&self, other: &Member<'_>) -> bool {
        self.exclusions_of(other).next().is_some() || other.exclusions_of(self).next().is_some()
    }

    /// Whether the package goes by the name that `target` asks for, in a version that it takes.
    fn is(&self, target: &Target) -> bool {
        let own = *self.package.name == *target.name && target.takes(&self.package.version);
        own || self.provides.iter().any(|p| p.is_provided_for(target))
    }

    /// What this one excludes that `other` is.
    fn exclusions_of<'s>(&'s self, other: &'s Member<'_>) -> impl Iterator<Item = Exclusion<'s>> {
        // A package may exclude a name that it provides itself: all others of that name.
        let others = self.package.name != other.package.name;
        let excluded = self.excludes.iter().filter(move |(_, target)| {
            others && other.is(target) && excludes_architecture(target, other.package)
        });
        excluded.map(|(field, target)| Exclusion {
            by: self.package,
            field: *field,
            target,
            found: other.package,
        })
    }
}

impl<'a> System<'a> {
    /// The base as it is.
    pub(super) fn of(status: &'a Status, architecture: &'a str) -> Result<Self> {
        let mut system = Self {
            architecture,
            members: BTreeMap::new(),
            foreign: Vec::new(),
            providers: HashMap::new(),
        };
        for installed in status.installed() {
            let package = &installed.package;
            let member = Member {
                base: Some(package),
                held: installed.held,
                ..Member::new(package, architecture)?
            };
            if is_of(package, architecture) {
                system.insert(member);
            } else {
                system.foreign.push(member);
            }
        }
        Ok(system)
    }

    /// Puts a package in, in place of an older version.
    pub(super) fn put(&mut self, package: &'a Package) -> Result<()> {
        let member = Member::new(package, self.architecture)?;
        let before = self.members.get(&*package.name);
        let base = before.and_then(|before| before.base);
        self.insert(Member { base, ..member });
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.members.get(name)
    }

    /// All packages, by name.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.values()
    }

    pub(super) fn foreign(&self) -> &[Member<'a>] {
        &self.foreign
    }

    /// Whether the package could serve who asks for `target` by one of its names.
    pub(super) fn serves(&self, package: &Package, target: &Target) -> bool {
        let own = is_of(package, self.architecture);
        match &target.qualifier {
            Qualifier::Own => own || package.multi_arch == MultiArch::Foreign,
            Qualifier::Any => package.multi_arch == MultiArch::Allowed,
            Qualifier::Only(architecture) => is_of(package, architecture),
        }
    }

    /// Packages that satisfy a relation.
    pub(super) fn satisfying<'s>(
        &'s self,
        relation: &'s Relation,
    ) -> impl Iterator<Item = &'s Member<'a>> {
        let alternatives = relation.alternatives.iter();
        alternatives.flat_map(|target| {
            let found = self.named(&target.name).filter(|member| member.is(target));
            found.filter(|member| self.serves(member.package, target))
        })
    }

    pub(super) fn satisfies(&self, relation: &Relation) -> bool {
        self.satisfying(relation).next().is_some()
    }

    /// What a member needs and the system does not have.
    pub(super) fn unmet<'s>(
        &'s self,
        member: &'s Member<'a>,
    ) -> impl Iterator<Item = &'s (Field, Relation)> {
        let needs = member.needs.iter();
        needs.filter(|(_, relation)| !self.satisfies(relation))
    }

    /// What excludes `member`, or is excluded by it.
    pub(super) fn exclusions<'s>(&'s self, member: &'s Member<'a>) -> Vec<Exclusion<'s>> {
        let others = || self.members.values().chain(&self.foreign);
        let by_it = others().flat_map(|other| member.exclusions_of(other));
        let by_others = others().flat_map(|other| other.exclusions_of(member));
        by_it.chain(by_others).collect()
    }

    /// Members that may go by `name`, also those of other architectures.
    fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Member<'a>> {
        let providers = self.providers.get(name).into_iter().flatten();
        let providers = providers.filter(move |provider| **provider != name);
        let names = std::iter::once(name).chain(providers.copied());
        let own = names.filter_map(|name| self.members.get(name));
        own.chain(&self.foreign)
    }

    fn insert(&mut self, member: Member<'a>) {
        for provided in &member.provides {
            let providers = self.providers.entry(provided.name.clone()).or_default();
            providers.insert(&member.package.name);
        }
        self.members.insert(&member.package.name, member);
    }
}

/// Whether a package runs on `architecture`.
fn is_of(package: &Package, architecture: &str) -> bool {
    *package.architecture == *architecture || &*package.architecture == "all"
}

/// `Conflicts` and `Breaks` are against packages of all architectures, unless they name one.
fn excludes_architecture(target: &Target, package: &Package) -> bool {
    match &target.qualifier {
        Qualifier::Own | Qualifier::Any => true,
        Qualifier::Only(architecture) => is_of(package, architecture),
    }
}
