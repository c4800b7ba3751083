//! Finds profiles, follows `extends`, and lays `--set` on top.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rust_embed::RustEmbed;

use super::folder::{self, Listing, SUFFIX};
use super::value::{self, Item, Origin, Value};
use crate::error::{Error, Result};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::did_you_mean;

/// The default profiles: the seed cluster.
#[derive(RustEmbed)]
#[folder = "profiles/"]
struct BuiltIn;

/// Where profiles are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileSource {
    /// `*.toml` of a folder.
    Folder(PathBuf),
    /// The profiles inside the program.
    BuiltIn,
}

/// Parts of a key: no profile is deeper, and one more has a message of its own.
const DEEPEST: usize = 3;

/// A `--set` of the command line.
#[derive(Debug, Clone)]
struct Override {
    path: Vec<String>,
    item: Item,
}

/// Key–value pairs of `--set`.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<Override>);

impl Overrides {
    /// Parses `key=value` words. Blanks around the key and around the value are left out. Words that
    /// say nothing go to `problems`.
    pub fn parse(words: &[String], problems: &mut Problems) -> Self {
        let mut found = Vec::new();
        for word in words {
            match Override::parse(word) {
                Ok(set) => found.push(set),
                Err(problem) => problems.push(problem),
            }
        }
        Self(found)
    }
}

impl Override {
    fn parse(word: &str) -> std::result::Result<Self, Problem> {
        let given = word.split_once('=');
        let Some((key, text)) = given.filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(
                Problem::new(format!("--set {word}"), "must be KEY=VALUE").with_hint(
                    "write `--set network.gateway=10.0.0.1`, without blanks around the `=`",
                ),
            );
        };
        let path: Vec<String> = key.split('.').map(|p| p.trim().to_owned()).collect();
        let key = path.join(".");
        let place = format!("--set {key}");
        let odd = |part: &String| part.is_empty() || part.contains(char::is_whitespace);
        if path.iter().any(odd) || path.len() > DEEPEST {
            return Err(Problem::new(place, "there is no such key")
                .with_hint("a key is written `table.key`, or `key` for one at the top"));
        }
        if key == "extends" {
            let what = "`extends` cannot be set on the command line";
            return Err(Problem::new(place, what).with_hint("it stands in the profile"));
        }
        let origin = Origin::named(place);
        let value = value::parse_override(text, &origin);
        let item = Item { value, origin };
        Ok(Self { path, item })
    }

    fn lay_on(&self, values: &mut BTreeMap<String, Item>) {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        value::merge(values, value::at_path(&path, self.item.clone()));
    }
}

/// A profile with everything it inherits, not yet checked against a schema.
#[derive(Debug, Clone)]
pub struct RawProfile {
    pub name: String,
    pub values: BTreeMap<String, Item>,
    /// Whether the profile itself names a host; others are only there to be extended.
    pub is_node: bool,
    /// Its file.
    pub file: Origin,
    /// The file at the end of its `extends`: what is in none of them is missing there.
    pub root: Origin,
}

/// All profiles of a project.
#[derive(Debug)]
pub struct Profiles {
    source: ProfileSource,
    names: Vec<String>,
    /// What is in each file that can be read.
    documents: BTreeMap<String, BTreeMap<String, Item>>,
    notes: Vec<String>,
}

