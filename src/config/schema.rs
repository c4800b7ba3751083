//! What keys a profile may have: data, so that checking, defaults and documentation come from one
//! place. The kinds of values are in `kind`, the core's keys in `core_keys`.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::core_keys;
use super::kind::Kind;
use super::value::{Item, Origin, Value};
use crate::error::{Error, Result};
use crate::problem::{Problem, Problems, nearest, quoted};
use crate::secrets::check_reference;

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    /// Kind of each item, where the key is a list.
    pub of: Option<Kind>,
    pub default: Option<Value>,
    /// A profile with the role that brings this option must set it.
    pub required: bool,
    /// An empty string is a value of its own, although there is a default.
    pub may_be_empty: bool,
    /// Least and greatest of a number.
    pub bounds: (Option<i64>, Option<i64>),
    /// When not empty, the only values allowed, or the only items of a list.
    pub choices: Vec<String>,
    /// What the whole value matches, or each value of a list.
    pub pattern: Option<Pattern>,
    /// Condition (an expression) without which setting the key has no effect.
    pub when: Option<String>,
    pub help: String,
}

/// A regular expression and what it means.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// In words, behind "is not": `a name of letters and digits`.
    meaning: String,
}

impl Pattern {
    /// `text` as something that only whole values match; `meaning` says it in words.
    pub fn new(text: &str, meaning: &str) -> std::result::Result<Self, String> {
        Ok(Self {
            regex: full_match(text)?,
            meaning: meaning.to_owned(),
        })
    }
}

/// `pattern` as something that only whole texts match.
pub fn full_match(pattern: &str) -> std::result::Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|error| format!("`pattern` {pattern} is not a regular expression: {error}"))
}

/// A table of a profile and the keys it may have.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub help: String,
    pub fields: Vec<Field>,
}

/// All tables. The table named `""` holds the keys that stand at the top of a profile.
#[derive(Debug, Clone)]
pub struct Schema {
    tables: BTreeMap<String, Table>,
    /// Names that `[secrets]` may define, with what they are for.
    secrets: BTreeMap<String, String>,
}

impl Schema {
    /// The keys that do not belong to a role.
    pub fn core() -> Self {
        let secrets = core_keys::SECRETS
            .iter()
            .map(|(name, help)| ((*name).to_owned(), (*help).to_owned()));
        Self {
            tables: core_keys::tables().map(|t| (t.name.clone(), t)).collect(),
            secrets: secrets.collect(),
        }
    }

    /// Adds a role's options. A role cannot be called like a table that is there already.
    pub fn add_table(&mut self, table: Table) -> Result<()> {
        if table.name == "secrets" || self.tables.contains_key(&table.name) {
            return Err(Error::usage(format!(
                "a role cannot be called `{}`: profiles have a table of that name already",
                table.name
            )));
        }
        self.tables.insert(table.name.clone(), table);
        Ok(())
    }

    /// Lets `[secrets]` define `name`.
    pub fn add_secret(&mut self, name: &str, help: &str) {
        self.secrets
            .entry(name.to_owned())
            .or_insert_with(|| help.to_owned());
    }

    /// All tables, the top of a profile first.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// The secrets that profiles can define, and what they are for.
    pub fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// Checks every key of a merged profile and fills in defaults. All problems are reported.
    pub fn apply(&self, profile: &mut BTreeMap<String, Item>) -> Result<()> {
        let mut problems = Problems::new();
        self.check_keys(profile, &mut problems);
        for table in self.tables.values() {
            self.apply_table(table, profile, &mut problems);
        }
        problems.report()
    }

