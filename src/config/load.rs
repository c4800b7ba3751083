//! Finds profiles, follows `extends`, and lays `--set` on top.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rust_embed::RustEmbed;

use super::value::{self, Item, Origin, Value};
use crate::error::{Error, Result, ResultExt};
use crate::problem::nearest;

/// The default profiles: the seed cluster.
#[derive(RustEmbed)]
#[folder = "profiles/"]
struct BuiltIn;

/// Where profiles are read from.
#[derive(Debug, Clone)]
pub enum ProfileSource {
    /// `*.toml` of a folder.
    Folder(PathBuf),
    /// The profiles inside the program.
    BuiltIn,
}

/// Key–value pairs of `--set`.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<(String, String)>);

impl Overrides {
    /// Parses `key=value` words.
    pub fn parse(words: &[String]) -> Result<Self> {
        let pairs = words.iter().map(|word| {
            word.split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .map(|(k, v)| (k.trim().to_owned(), v.to_owned()))
                .ok_or_else(|| {
                    Error::usage(format!(
                        "--set {word}: wants KEY=VALUE, like network.gateway=10.0.0.1"
                    ))
                })
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }
}

/// A profile with everything it inherits, not yet checked against a schema.
#[derive(Debug, Clone)]
pub struct RawProfile {
    pub name: String,
    pub values: BTreeMap<String, Item>,
    /// Whether the profile itself names a host; others are only there to be extended.
    pub is_node: bool,
}

/// All profiles of a project.
#[derive(Debug)]
pub struct Profiles {
    source: ProfileSource,
    names: Vec<String>,
}

impl ProfileSource {
    /// The `profiles/` folder of `project` when there is one, otherwise the built-in profiles.
    pub fn find(project: &Path) -> Self {
        let folder = project.join("profiles");
        match folder.is_dir() {
            true => Self::Folder(folder),
            false => Self::BuiltIn,
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

    fn names(&self) -> Result<Vec<String>> {
        let mut files: Vec<String> = match self {
            Self::BuiltIn => BuiltIn::iter().map(|n| n.into_owned()).collect(),
            Self::Folder(folder) => list_folder(folder)?,
        };
        files.sort();
        Ok(files
            .iter()
            .filter_map(|f| f.strip_suffix(".toml"))
            .map(str::to_owned)
            .collect())
    }

    fn label(&self, name: &str) -> Arc<str> {
        match self {
            Self::Folder(folder) => folder.join(format!("{name}.toml")).display().to_string(),
            Self::BuiltIn => format!("(built-in) profiles/{name}.toml"),
        }
        .into()
    }

    fn read(&self, name: &str) -> Result<String> {
        let bytes = match self {
            Self::Folder(folder) => std::fs::read(folder.join(format!("{name}.toml")))
                .context(|| format!("reading profile {}", self.label(name)))?,
            Self::BuiltIn => BuiltIn::get(&format!("{name}.toml"))
                .map(|file| file.data.into_owned())
                .ok_or_else(|| Error::usage(format!("no built-in profile `{name}`")))?,
        };
        String::from_utf8(bytes)
            .map_err(|_| Error::usage(format!("{}: not UTF-8 text", self.label(name))))
    }
}

fn list_folder(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)
        .context(|| format!("reading the profiles folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("reading {}", folder.display()))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

impl Profiles {
    /// Lists the profiles of `source`.
    pub fn open(source: ProfileSource) -> Result<Self> {
        let names = source.names()?;
        if names.is_empty() {
            return Err(Error::usage("the profiles folder holds no .toml file")
                .with_hint("`imgbuild init` writes the default profiles out to edit"));
        }
        Ok(Self { source, names })
    }

    pub fn source(&self) -> &ProfileSource {
        &self.source
    }

    /// All profiles, merged along `extends`, with `overrides` laid on top. Overrides of a table go
    /// to every profile; overrides of a key at the top (`hostname`, `address`, …) only to nodes that
    /// are `selected`, or to all nodes where none is.
    pub fn load(&self, overrides: &Overrides, selected: &[String]) -> Result<Vec<RawProfile>> {
        self.names
            .iter()
            .map(|name| self.load_one(name, overrides, selected))
            .collect()
    }

    fn load_one(
        &self,
        name: &str,
        overrides: &Overrides,
        selected: &[String],
    ) -> Result<RawProfile> {
        let mut values = self.merged(name, &mut Vec::new())?;
        let is_node = values.contains_key("hostname");
        let chosen = is_node && (selected.is_empty() || selected.iter().any(|s| s == name));
        for (key, text) in &overrides.0 {
            let path: Vec<&str> = key.split('.').collect();
            if path.len() == 1 && !chosen {
                continue;
            }
            let origin = Origin::named(format!("--set {key}"));
            let value = value::parse_override(text, &origin);
            value::set(&mut values, &path, Item { value, origin });
        }
        Ok(RawProfile {
            name: name.to_owned(),
            values,
            is_node,
        })
    }

    /// `trail` holds the profiles on the way here: one of them again is a cycle.
    fn merged(&self, name: &str, trail: &mut Vec<String>) -> Result<BTreeMap<String, Item>> {
        let label = self.source.label(name);
        let own = value::parse_document(&self.source.read(name)?, &label)?;
        let Some(extends) = own.get("extends") else {
            return Ok(own);
        };
        let origin = extends.origin.clone();
        let Some(parent) = extends.value.as_text().map(str::to_owned) else {
            return Err(Error::usage(format!(
                "{origin}: `extends` wants the name of a profile"
            )));
        };
        trail.push(name.to_owned());
        if trail.contains(&parent) {
            trail.push(parent);
            return Err(Error::usage(format!(
                "{origin}: profiles extend each other in a circle: {}",
                trail.join(" → ")
            ))
            .with_hint("take one of these `extends` out"));
        }
        self.require(&parent)
            .map_err(|error| prefix(&origin, "extends", error))?;
        let mut values = self.merged(&parent, trail)?;
        // A node is what names a host itself; its parent's own name is not handed down.
        for key in ["hostname", "address"] {
            values.remove(key);
        }
        value::merge(&mut values, own);
        Ok(values)
    }

    /// The profile that `name` stands for: the one of that name, or else that of the host `name`.
    pub fn find(&self, name: &str) -> Result<String> {
        let mut names: Vec<String> = self.names.clone();
        if names.iter().any(|n| n == name) {
            return Ok(name.to_owned());
        }
        for profile in &self.names {
            let values = self.merged(profile, &mut Vec::new())?;
            let Some(host) = text_of(&values, "hostname") else {
                continue;
            };
            if host == name {
                return Ok(profile.clone());
            }
            names.push(host);
        }
        let error = Error::usage(format!(
            "there is no profile `{name}` and no host of that name; the profiles are {}",
            self.names.join(", ")
        ));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error,
        })
    }

    /// Errors, with the nearest name, when there is no profile `name`.
    pub fn require(&self, name: &str) -> Result<()> {
        if self.names.iter().any(|n| n == name) {
            return Ok(());
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let error = Error::usage(format!(
            "there is no profile `{name}`; there are {}",
            names.join(", ")
        ));
        Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error,
        })
    }
}

fn prefix(origin: &Origin, key: &str, error: Error) -> Error {
    let hint = error.hint().map(str::to_owned);
    let error = Error::usage(format!("{origin}: `{key}`: {error}"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
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
        Profiles::open(ProfileSource::Folder(dir.path().to_owned()))?
            .load(&Overrides::parse(&set)?, &selected)
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
        let profiles = Profiles::open(ProfileSource::Folder(dir.path().to_owned())).unwrap();
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
        assert!(Overrides::parse(&["=1".into()]).is_err());
        assert!(Overrides::parse(&["nothing".into()]).is_err());
    }
}
