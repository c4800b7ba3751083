//! `role.toml`: what a role is.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::files::{Entry, MANIFEST, OverlayFile, clean_path, overlay_files};
use crate::config::{Field, Item, Kind, Origin, Table, Value, full_match};
use crate::error::{Error, Result};

/// A role: its `role.toml` and its files.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    /// Where it lies, for messages.
    pub label: String,
    pub manifest: Manifest,
    pub files: Vec<OverlayFile>,
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
    #[serde(default)]
    pub payload: Vec<Payload>,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    #[serde(rename = "type")]
    pub kind: OptionKind,
    pub default: Option<toml::Value>,
    #[serde(default)]
    pub required: Required,
    #[serde(default)]
    pub choices: Vec<String>,
    pub pattern: Option<String>,
    pub help: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    String,
    Bool,
    Integer,
    List,
}

/// A secret that a role asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    #[serde(default)]
    pub required: Required,
    /// When not empty, the value begins with one of them.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Condition under which `prefixes` hold.
    pub prefixes_when: Option<String>,
    /// Characters that the value has at least.
    #[serde(default)]
    pub min_length: usize,
    /// Template: the last day it can be used, `YYYY-MM-DD`, or nothing.
    pub expires: Option<String>,
    pub help: String,
}

/// Whether something must be there: always, never, or on a condition.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Required {
    Always(bool),
    When(String),
}

impl Default for Required {
    fn default() -> Self {
        Self::Always(false)
    }
}

/// A file fetched at build time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    pub name: String,
    pub when: Option<String>,
    pub url: Option<String>,
    pub file: Option<String>,
    pub sums: Option<String>,
    pub sha256: Option<String>,
    pub member: Option<String>,
    #[serde(default)]
    pub unpack: bool,
    #[serde(default)]
    pub strip: usize,
    pub path: String,
    #[serde(default = "default_mode")]
    pub mode: String,
    pub elf: Option<String>,
}

fn default_mode() -> String {
    "0644".to_owned()
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
        for (name, option) in &m.options {
            if let Some(pattern) = &option.pattern {
                full_match(pattern).map_err(|why| usage(format!("option {name}: {why}")))?;
            }
        }
        for (path, mode) in m.modes.iter().chain(&m.directories) {
            parse_mode(mode).map_err(|why| usage(format!("mode of {path}: {why}")))?;
        }
        for (path, owner) in &m.owners {
            parse_owner(owner).map_err(|why| usage(format!("owner of {path}: {why}")))?;
        }
        for payload in &m.payload {
            let what = format!("payload {}", payload.name);
            parse_mode(&payload.mode).map_err(|why| usage(format!("{what}: {why}")))?;
            if payload.url.is_none() && payload.file.is_none() {
                return Err(usage(format!("{what} has neither `url` nor `file`")));
            }
        }
        Ok(())
    }

    /// The role's options as a table of the profile schema.
    pub fn option_table(&self) -> Table {
        let fields = self.manifest.options.iter().map(|(name, spec)| Field {
            name: name.clone(),
            kind: match spec.kind {
                OptionKind::String => Kind::Text,
                OptionKind::Bool => Kind::Bool,
                OptionKind::Integer => Kind::Integer,
                OptionKind::List => Kind::List,
            },
            default: spec.default.as_ref().map(from_toml),
            required: matches!(spec.required, Required::Always(true)),
            choices: spec.choices.clone(),
            pattern: spec.pattern.clone(),
            help: spec.help.clone(),
        });
        Table {
            name: self.name.clone(),
            help: self.manifest.description.clone(),
            fields: fields.collect(),
        }
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
        _ => Value::Other("value of a kind that options can not have"),
    }
}

/// Parses octal permission bits like `0755` or `4755`.
pub fn parse_mode(text: &str) -> std::result::Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("`{text}` is not a mode like 0644"))
}

/// Parses a numeric `uid:gid`.
pub fn parse_owner(text: &str) -> std::result::Result<(u32, u32), String> {
    text.split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .ok_or_else(|| format!("`{text}` is not numeric uid:gid like 0:0"))
}