impl ProfileSource {
    /// The `profiles/` folder of `project`. Where no project is named, that of the current folder, or
    /// the built-in profiles where there is none.
    pub fn find(project: Option<&Path>) -> Result<Self> {
        let folder = project.unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let what = if folder.exists() {
                format!("`{}` is not a folder", folder.display())
            } else {
                format!("there is no folder `{}`", folder.display())
            };
            return Err(Error::usage(what).with_hint("-C takes the folder that holds `profiles`"));
        }
        match (folder::find(folder)?, project) {
            (Some(profiles), _) => Ok(Self::Folder(profiles)),
            (None, None) => Ok(Self::BuiltIn),
            (None, Some(_)) => Err(Error::usage(format!(
                "`{}` has no folder `profiles`",
                folder.display()
            ))
            .with_hint(format!(
                "`imgbuild init {}` writes the default profiles to edit",
                folder::pasted(folder)
            ))),
        }
    }

    /// Built-in profiles as `(file name, text)`, sorted.
    pub fn built_in_files() -> Vec<(String, Vec<u8>)> {
        let mut names: Vec<String> = BuiltIn::iter().map(|n| n.into_owned()).collect();
        names.sort();
        names
            .into_iter()
            .filter_map(|name| BuiltIn::get(&name).map(|file| (name, file.data.into_owned())))
            .collect()
    }

    fn list(&self, problems: &mut Problems) -> Result<Listing> {
        match self {
            Self::Folder(folder) => folder::list(folder, problems),
            Self::BuiltIn => Ok(Listing {
                names: Self::built_in_files()
                    .iter()
                    .filter_map(|(name, _)| name.strip_suffix(SUFFIX).map(str::to_owned))
                    .collect(),
                notes: vec![
                    "using the built-in profiles; `imgbuild init` writes them out to edit"
                        .to_owned(),
                ],
            }),
        }
    }

    fn label(&self, name: &str) -> Arc<str> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(format!("{name}{SUFFIX}"));
                folder::shown(&path).to_string()
            }
            Self::BuiltIn => format!("(built-in) profiles/{name}{SUFFIX}"),
        }
        .into()
    }

    fn read(&self, name: &str) -> Result<BTreeMap<String, Item>> {
        let label = self.label(name);
        let file = format!("{name}{SUFFIX}");
        let bytes = match self {
            Self::Folder(folder) => fs::read(folder.join(file))
                .map_err(|error| Error::usage(format!("{label}: cannot be read: {error}")))?,
            Self::BuiltIn => BuiltIn::get(&file)
                .map(|file| file.data.into_owned())
                .unwrap_or_default(),
        };
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::usage(format!("{label}: not UTF-8 text"))
                .with_hint("save it as UTF-8 in your editor")
        })?;
        value::parse_document(&text, &label)
    }
}

/// What merging has made of a profile.
#[derive(Debug, Clone)]
struct Merged {
    values: BTreeMap<String, Item>,
    root: Origin,
}

/// Profiles that are merged already, each once; `None` where something on the way is wrong.
type Known<'a> = BTreeMap<&'a str, Option<Arc<Merged>>>;

impl Profiles {
    /// Reads the profiles of `source`. What is wrong with files goes to `problems`.
    pub fn open(source: ProfileSource, problems: &mut Problems) -> Result<Self> {
        let Listing { names, notes } = source.list(problems)?;
        if names.is_empty() && problems.is_empty() {
            let why = match &source {
                ProfileSource::Folder(folder) => folder::shown(folder).to_string(),
                ProfileSource::BuiltIn => "the program".to_owned(),
            };
            return Err(Error::usage(format!("{why} holds no .toml file"))
                .with_hint("`imgbuild init` writes the default profiles out to edit"));
        }
        let mut documents = BTreeMap::new();
        for name in &names {
            if let Some(document) = problems.keep(source.read(name))? {
                documents.insert(name.clone(), document);
            }
        }
        Ok(Self {
            source,
            names,
            documents,
            notes,
        })
    }

    /// What the user should know of where the profiles come from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All profiles that can be read, merged along `extends`, with `overrides` laid on top. Overrides
    /// of a table go to every profile; overrides of a key at the top (`hostname`, `address`, …) only
    /// to nodes that are `selected`, or to all nodes where none is.
    pub fn load(
        &self,
        overrides: &Overrides,
        selected: &[String],
        problems: &mut Problems,
    ) -> Vec<RawProfile> {
        let mut known = Known::new();
        for name in &self.names {
            self.merge_along(name, &mut known, problems);
        }
        // What is in files that cannot be read is not known.
        let all_known = self.names.len() == known.values().flatten().count();
        self.check_hostless(all_known, problems);
        let mut profiles = Vec::new();
        for (name, merged) in known {
            let Some(merged) = merged else { continue };
            let Merged { mut values, root } = Arc::unwrap_or_clone(merged);
            let is_node = values.contains_key("hostname");
            let chosen = is_node && (selected.is_empty() || selected.iter().any(|s| s == name));
            for set in &overrides.0 {
                if set.path.len() > 1 || chosen {
                    set.lay_on(&mut values);
                }
            }
            profiles.push(RawProfile {
                name: name.to_owned(),
                values,
                is_node,
                file: self.file(name),
                root,
            });
        }
        profiles
    }

