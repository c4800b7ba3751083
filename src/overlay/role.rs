//! `role.toml`: what a role is.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::account_spec::AccountSpec;
use super::files::{Entry, MANIFEST, OverlayFile, Part, clean_path, overlay_files};
use super::manifest_spec::ManifestSpec;
use super::payload_spec::{Payload, is_template, parse_mode};
use super::pki_use::PkiUse;
use super::required::Required;
use super::secret_use::SecretUse;
use crate::config::{Field, Item, Kind, Origin, Pattern, Table, Value};
use crate::error::{Error, Result};
use crate::pki::Purpose;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::did_you_mean;

/// Files of the boot partition that are edited line by line, in small letters as FAT compares names.
const EDITED_BOOT_FILES: &[&str] = &["/cmdline.txt", "/config.txt"];

/// Files of the root file system that are edited, or that the first boot needs as the base has them.
const EDITED_ROOT_FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/fstab",
    "/etc/machine-id",
];

/// A role: its `role.toml` and its files.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    /// Where it lies, for messages.
    pub label: String,
    pub manifest: Manifest,
    pub files: Vec<OverlayFile>,
    /// What the built-in role of this name adds to cmdline.txt and config.txt, as its role.toml has it: it sets
    /// what profiles have keys for, and so may a role of the project that began as its copy.
    pub built_in_words: Vec<String>,
}

/// `role.toml` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub description: String,
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub conflicts: Vec<String>,
    #[serde(default)]
    pub options: BTreeMap<String, OptionSpec>,
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretUse>,
    /// Keys of the cluster that the role uses.
    #[serde(default)]
    pub pki: BTreeMap<Purpose, PkiUse>,
    #[serde(default)]
    pub payload: Vec<Payload>,
    #[serde(default)]
    pub manifest: Vec<ManifestSpec>,
    /// System accounts, by their names, which may be templates.
    #[serde(default)]
    pub accounts: BTreeMap<String, AccountSpec>,
    #[serde(default)]
    pub packages: Packages,
    #[serde(default)]
    pub images: Images,
    #[serde(default)]
    pub units: Units,
    #[serde(default)]
    pub cmdline: Cmdline,
    #[serde(default)]
    pub config_txt: ConfigTxt,
    #[serde(default)]
    pub modes: BTreeMap<String, String>,
    #[serde(default)]
    pub owners: BTreeMap<String, String>,
    #[serde(default)]
    pub directories: BTreeMap<String, String>,
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    #[serde(default)]
    pub remove: Remove,
    /// Templates: what a build tells the user of this role in the end. Empty lines are left out.
    #[serde(default)]
    pub next: Vec<String>,
    /// What a node with the role does for others, such as `dns`.
    #[serde(default)]
    pub provides: Vec<String>,
    #[serde(default)]
    pub check: Vec<CheckRule>,
}

/// A rule of the role's own: what must hold on every node that has the role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRule {
    /// Expression that is true when all is well.
    pub that: String,
    /// Expression without which the rule does not apply.
    pub when: Option<String>,
    /// Expression for a list: the rule holds for each `item` of it.
    pub each: Option<String>,
    /// The key that is to be changed, `option` or `table.key`, so that the message names its line.
    pub key: Option<String>,
    /// Secrets that the expressions read. The rule waits until they are resolved, and does not
    /// apply where one is not given.
    #[serde(default)]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub level: Level,
    /// Template: what is wrong.
    pub message: String,
    /// Template: what to do about it.
    pub hint: Option<String>,
}

/// What a rule that does not hold means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The profile is wrong.
    #[default]
    Error,
    /// The user is told.
    Note,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Kind of the items of a list.
    pub of: Option<Kind>,
    pub default: Option<toml::Value>,
    #[serde(default)]
    pub required: Required,
    /// An empty string means something, although there is a default.
    #[serde(default)]
    pub may_be_empty: bool,
    pub min: Option<i64>,
    pub max: Option<i64>,
    #[serde(default)]
    pub choices: Vec<String>,
    pub pattern: Option<String>,
    /// What the pattern means, as it stands behind "is not": `a name of letters and digits`.
    pub pattern_help: Option<String>,
    /// Expression without which setting the option has no effect.
    pub when: Option<String>,
    pub help: String,
}

/// Packages of the base's distribution that the role needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packages {
    pub install: Vec<String>,
}

