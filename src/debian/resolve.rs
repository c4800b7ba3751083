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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// `name version` and lines of fields, one package a text.
    fn fields(package: &str) -> String {
        let (first, more) = package.split_once('\n').unwrap_or((package, ""));
        let (name, version) = first.split_once(' ').unwrap();
        let architecture = if more.contains("Architecture: ") {
            ""
        } else {
            "Architecture: arm64\n"
        };
        format!("Package: {name}\nVersion: {version}\n{architecture}{more}\n")
    }

    fn status(packages: &[&str]) -> Status {
        let entries = packages.iter().map(|package| {
            let hold = if package.contains("held") {
                "hold"
            } else {
                "install"
            };
            format!("Status: {hold} ok installed\n{}\n", fields(package).trim())
        });
        let text = entries.collect::<Vec<_>>().join("\n");
        Status::read(text.as_bytes(), "status").unwrap()
    }

    fn available(packages: &[&str]) -> Available {
        let entries = packages.iter().map(|package| {
            let file = format!("Filename: x.deb\nSize: 1\nSHA256: {}", "0".repeat(64));
            format!("{}\n{file}\n", fields(package).trim())
        });
        let text = entries.collect::<Vec<_>>().join("\n");
        let mut available = Available::new("arm64");
        available.add_index(text.as_bytes(), 0, "index").unwrap();
        available
    }

    /// What is new, and what moves as `name old new`.
    fn solve(requested: &[&str], base: &[&str], archive: &[&str]) -> Result<Vec<String>> {
        let resolution = resolve(requested, &status(base), &available(archive))?;
        let new = resolution
            .install
            .iter()
            .map(|chosen| chosen.package.name.to_string());
        let moved = resolution.upgrade.iter().map(|upgrade| {
            let package = &upgrade.package;
            format!("{} {} {}", package.name, upgrade.from, package.version)
        });
        Ok(new.chain(moved).collect())
    }

    #[test]
    fn what_is_needed_comes_along_and_what_is_there_stays() {
        let archive = [
            "a 1\nDepends: b (>= 1), c | d, v, w (= 3)\nRecommends: r",
            "b 1\nPre-Depends: e",
            "c 1",
            "d 1",
            "e 1",
            "p 1\nProvides: v, w",
            "q 1\nProvides: w (= 3)",
            "r 1",
        ];
        assert_eq!(
            solve(&["a"], &["d 1", "e 0"], &archive).unwrap(),
            ["a", "b", "p", "q"]
        );
        assert_eq!(
            solve(&["a", "d"], &[], &archive).unwrap(),
            ["a", "b", "d", "e", "p", "q"]
        );
        assert_eq!(solve(&["d"], &["d 0"], &archive).unwrap(), [""; 0]);
        assert_eq!(solve(&["v"], &[], &archive).unwrap(), ["p"]);
    }

    #[test]
    fn requested_packages_satisfy_alternatives_whatever_their_order() {
        let archive = [
            "wsdd2 1\nDepends: ksmbd-tools | samba",
            "ksmbd-tools 1",
            "samba 1",
        ];
        assert_eq!(
            solve(&["wsdd2", "samba"], &[], &archive).unwrap(),
            ["samba", "wsdd2"]
        );
        assert_eq!(
            solve(&["wsdd2"], &[], &archive).unwrap(),
            ["ksmbd-tools", "wsdd2"]
        );
    }

    #[test]
    fn the_base_moves_only_where_it_must_and_then_together() {
        let base = [
            "lib 1\nSource: s",
            "tool 1\nSource: s\nDepends: lib (= 1)",
            "doc 1\nSource: s",
            "user 1\nDepends: lib",
            "old 1",
        ];
        let archive = [
            "new 1\nDepends: lib (>= 2)\nBreaks: old (<< 2)",
            "lib 2\nSource: s",
            "tool 2\nSource: s\nDepends: lib (= 2)",
            "doc 2\nSource: s",
            "user 2\nDepends: lib",
            "old 2",
            "other 1\nDepends: lib",
        ];
        assert_eq!(solve(&["other"], &base, &archive).unwrap(), ["other"]);
        let wanted = ["new", "doc 1 2", "lib 1 2", "old 1 2", "tool 1 2"];
        assert_eq!(solve(&["new"], &base, &archive).unwrap(), wanted);
        let resolution = resolve(&["new"], &status(&base), &available(&archive)).unwrap();
        let why: Vec<String> = resolution
            .upgrade
            .iter()
            .map(|u| u.why.to_string())
            .collect();
        let wanted = [
            "moves with lib",
            "new needs lib (>= 2)",
            "moves with new",
            "moves with lib",
        ];
        assert_eq!(why, wanted);
        assert_eq!(resolution.runs.len(), 1);
    }

    fn refused(requested: &[&str], base: &[&str], archive: &[&str], kind: ErrorKind, wanted: &str) {
        let error = solve(requested, base, archive).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}\n{wanted}");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let (usage, failed, no) = (ErrorKind::Usage, ErrorKind::Failed, ErrorKind::Refused);
        refused(
            &["smaba"],
            &[],
            &["samba 1"],
            usage,
            "no archive of the base has a package `smaba`; did you mean `samba`?",
        );
        refused(
            &["v"],
            &[],
            &["p 1\nProvides: v", "q 1\nProvides: v"],
            usage,
            "several packages are `v`: name one of them, such as `p`, `q`",
        );
        refused(
            &["a"],
            &[],
            &["a 1\nDepends: b (>= 2) | c", "b 1"],
            failed,
            "a 1 needs `b (>= 2) | c`: the archives have b 1, no archive has c",
        );
        refused(
            &["a"],
            &["b 1\nX: held"],
            &["a 1\nDepends: b (>= 2)", "b 2"],
            failed,
            "the base holds b 1 back",
        );
        refused(
            &["a"],
            &["b 3"],
            &["a 1\nDepends: b (= 2)", "b 2"],
            failed,
            "the base has b 3",
        );
        refused(
            &["a"],
            &["b 1"],
            &["a 1\nConflicts: b", "b 2"],
            no,
            "a 1 conflicts with `b`: that is b 2",
        );
        refused(
            &["a"],
            &["b 1\nConflicts: a"],
            &["a 1"],
            no,
            "b 1 conflicts with `a`: that is a 1; the base has b",
        );
        refused(
            &["a"],
            &["b 1\nProvides: v"],
            &["a 1\nProvides: v\nConflicts: v"],
            no,
            "a 1 conflicts with `v`: that is b 1",
        );
        refused(
            &["a", "b"],
            &[],
            &["a 1\nBreaks: b (<< 2)", "b 1"],
            failed,
            "a 1 breaks `b (<< 2)`: that is b 1",
        );
        refused(
            &["a"],
            &["l 1", "u 1\nDepends: l (= 1)"],
            &["a 1\nDepends: l (= 2)", "l 2"],
            failed,
            "u 1 needs `l (= 1)`: l 2 would be there",
        );
        refused(
            &["a"],
            &["a 1\nArchitecture: armhf\nMulti-Arch: same"],
            &["a 2\nMulti-Arch: same"],
            no,
            "cannot be together with a 1 of armhf",
        );
        refused(
            &["a"],
            &[],
            &["a 1\nDepends: b:any", "b 1"],
            failed,
            "a 1 needs `b:any`",
        );
    }

    #[test]
    fn alternatives_that_conflict_with_the_base_are_passed_over() {
        let archive = ["a 1\nDepends: b | c", "b 1\nConflicts: x", "c 1"];
        assert_eq!(solve(&["a"], &["x 1"], &archive).unwrap(), ["a", "c"]);
        let archive = [&archive[..], &["x 2"]].concat();
        assert_eq!(solve(&["a"], &["x 1"], &archive).unwrap(), ["a", "c"]);
    }

    #[test]
    fn what_the_base_lacks_itself_does_not_stand_in_the_way() {
        assert_eq!(
            solve(&["a"], &["b 1\nDepends: gone"], &["a 1"]).unwrap(),
            ["a"]
        );
    }

    #[test]
    fn other_architectures_serve_where_they_may() {
        let foreign = "b 1\nArchitecture: armhf\nMulti-Arch: foreign";
        let archive = [
            "a 1\nDepends: b",
            "c 1\nDepends: d:any",
            "d 1\nMulti-Arch: allowed",
        ];
        assert_eq!(solve(&["a"], &[foreign], &archive).unwrap(), ["a"]);
        assert_eq!(solve(&["c"], &[], &archive).unwrap(), ["c", "d"]);
    }

    #[test]
    fn what_is_needed_for_unpacking_is_a_run_before() {
        let archive = [
            "a 1\nPre-Depends: b\nDepends: d",
            "b 1\nDepends: c",
            "c 1",
            "d 1",
            "e 1\nPre-Depends: f",
            "f 2",
        ];
        let runs = |requested: &[&str]| {
            resolve(requested, &status(&["f 1"]), &available(&archive))
                .unwrap()
                .runs
        };
        assert_eq!(runs(&["a"]), [vec!["b", "c", "d"], vec!["a"]]);
        assert_eq!(runs(&["d", "e"]), [vec!["d", "e"]]);
        let circle = ["a 1\nPre-Depends: b", "b 1\nDepends: a"];
        let error = solve(&["a"], &[], &circle).unwrap_err().to_string();
        assert!(error.contains("before the other"), "{error}");
    }

    #[test]
    fn an_unfinished_base_is_an_error() {
        let text =
            "Package: a\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all\n";
        let status = Status::read(text.as_bytes(), "status").unwrap();
        let error = resolve(&["b"], &status, &available(&["b 1"])).unwrap_err();
        assert!(
            error.to_string().ends_with("a is half-configured"),
            "{error}"
        );
    }
}
