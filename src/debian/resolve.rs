//! From names of packages to what a base gets so that it has them, as apt would without recommendations.

use std::collections::BTreeSet;

use super::available::Available;
use super::check::check;
use super::choose::{Choice, choose};
use super::package::Package;
use super::relation::{Qualifier, Relation, Target};
use super::resolution::{Chosen, Resolution, Upgrade, Why};
use super::runs::runs;
use super::status::Status;
use super::system::System;
use crate::error::{Error, Result};
use crate::suggest::quoted;

/// What a requested name stands for.
enum Wanted<'a> {
    Present(&'a Package),
    New(&'a Package),
}

/// Chooses what a base with `status` gets so that it has all `requested` packages, and checks that the
/// whole holds together. Recommendations are left out. Packages of the base are upgraded only where a
/// relation demands it, and never removed.
///
/// # Errors
/// Names that no archive has; needs that nothing satisfies; conflicts, also with what the base has (which
/// are refused); a base that an interrupted dpkg left unfinished.
pub fn resolve(requested: &[&str], status: &Status, available: &Available) -> Result<Resolution> {
    unfinished(status)?;
    let base = System::of(status, available.architecture())?;
    let names: BTreeSet<&str> = requested.iter().copied().collect();
    let mut present = Vec::new();
    let mut new: Vec<&Package> = Vec::new();
    let mut wrong = Vec::new();
    for name in names {
        match wanted(name, &base, available)? {
            Ok(Wanted::Present(package)) => present.push(package.clone()),
            Ok(Wanted::New(package)) => new.push(package),
            Err(why) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        return Err(Error::usage(wrong.join("\n")).with_hint(
            "name packages as the base's archives do; https://packages.debian.org lists those of \
             Debian",
        ));
    }
    let choice = choose(&new, status, available)?;
    check(&choice, available)?;
    let runs = runs(&choice.system, &base)?;
    Ok(answer(&choice, present, runs))
}

fn unfinished(status: &Status) -> Result<()> {
    let Some((name, state)) = status.unfinished().first() else {
        return Ok(());
    };
    Err(Error::failed(format!(
        "the base was left in the middle of an installation: {name} is {state}"
    ))
    .with_hint("run `dpkg --configure -a` on a system with this base, or choose another base"))
}

/// The package that a name stands for, or what is wrong with the name.
fn wanted<'a>(
    name: &str,
    base: &System<'a>,
    available: &'a Available,
) -> Result<Result<Wanted<'a>, String>> {
    if let Some(member) = base.get(name) {
        return Ok(Ok(Wanted::Present(member.package)));
    }
    if let Some(package) = available.newest(name) {
        return Ok(Ok(Wanted::New(package)));
    }
    let target = Target {
        name: name.to_owned(),
        qualifier: Qualifier::Own,
        version: None,
    };
    let providers = available.providers(&target)?;
    let relation = Relation {
        alternatives: vec![target],
    };
    if let Some(member) = base.satisfying(&relation).next() {
        return Ok(Ok(Wanted::Present(member.package)));
    }
    Ok(match *providers {
        [] => Err(format!(
            "no archive of the base has a package `{name}`{}",
            available.or_meant(name)
        )),
        [only] => Ok(Wanted::New(only)),
        [..] => {
            let names: Vec<&str> = providers.iter().take(5).map(|p| &*p.name).collect();
            Err(format!(
                "several packages are `{name}`: name one of them, such as {}",
                quoted(&names)
            ))
        }
    })
}

fn answer(choice: &Choice<'_>, present: Vec<Package>, runs: Vec<Vec<String>>) -> Resolution {
    let mut resolution = Resolution {
        install: Vec::new(),
        upgrade: Vec::new(),
        present,
        runs,
    };
    for member in choice.system.members().filter(|m| m.is_changed()) {
        let package = member.package.clone();
        let why = choice.why.get(&*package.name).cloned();
        let why = why.unwrap_or(Why::Requested);
        match member.base {
            None => resolution.install.push(Chosen { package, why }),
            Some(base) => resolution.upgrade.push(Upgrade {
                package,
                from: base.version.clone(),
                why,
            }),
        }
    }
    resolution
}