    fn file(&self, name: &str) -> Origin {
        Origin::named(self.source.label(name))
    }

    /// Merges `name` and what it extends, as far as that is not known yet.
    fn merge_along<'a>(&'a self, name: &'a str, known: &mut Known<'a>, problems: &mut Problems) {
        let mut trail = Vec::new();
        let mut next = Some(name);
        let mut base = None;
        while let Some(name) = next {
            if let Some(found) = known.get(name) {
                base = found.clone();
                if base.is_none() {
                    return spoil(&trail, known);
                }
                break;
            }
            trail.push(name);
            match self.parent(name, &trail, problems) {
                Ok(parent) => next = parent,
                Err(Spoilt) => return spoil(&trail, known),
            }
        }
        for name in trail.into_iter().rev() {
            let own = self.documents.get(name).cloned().unwrap_or_default();
            let merged = Arc::new(match &base {
                None => Merged {
                    values: own,
                    root: self.file(name),
                },
                Some(base) => Merged {
                    values: inherit(&base.values, own),
                    root: base.root.clone(),
                },
            });
            base = Some(merged.clone());
            known.insert(name, Some(merged));
        }
    }

    /// The profile that the last of `trail` extends.
    fn parent<'a>(
        &'a self,
        name: &str,
        trail: &[&str],
        problems: &mut Problems,
    ) -> std::result::Result<Option<&'a str>, Spoilt> {
        // What cannot be read was told already.
        let document = self.documents.get(name).ok_or(Spoilt)?;
        let Some(Item { value, origin }) = document.get("extends") else {
            return Ok(None);
        };
        let mut wrong = |problem| {
            problems.push(problem);
            Err(Spoilt)
        };
        let Some(parent) = value.as_text() else {
            let what = "`extends` must be the name of a profile";
            return wrong(Problem::new(origin, what));
        };
        if let Some(start) = trail.iter().position(|n| *n == parent) {
            let circle = trail[start..].join(" → ");
            let what = format!("profiles extend each other in a circle: {circle} → {parent}");
            return wrong(Problem::new(origin, what).with_hint("take one of these `extends` out"));
        }
        match self.require(parent) {
            Ok(()) => Ok(Some(parent)),
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                let what = format!("`extends`: {error}");
                wrong(Problem::new(origin, what).with_maybe_hint(hint))
            }
        }
    }

    /// A profile without a host name is there to be extended. Others are nodes that lost theirs.
    fn check_hostless(&self, all_known: bool, problems: &mut Problems) {
        let has_nodes = self.documents.values().any(|d| d.contains_key("hostname"));
        let extended: BTreeSet<&str> = self
            .documents
            .values()
            .filter_map(|d| d.get("extends")?.value.as_text())
            .collect();
        for (name, document) in &self.documents {
            if document.contains_key("hostname") || is_misspelt(document, "hostname") {
                continue;
            }
            if let Some(address) = document.get("address") {
                let what = "`address` without `hostname`: only a node has an address";
                let hint = format!("add `hostname = \"{name}\"`, or take `address` out");
                problems.push(Problem::new(&address.origin, what).with_hint(hint));
            } else if all_known && has_nodes && !extended.contains(name.as_str()) {
                let what = "has no `hostname`, and no profile extends it: it has no effect";
                let hint =
                    "a node has `hostname` and `address`; remove the file if it is not needed";
                problems.push(Problem::new(self.file(name), what).with_hint(hint));
            }
        }
    }

    /// The profile that `name` stands for: the one of that name, or else that of the host `name`.
    pub fn find(&self, name: &str) -> Result<String> {
        if self.names.iter().any(|n| n == name) {
            return Ok(name.to_owned());
        }
        let hosts = self.documents.iter().filter_map(|(profile, document)| {
            let host = document.get("hostname")?.value.as_text()?;
            Some((host, profile))
        });
        let hosts: BTreeMap<&str, &String> = hosts.collect();
        match hosts.get(name) {
            Some(profile) => Ok((*profile).clone()),
            None => {
                let hosts: Vec<&str> = hosts.into_keys().collect();
                Err(self.unknown(name, &hosts))
            }
        }
    }

    /// Errors, with the nearest name, when there is no profile `name`.
    pub fn require(&self, name: &str) -> Result<()> {
        if self.names.iter().any(|n| n == name) {
            Ok(())
        } else {
            Err(self.unknown(name, &[]))
        }
    }

    /// `others` are names that would do as well.
    fn unknown(&self, name: &str, others: &[&str]) -> Error {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let choice = if names.len() <= FEW {
            format!("; there are {}", names.join(", "))
        } else {
            String::new()
        };
        let error = Error::usage(format!("there is no profile `{name}`{choice}"));
        error.with_maybe_hint(did_you_mean(name, &[&names, others].concat()))
    }
}