    fn check_keys(&self, profile: &BTreeMap<String, Item>, problems: &mut Problems) {
        let top = self.tables.get("").map_or(&[][..], |t| &t.fields);
        let names: Vec<&str> = top
            .iter()
            .map(|f| f.name.as_str())
            .chain(self.tables.keys().map(String::as_str))
            .chain(["secrets"])
            .filter(|n| !n.is_empty())
            .collect();
        for (key, item) in profile {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, "", &names));
            }
        }
        if let Some(item) = profile.get("secrets") {
            self.check_secrets(item, problems);
        }
    }

    fn check_secrets(&self, item: &Item, problems: &mut Problems) {
        let Value::Table(table) = &item.value else {
            problems.push(Problem::new(&item.origin, "`secrets` must be a table"));
            return;
        };
        let names: Vec<&str> = self.secrets.keys().map(String::as_str).collect();
        for (key, item) in table {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, "secrets", &names));
            } else if let Some(text) = item.value.as_text() {
                // Empty takes back what is inherited.
                if let Some(refusal) = check_reference(text).err().filter(|_| !text.is_empty()) {
                    problems.push(refusal.problem(&item.origin, &dotted("secrets", key)));
                }
            } else {
                let what = format!(
                    "`secrets.{key}` must be a string that says where the secret is, like `env:NAME`, `file:PATH` or `cmd:COMMAND`"
                );
                problems.push(Problem::new(&item.origin, what));
            }
        }
    }

    fn apply_table(
        &self,
        table: &Table,
        profile: &mut BTreeMap<String, Item>,
        problems: &mut Problems,
    ) {
        if table.name.is_empty() {
            apply_fields(table, profile, problems);
            return;
        }
        let item = profile.entry(table.name.clone()).or_insert_with(|| Item {
            value: Value::Table(BTreeMap::new()),
            origin: Origin::default_value(),
        });
        let Value::Table(values) = &mut item.value else {
            let what = format!("`{}` must be a table", table.name);
            problems.push(Problem::new(&item.origin, what));
            return;
        };
        let names: Vec<&str> = table.fields.iter().map(|f| f.name.as_str()).collect();
        for (key, item) in values.iter() {
            if !names.contains(&key.as_str()) {
                problems.push(unknown_key(&item.origin, key, &table.name, &names));
            }
        }
        apply_fields(table, values, problems);
    }
}

fn apply_fields(table: &Table, values: &mut BTreeMap<String, Item>, problems: &mut Problems) {
    for field in &table.fields {
        match (values.get(&field.name), &field.default) {
            (Some(item), _) => field.check(&table.name, item, problems),
            (None, Some(default)) => {
                let item = Item {
                    value: default.clone(),
                    origin: Origin::default_value(),
                };
                values.insert(field.name.clone(), item);
            }
            (None, None) => {}
        }
    }
}

impl Field {
    /// A key of a kind, without default, bounds or choices.
    pub fn new(name: impl Into<String>, kind: Kind, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            of: None,
            default: None,
            required: false,
            may_be_empty: false,
            bounds: (None, None),
            choices: Vec::new(),
            pattern: None,
            when: None,
            help: help.into(),
        }
    }

    /// Finds what is wrong with the value of the key in `table`.
    pub fn check(&self, table: &str, item: &Item, problems: &mut Problems) {
        let key = dotted(table, &self.name);
        let items = match (self.kind, &item.value) {
            (Kind::List, Value::List(items)) => items.as_slice(),
            (Kind::List, value) => {
                let what = format!("`{key}` must be a list, not {}", value.type_name());
                problems.push(Problem::new(&item.origin, what));
                return;
            }
            _ if self.takes_back(&item.value) => return,
            _ => std::slice::from_ref(item),
        };
        for item in items {
            if let Err(why) = self.check_one(&item.value) {
                let why = shorten(why, item.value.as_text());
                let what = match why.starts_with("must be") || why.starts_with("is not") {
                    true => format!("`{key}` {why}"),
                    false => format!("`{key}`: {why}"),
                };
                problems.push(Problem::new(&item.origin, what));
            }
        }
    }

    /// An empty string takes back what is inherited, where a key may be without a value.
    fn takes_back(&self, value: &Value) -> bool {
        let optional = self.may_be_empty
            || match &self.default {
                None => true,
                Some(default) => default.as_text() == Some(""),
            };
        optional && value.as_text() == Some("")
    }

    fn check_one(&self, value: &Value) -> std::result::Result<(), String> {
        let kind = self.of.unwrap_or(match self.kind {
            Kind::List => Kind::String,
            kind => kind,
        });
        // Never shown, and judged where it is read.
        let text = value.as_text().filter(|_| kind != Kind::SshKey);
        if text == Some("") {
            return Err("must not be empty".into());
        }
        self.check_bounds(value)?;
        kind.check(value)?;
        let Some(text) = text else { return Ok(()) };
        if !self.choices.is_empty() && !self.choices.iter().any(|c| c == text) {
            let names: Vec<&str> = self.choices.iter().map(String::as_str).collect();
            let near =
                nearest(text, &names).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            return Err(format!(
                "`{text}` is not one of {}{near}",
                quoted(&self.choices)
            ));
        }
        match &self.pattern {
            Some(pattern) if !pattern.regex.is_match(text) => {
                // A URL can have a password in it.
                let shown = if text.contains("://") && text.contains('@') {
                    "the value (not shown: it may hold a password)".to_owned()
                } else {
                    format!("`{text}`")
                };
                Err(format!("{shown} is not {}", pattern.meaning))
            }
            _ => Ok(()),
        }
    }

    fn check_bounds(&self, value: &Value) -> std::result::Result<(), String> {
        let Value::Integer(n) = value else {
            return Ok(());
        };
        let (least, most) = self.bounds;
        match (least, most) {
            (Some(least), Some(most)) if !(least..=most).contains(n) => {
                Err(format!("{n} is not between {least} and {most}"))
            }
            (Some(least), None) if *n < least => Err(format!("{n} is less than {least}")),
            (None, Some(most)) if *n > most => Err(format!("{n} is more than {most}")),
            _ => Ok(()),
        }
    }
}