/// Container images that are to be on the card.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Templates: names with blanks between them, or nothing.
    pub pull: Vec<String>,
    /// Condition: those that Kubernetes manifests of any node name are on the card, too.
    pub of_manifests: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Units {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub mask: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cmdline {
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigTxt {
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Remove {
    pub paths: Vec<String>,
}

impl Role {
    /// Reads a role from the entries of its folder.
    pub fn read(name: &str, label: &str, entries: &BTreeMap<String, Entry>) -> Result<Self> {
        let place = format!("{label}/role.toml");
        let Some(Entry::Bytes(bytes)) = entries.get(MANIFEST) else {
            return Err(
                Error::usage(format!("{place} is missing: a role is described there"))
                    .with_hint("docs/roles.md shows how to write one"),
            );
        };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::usage(format!("{place}: not UTF-8 text")))?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |s| text[..s.start].matches('\n').count() + 1);
            Error::usage(format!("{place}:{line}: {}", error.message()))
        })?;
        let role = Self {
            name: name.to_owned(),
            label: label.to_owned(),
            manifest,
            files: overlay_files(label, entries)?,
            built_in_words: Vec::new(),
        };
        role.check(&place)?;
        Ok(role)
    }

    fn check(&self, place: &str) -> Result<()> {
        let m = &self.manifest;
        let usage = |what: String| Error::usage(format!("{place}: {what}"));
        let paths = m
            .modes
            .keys()
            .chain(m.owners.keys())
            .chain(m.directories.keys())
            .chain(m.links.keys())
            .chain(&m.remove.paths);
        for path in paths {
            let clean = clean_path(path).map_err(&usage)?;
            if clean != *path {
                return Err(usage(format!("`{path}` is written `{clean}`")));
            }
        }
        self.check_options(place)?;
        self.check_conditions(place)?;
        self.check_own_paths(place)?;
        self.check_rules(place)?;
        self.check_manifests(place)?;
        for (name, secret) in &m.secrets {
            let rules = secret.check_rules(&m.secrets);
            rules.map_err(|why| usage(format!("secret {name}: {why}")))?;
        }
        for (path, mode) in m.modes.iter().chain(&m.directories) {
            parse_mode(mode).map_err(|why| usage(format!("mode of {path}: {why}")))?;
        }
        for (path, owner) in &m.owners {
            if !is_template(owner) {
                parse_owner(owner).map_err(|why| usage(format!("owner of {path}: {why}")))?;
            }
        }
        for payload in &self.payloads() {
            let what = format!("payload {}", payload.name);
            parse_mode(&payload.mode).map_err(|why| usage(format!("{what}: {why}")))?;
            if payload.url.is_none() && payload.file.is_none() {
                return Err(usage(format!("{what} has neither `url` nor `file`")));
            }
            for member in &payload.members {
                member
                    .check()
                    .map_err(|why| usage(format!("{what}: {why}")))?;
            }
        }
        for (name, account) in &m.accounts {
            let rules = account.check();
            rules.map_err(|why| usage(format!("account {name}: {why}")))?;
        }
        Ok(())
    }

    /// Patterns must be regular expressions, and defaults must be values that a profile could have.
    fn check_options(&self, place: &str) -> Result<()> {
        let mut problems = Problems::new();
        for (name, spec) in &self.manifest.options {
            let field = match spec.field(name) {
                Ok(field) => field,
                Err(why) => {
                    problems.push(Problem::new(place, format!("option `{name}`: {why}")));
                    continue;
                }
            };
            if let Some(value) = field.default.clone() {
                let origin = Origin::named(format!("{place}: default"));
                field.check(&self.name, &Item { value, origin }, &mut problems);
            }
        }
        problems.report()
    }

    /// Files that imgbuild itself edits, and units, are not laid over as a whole.
    fn check_own_paths(&self, place: &str) -> Result<()> {
        let mut problems = Problems::new();
        for file in &self.files {
            let taken = match file.part {
                Part::Boot => EDITED_BOOT_FILES.contains(&file.path.to_lowercase().as_str()),
                Part::Root => EDITED_ROOT_FILES.contains(&file.path.as_str()),
            };
            if taken {
                let what = format!(
                    "{} of the {} partition is edited by imgbuild, and a role cannot replace it",
                    file.path,
                    file.part.name()
                );
                problems.push(Problem::new(&file.source, what));
            }
        }
        for path in &self.manifest.remove.paths {
            if EDITED_ROOT_FILES.contains(&path.as_str()) {
                let what = format!("[remove]: no node works without {path}");
                problems.push(Problem::new(place, what));
            }
        }
        problems.report()
    }

    /// Rules must be about something that there is, and payloads must be verifiable.
    fn check_rules(&self, place: &str) -> Result<()> {
        let m = &self.manifest;
        let mut problems = Problems::new();
        let options: Vec<&str> = m.options.keys().map(String::as_str).collect();
        for key in m.check.iter().filter_map(|rule| rule.key.as_deref()) {
            if !key.contains(['.', '{']) && !options.contains(&key) {
                let what = format!("[[check]]: `key` is `{key}`, and the role has no such option");
                let hint = did_you_mean(key, &options);
                problems.push(Problem::new(place, what).with_maybe_hint(hint));
            }
        }
        for payload in &self.payloads() {
            if let Some(what) = payload.fault() {
                let what = format!("payload {} {what}", payload.name);
                problems.push(Problem::new(place, what));
            }
        }
        let units = &m.units;
        for unit in units.enable.iter().filter(|unit| units.mask.contains(unit)) {
            problems.push(Problem::new(
                place,
                format!("[units]: {unit} is enabled and masked"),
            ));
        }
        problems.report()
    }

    /// What is fetched for it, manifests included.
    fn payloads(&self) -> Vec<Payload> {
        let manifests = self.manifest.manifest.iter().map(ManifestSpec::payload);
        let payloads = self.manifest.payload.iter().cloned();
        payloads.chain(manifests).collect()
    }

    /// A change of a manifest must be one.
    fn check_manifests(&self, place: &str) -> Result<()> {
        let mut problems = Problems::new();
        for manifest in &self.manifest.manifest {
            for (index, edit) in manifest.edit.iter().enumerate() {
                let what = if !edit.is_change() {
                    "says nothing to change"
                } else if edit.container.is_some() && !edit.changes_containers() {
                    "has a `container`, and nothing to change of it"
                } else {
                    continue;
                };
                let what = format!("manifest {}: edit {} {what}", manifest.name, index + 1);
                problems.push(Problem::new(place, what));
            }
        }
        problems.report()
    }

    /// A condition must be that of something: of a file, a folder, a link, a unit or a payload.
    fn check_conditions(&self, place: &str) -> Result<()> {
        let m = &self.manifest;
        let units = [&m.units.enable, &m.units.disable, &m.units.mask];
        let names: Vec<&str> = self
            .files
            .iter()
            .map(|file| file.path.as_str())
            .chain(m.directories.keys().map(String::as_str))
            .chain(m.links.keys().map(String::as_str))
            .chain(m.modes.keys().map(String::as_str))
            .chain(m.remove.paths.iter().map(String::as_str))
            .chain(units.into_iter().flatten().map(String::as_str))
            .collect();
        let mut problems = Problems::new();
        for path in m.when.keys().filter(|path| !names.contains(&path.as_str())) {
            let what = format!("[when]: the role has no file, folder, link or unit `{path}`");
            let hint = did_you_mean(path, &names);
            problems.push(Problem::new(place, what).with_maybe_hint(hint));
        }
        for path in m.links.keys().filter(|path| m.modes.contains_key(*path)) {
            let what = format!("[modes]: `{path}` is a link, which has no mode of its own");
            problems.push(Problem::new(place, what));
        }
        problems.report()
    }

    /// What it adds to cmdline.txt and config.txt, as its role.toml has it.
    pub(super) fn boot_words(&self) -> Vec<String> {
        let (words, lines) = (&self.manifest.cmdline.add, &self.manifest.config_txt.lines);
        words.iter().chain(lines).cloned().collect()
    }

    /// The role's options as a table of the profile schema.
    pub fn option_table(&self) -> Table {
        let options = self.manifest.options.iter();
        Table {
            name: self.name.clone(),
            help: self.manifest.description.clone(),
            // `check_options` has seen that each can be one.
            fields: options
                .filter_map(|(name, spec)| spec.field(name).ok())
                .collect(),
        }
    }
}

