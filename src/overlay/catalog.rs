//! All roles that profiles can name: the built-in ones and those of the project.

use std::collections::BTreeMap;
use std::path::Path;

use rust_embed::RustEmbed;

use super::files::{Entry, read_folder};
use super::role::Role;
use crate::config::{Node, Schema};
use crate::error::{Error, Result, ResultExt};
use crate::suggest::did_you_mean;

#[derive(RustEmbed)]
#[folder = "overlays/"]
struct BuiltIn;

/// How the labels of built-in roles begin.
const BUILT_IN: &str = "(built-in)";

/// The role that every node has.
const COMMON_ROLE: &str = "common";

/// What [`COMMON_ROLE`] was called once. Projects of that time still name it.
const OLD_COMMON_ROLE: &str = "base";

/// Roles by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    roles: BTreeMap<String, Role>,
}

impl Catalog {
    /// The built-in roles, and those of `<project>/overlays` in their place.
    pub fn load(project: &Path) -> Result<Self> {
        let mut roles = BTreeMap::new();
        for (name, entries) in built_in() {
            let label = format!("{BUILT_IN} overlays/{name}");
            let mut role = Role::read(&name, &label, &entries)?;
            role.built_in_words = role.boot_words();
            roles.insert(name, role);
        }
        let folder = project.join("overlays");
        if folder.is_dir() {
            for name in role_folders(&folder)? {
                let path = folder.join(&name);
                if name == OLD_COMMON_ROLE {
                    return Err(old_folder(&path));
                }
                let label = path.display().to_string();
                let mut role = Role::read(&name, &label, &read_folder(&path)?)?;
                if let Some(replaced) = roles.get(&name) {
                    role.built_in_words = replaced.built_in_words.clone();
                }
                roles.insert(name, role);
            }
        }
        let catalog = Self { roles };
        catalog.check_references()?;
        Ok(catalog)
    }

    /// Files of the built-in roles as `(path below overlays/, bytes)`, sorted.
    pub fn built_in_files() -> Vec<(String, Vec<u8>)> {
        let files = built_in().into_iter().flat_map(|(role, entries)| {
            entries
                .into_iter()
                .filter_map(move |(path, entry)| match entry {
                    Entry::Bytes(bytes) => Some((format!("{role}/{path}"), bytes)),
                    Entry::File(_) | Entry::Link(_) => None,
                })
        });
        files.collect()
    }

    /// The keys of profiles: the core's and every role's.
    pub fn schema(&self) -> Result<Schema> {
        let mut schema = Schema::core();
        for role in self.roles.values() {
            for (name, secret) in &role.manifest.secrets {
                schema.add_secret(name, &secret.help);
            }
            if !role.manifest.options.is_empty() {
                schema.add_table(role.option_table())?;
            }
        }
        Ok(schema)
    }

    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// The roles of a node with what they bring along, `common` first, each once.
    pub fn roles_of(&self, node: &Node) -> Result<Vec<&Role>> {
        let mut found = Vec::new();
        for name in std::iter::once(COMMON_ROLE).chain(node.roles.iter().map(String::as_str)) {
            self.collect(name, node, &mut found)?;
        }
        Ok(found)
    }

    /// Whether a role of `node` provides `what`. Unknown roles are told of elsewhere.
    pub fn provides(&self, node: &Node, what: &str) -> bool {
        let roles = self.roles_of(node).unwrap_or_default();
        roles
            .iter()
            .any(|role| role.manifest.provides.iter().any(|p| p == what))
    }

    fn collect<'a>(&'a self, name: &str, node: &Node, found: &mut Vec<&'a Role>) -> Result<()> {
        let Some(role) = self.roles.get(name) else {
            return Err(self.unknown(name, &format!("{}: `roles`", node.origin("roles"))));
        };
        if found.iter().any(|r| r.name == name) {
            return Ok(());
        }
        for required in &role.manifest.requires {
            self.collect(required, node, found)?;
        }
        if !found.iter().any(|r| r.name == name) {
            found.push(role);
        }
        Ok(())
    }

    fn unknown(&self, name: &str, place: &str) -> Error {
        let names: Vec<&str> = self.roles.keys().map(String::as_str).collect();
        let error = Error::usage(format!(
            "{place}: there is no role `{name}`; there are {}",
            names.join(", ")
        ));
        if name == OLD_COMMON_ROLE {
            return error.with_hint("it is called `common` now, and every node has it");
        }
        error.with_maybe_hint(did_you_mean(name, &names))
    }

    /// `requires` must name roles that exist and must not run in a circle.
    fn check_references(&self) -> Result<()> {
        for role in self.roles.values() {
            let mut trail = vec![role.name.as_str()];
            self.check_requires(role, &mut trail)?;
        }
        Ok(())
    }

    fn check_requires<'a>(&'a self, role: &'a Role, trail: &mut Vec<&'a str>) -> Result<()> {
        for name in &role.manifest.requires {
            let place = format!("{}/role.toml: `requires`", role.label);
            let next = self
                .roles
                .get(name)
                .ok_or_else(|| self.unknown(name, &place))?;
            if trail.contains(&name.as_str()) {
                return Err(Error::usage(format!(
                    "{place}: roles require each other in a circle: {} → {name}",
                    trail.join(" → ")
                )));
            }
            trail.push(name);
            self.check_requires(next, trail)?;
            trail.pop();
        }
        Ok(())
    }
}

/// A folder that once replaced the role of every node would now be a role that no node has.
fn old_folder(path: &Path) -> Error {
    let what = format!(
        "{}: the role `{OLD_COMMON_ROLE}` is called `{COMMON_ROLE}` now",
        path.display()
    );
    Error::usage(what).with_hint(format!("rename the folder to `{COMMON_ROLE}`"))
}

fn built_in() -> BTreeMap<String, BTreeMap<String, Entry>> {
    let mut roles: BTreeMap<String, BTreeMap<String, Entry>> = BTreeMap::new();
    for path in BuiltIn::iter() {
        let Some((role, rest)) = path.split_once('/') else {
            continue;
        };
        if let Some(file) = BuiltIn::get(&path) {
            let entry = Entry::Bytes(file.data.into_owned());
            roles
                .entry(role.to_owned())
                .or_default()
                .insert(rest.to_owned(), entry);
        }
    }
    roles
}

fn role_folders(folder: &Path) -> Result<Vec<String>> {
    let listing =
        std::fs::read_dir(folder).context(|| format!("reading folder {}", folder.display()))?;
    let mut names = Vec::new();
    for item in listing {
        let item = item.context(|| format!("reading folder {}", folder.display()))?;
        if item.path().is_dir() {
            names.extend(item.file_name().into_string().ok());
        }
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}
