//! What keys a profile may have: data, so that checking, defaults and documentation come from one
//! place. The kinds of values are in `kind`, the core's keys in `core_keys`.

use std::collections::BTreeMap;

use super::core_keys;
use super::field::{Table, dotted};
use super::value::{Item, Origin, Value};
use crate::error::{Error, Result};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::check_reference;
use crate::suggest::{meant, nearest};

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

/// The problem of a key that does not exist, with the nearest that does.
fn unknown_key(origin: &Origin, key: &str, table: &str, names: &[&str]) -> Problem {
    let hint = nearest(key, names).map(|near| meant(dotted(table, near)));
    Problem::new(origin, format!("unknown key `{}`", dotted(table, key))).with_maybe_hint(hint)
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