impl OptionSpec {
    fn field(&self, name: &str) -> std::result::Result<Field, String> {
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err("`min` is greater than `max`".into());
        }
        if (self.min.is_some() || self.max.is_some()) && self.kind != Kind::Integer {
            return Err("`min` and `max` are for integers".into());
        }
        if self.of.is_some() && self.kind != Kind::List {
            return Err("`of` is the kind of a list's items, and this is no list".into());
        }
        let meaning = self.pattern_help.as_deref().unwrap_or(&self.help);
        let pattern = self.pattern.as_deref();
        Ok(Field {
            of: self.of,
            default: self.default.as_ref().map(from_toml),
            required: matches!(self.required, Required::Always(true)),
            may_be_empty: self.may_be_empty,
            bounds: (self.min, self.max),
            choices: self.choices.clone(),
            pattern: pattern.map(|p| Pattern::new(p, meaning)).transpose()?,
            when: self.when.clone(),
            ..Field::new(name, self.kind, &self.help)
        })
    }
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(n) => Value::Integer(*n),
        toml::Value::Boolean(b) => Value::Bool(*b),
        toml::Value::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Item {
                    value: from_toml(item),
                    origin: Origin::named("default"),
                })
                .collect(),
        ),
        _ => Value::Other("value of a kind that options cannot have"),
    }
}

/// Parses a numeric `uid:gid`.
pub fn parse_owner(text: &str) -> std::result::Result<(u32, u32), String> {
    text.split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .ok_or_else(|| format!("`{text}` is not numeric uid:gid like 0:0"))
}