/// A value longer than this is something pasted by mistake, perhaps a key.
const LONGEST_SHOWN: usize = 64;

/// `why` without a long value in it.
fn shorten(why: String, value: Option<&str>) -> String {
    match value {
        Some(value) if value.len() > LONGEST_SHOWN => {
            why.replace(value, &format!("… ({} characters)", value.chars().count()))
        }
        _ => why,
    }
}

/// The problem of a key that does not exist, with the nearest that does.
fn unknown_key(origin: &Origin, key: &str, table: &str, names: &[&str]) -> Problem {
    let hint = nearest(key, names).map(|n| format!("did you mean `{}`?", dotted(table, n)));
    Problem::new(origin, format!("unknown key `{}`", dotted(table, key))).with_maybe_hint(hint)
}

/// `table.key`, or `key` at the top.
pub fn dotted(table: &str, key: &str) -> String {
    match table {
        "" => key.to_owned(),
        table => format!("{table}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::parse_document;

    fn apply(text: &str) -> Result<BTreeMap<String, Item>> {
        let mut doc = parse_document(text, &"p.toml".into())?;
        Schema::core().apply(&mut doc)?;
        Ok(doc)
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let error = apply("[network]\ngatway = \"10.0.0.1\"\n").unwrap_err();
        assert_eq!(error.to_string(), "p.toml:2: unknown key `network.gatway`");
        assert_eq!(error.hint(), Some("did you mean `network.gateway`?"));
    }

    #[test]
    fn wrong_kinds_say_what_is_wanted() {
        for (text, why) in [
            ("roles = \"k3s\"", "must be a list"),
            ("address = \"10.0.0.256\"", "not an IPv4"),
            ("hostname = \"localhost\"", "reserved"),
            ("hostname = \"Big_Host\"", "not a host name"),
            ("[user]\nname = \"root\"", "system account"),
            ("[ssh]\nenabled = \"yes\"", "true or false"),
            (
                "firstboot = \"never\"",
                "not one of `auto`, `cloud-init`, `offline`",
            ),
            ("[disk]\ntable = \"mbr\"", "not one of `keep`, `gpt`"),
            ("[secrets]\npassword_hash = 5", "env:NAME"),
            ("user = 5", "must be a table"),
        ] {
            let error = apply(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let error = apply("hostnme = \"a\"\n[ssh]\nenabled = 1\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("2 problems") && text.contains("did you mean `hostname`?"),
            "{text}"
        );
    }
}