/// More names than this are not listed in a message.
const FEW: usize = 12;

/// Something on the way to a profile is wrong, and was told.
struct Spoilt;

fn spoil<'a>(trail: &[&'a str], known: &mut Known<'a>) {
    known.extend(trail.iter().map(|name| (*name, None)));
}

/// A node is what names a host itself: its parent's own name and address are not handed down.
fn inherit(base: &BTreeMap<String, Item>, own: BTreeMap<String, Item>) -> BTreeMap<String, Item> {
    let handed_down = base
        .iter()
        .filter(|(key, _)| !["hostname", "address"].contains(&key.as_str()));
    let mut values = handed_down
        .map(|(key, item)| (key.clone(), item.clone()))
        .collect();
    value::merge(&mut values, own);
    values
}

/// Whether a key is there that is almost called `key`: it is told as unknown already.
fn is_misspelt(document: &BTreeMap<String, Item>, key: &str) -> bool {
    document.keys().any(|k| strsim::jaro_winkler(k, key) > 0.85)
}

/// The text of a key that the schema has checked to be a string.
pub(super) fn text_of(values: &BTreeMap<String, Item>, key: &str) -> Option<String> {
    values
        .get(key)
        .and_then(|i| i.value.as_text())
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
}

/// The table `key`, or an empty one.
pub(super) fn table_of(values: &BTreeMap<String, Item>, key: &str) -> BTreeMap<String, Item> {
    match values.get(key).map(|i| &i.value) {
        Some(Value::Table(table)) => table.clone(),
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn load(files: &[(&str, &str)], set: &[&str], selected: &[&str]) -> Result<Vec<RawProfile>> {
        let dir = folder(files);
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let selected: Vec<String> = selected.iter().map(|s| (*s).to_owned()).collect();
        let mut problems = Problems::new();
        let source = ProfileSource::Folder(dir.path().to_owned());
        let profiles = Profiles::open(source, &mut problems)?;
        let overrides = Overrides::parse(&set, &mut problems);
        let raw = profiles.load(&overrides, &selected, &mut problems);
        problems.report()?;
        Ok(raw)
    }

    #[test]
    fn a_circle_of_extends_is_named() {
        let error = load(
            &[
                ("a.toml", "extends = \"b\""),
                ("b.toml", "extends = \"c\""),
                ("c.toml", "extends = \"a\""),
            ],
            &[],
            &[],
        )
        .unwrap_err();
        assert!(error.to_string().contains("a → b → c → a"), "{error}");
    }

    #[test]
    fn a_missing_parent_is_named_with_place_and_nearest() {
        let error = load(
            &[("cluster.toml", ""), ("a.toml", "\nextends = \"clutser\"")],
            &[],
            &[],
        )
        .unwrap_err();
        assert!(error.to_string().contains("a.toml:2"), "{error}");
        assert_eq!(error.hint(), Some("did you mean `cluster`?"));
    }

    #[test]
    fn a_host_name_stands_for_its_profile() {
        let dir = folder(&[
            ("c.toml", ""),
            ("x.toml", "extends = \"c\"\nhostname = \"hosta\""),
            ("y.toml", "extends = \"c\"\nhostname = \"x\""),
        ]);
        let source = ProfileSource::Folder(dir.path().to_owned());
        let profiles = Profiles::open(source, &mut Problems::new()).unwrap();
        assert_eq!(profiles.find("hosta").unwrap(), "x");
        assert_eq!(
            profiles.find("x").unwrap(),
            "x",
            "a profile's own name wins"
        );
        let error = profiles.find("hostb").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `hosta`?"));
    }

    #[test]
    fn overrides_reach_the_right_profiles() {
        let files = [
            ("c.toml", "[network]\ndomain = \"a\""),
            ("x.toml", "extends = \"c\"\nhostname = \"x\""),
            ("y.toml", "extends = \"c\"\nhostname = \"y\""),
        ];
        let raw = load(&files, &["hostname=z", "network.domain=b"], &["x"]).unwrap();
        let names: Vec<_> = raw.iter().map(|r| text_of(&r.values, "hostname")).collect();
        assert_eq!(names, [None, Some("z".into()), Some("y".into())]);
        for profile in &raw {
            let network = table_of(&profile.values, "network");
            assert_eq!(text_of(&network, "domain").as_deref(), Some("b"));
        }
        assert_eq!(raw.iter().filter(|r| r.is_node).count(), 2);
    }

    #[test]
    fn overrides_need_a_key() {
        for word in [
            "=1",
            " = 1",
            "nothing",
            "a..b=1",
            ".a=1",
            "a b=1",
            "a.b.c.d=1",
            "extends=x",
        ] {
            let mut problems = Problems::new();
            Overrides::parse(&[word.to_owned()], &mut problems);
            assert_eq!(problems.len(), 1, "{word}");
        }
    }

    #[test]
    fn overrides_of_a_table_are_merged_into_it() {
        let files = [(
            "x.toml",
            "hostname = \"x\"\n[network]\ndomain = \"a\"\ncidr = \"c\"",
        )];
        let raw = load(
            &files,
            &["network = {domain = \"b\"}", "network.search = [\"s\"]"],
            &[],
        )
        .unwrap();
        let network = table_of(&raw[0].values, "network");
        assert_eq!(text_of(&network, "domain").as_deref(), Some("b"));
        assert_eq!(text_of(&network, "cidr").as_deref(), Some("c"));
        assert_eq!(network["search"].value.texts(), ["s"]);
    }

    #[test]
    fn a_long_chain_of_extends_is_followed() {
        let names: Vec<String> = (0..3000).map(|n| format!("p{n}.toml")).collect();
        let texts: Vec<String> = (0..3000)
            .map(|n| match n {
                0 => "[network]\ndomain = \"a\"".to_owned(),
                n => format!("extends = \"p{}\"", n - 1),
            })
            .collect();
        let mut files: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        files.push(("x.toml", "extends = \"p2999\"\nhostname = \"x\""));
        let raw = load(&files, &[], &[]).unwrap();
        let node = raw.iter().find(|r| r.is_node).unwrap();
        assert!(node.root.to_string().ends_with("p0.toml"), "{}", node.root);
        let network = table_of(&node.values, "network");
        assert_eq!(text_of(&network, "domain").as_deref(), Some("a"));
    }

    #[test]
    fn a_circle_is_told_once_and_spoils_what_leads_to_it() {
        let files = [
            ("a.toml", "extends = \"b\""),
            ("b.toml", "extends = \"c\""),
            ("c.toml", "extends = \"b\""),
            ("n.toml", "extends = \"a\"\nhostname = \"n\""),
            ("spare.toml", ""),
        ];
        let error = load(&files, &[], &[]).unwrap_err().to_string();
        assert!(error.ends_with("in a circle: b → c → b"), "{error}");
    }
}
