//! The text of `secrets.toml`: `version = 1`, and tables whose values are all strings.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::mask::Mask;
use super::secret::Secret;
use crate::error::{Error, Result};

/// The version of the file that is written, and the only one that is read.
const VERSION: i64 = 1;

const HEAD: &str = "\
# Made by imgbuild: keys that must stay the same for as long as the cluster lives.
#
# Whoever has this file administers the cluster: keep it out of git, with mode 0600.
# Keep a copy in a safe place. Without it, new images do not fit the nodes that run, and all
# nodes must be flashed again. docs/secrets.md says more.

";

/// Values that anybody may see.
const PUBLIC: &[&str] = &["certificate", "domain"];

/// Shorter lines of a value of several lines tell nothing, and are part of other texts.
const SHORTEST_LINE: usize = 16;

/// One table: names and values. Values of several lines have no line end at their end.
pub type Table = BTreeMap<String, Secret>;

/// All tables of a secrets file.
#[derive(Clone, Default)]
pub struct Tables(BTreeMap<String, Table>);

impl Tables {
    /// Reads `text`; `place` names the file in errors, which quote none of it.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let damaged = |what: String| {
            Error::usage(what).with_hint(
                "restore the file from your copy; do not remove it: new keys would not fit the cluster that runs",
            )
        };
        // Syntax only: messages about types would quote the value.
        let found: toml::Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            damaged(format!("{place}:{line}: this is not TOML"))
        })?;
        match found.get("version").and_then(toml::Value::as_integer) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => {
                return Err(Error::usage(format!(
                    "{place} is of version {version}, and this imgbuild knows version {VERSION}"
                ))
                .with_hint("update imgbuild"));
            }
            _ => return Err(damaged(format!("{place}: `version` is not {VERSION}"))),
        }
        let mut tables = Self::default();
        for (name, value) in found.into_iter().filter(|(name, _)| name != "version") {
            let toml::Value::Table(values) = value else {
                return Err(damaged(format!("{place}: `{name}` is not a table")));
            };
            let table = tables.0.entry(name.clone()).or_default();
            for (key, value) in values {
                let toml::Value::String(text) = value else {
                    return Err(damaged(format!("{place}: `{name}.{key}` is not a string")));
                };
                let text = Zeroizing::new(text);
                let value = Secret::new(text.trim_end_matches('\n').to_owned());
                table.insert(key, value);
            }
        }
        Ok(tables)
    }

    /// The file as text.
    pub fn render(&self) -> Zeroizing<String> {
        let lengths = self.0.values().flat_map(|table| table.values());
        let length: usize = lengths.map(|value| value.expose().len() + 128).sum();
        // It never moves, so all of it is wiped.
        let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 1024 + 2 * length));
        text.push_str(HEAD);
        text.push_str(&format!("version = {VERSION}\n"));
        for (name, table) in &self.0 {
            text.push_str(&format!("\n[{name}]\n"));
            for (key, value) in table {
                text.push_str(key);
                text.push_str(" = ");
                push_value(&mut text, value.expose());
                text.push('\n');
            }
        }
        text
    }

    /// A table, if there is one of this name.
    pub fn get(&self, name: &str) -> Option<&Table> {
        self.0.get(name)
    }

    /// A value, if it is there.
    pub fn value(&self, table: &str, key: &str) -> Option<&Secret> {
        self.get(table)?.get(key)
    }

    /// Adds a table, in the place of one of the same name.
    pub fn insert(&mut self, name: &str, table: Table) {
        self.0.insert(name.to_owned(), table);
    }

    /// Hides all values that are secret.
    pub(super) fn hide(&self, mask: &Mask) {
        for (key, value) in self.0.values().flatten() {
            if PUBLIC.contains(&key.as_str()) {
                continue;
            }
            mask.add(value);
            // A message is more likely to quote a line.
            let lines = value
                .expose()
                .lines()
                .filter(|_| value.expose().contains('\n'));
            for line in lines {
                if line.len() >= SHORTEST_LINE && !line.starts_with("-----") {
                    mask.add(&Secret::new(line.to_owned()));
                }
            }
        }
    }
}

/// Keys are easier to read, and to copy, with their lines as lines.
fn push_value(text: &mut String, value: &str) {
    let plain = |c: char| c == '\n' || !c.is_control() && c != '\'';
    if value.contains('\n') && value.chars().all(plain) {
        text.push_str("'''\n");
        text.push_str(value);
        text.push_str("'''");
    } else {
        let quoted = Zeroizing::new(toml::Value::String(value.to_owned()).to_string());
        text.push_str(&quoted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(values: &[(&str, &str, &str)]) -> Tables {
        let mut tables = Tables::default();
        for (table, key, value) in values {
            let entry = tables.0.entry((*table).to_owned()).or_default();
            entry.insert((*key).to_owned(), Secret::new((*value).to_owned()));
        }
        tables
    }

    #[test]
    fn what_is_written_is_read() {
        let values = [
            ("a-b", "key", "-----BEGIN X-----\nabc\n-----END X-----"),
            ("a-b", "odd", "a \"quoted\" 'one'\nand '''more''' \\ \t"),
            ("c", "domain", "home.lab"),
        ];
        let text = tables(&values).render();
        let read = Tables::parse(&text, "x").unwrap();
        for (table, key, value) in values {
            assert_eq!(read.value(table, key).unwrap().expose(), value);
        }
        assert_eq!(read.render().as_str(), text.as_str());
        assert!(text.contains("[a-b]\nkey = '''\n-----BEGIN X-----\nabc\n-----END X-----'''\n"));
    }

    #[test]
    fn what_is_no_secrets_file_is_refused_without_quoting_it() {
        for (text, why) in [
            ("version = 1\n[a]\nkey = hunter22", "x:3: this is not TOML"),
            ("version = 2", "is of version 2"),
            ("version = \"hunter22\"", "`version` is not 1"),
            ("", "`version` is not 1"),
            ("version = 1\na = \"hunter22\"", "`a` is not a table"),
            (
                "version = 1\n[a]\nb = [\"hunter22\"]",
                "`a.b` is not a string",
            ),
        ] {
            let Err(error) = Tables::parse(text, "x") else {
                panic!("{text}")
            };
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
    }

    #[test]
    fn keys_are_hidden_line_by_line_and_certificates_are_not() {
        let mask = Mask::default();
        let line = "MHcCAQEEIHunter22";
        let pem = format!("-----BEGIN X-----\n{line}\n-----END X-----");
        tables(&[("a", "key", &pem), ("b", "certificate", "MIIBpublic22")]).hide(&mask);
        let text = format!("{line} MIIBpublic22 -----BEGIN X-----");
        assert_eq!(mask.apply(&text), "‹secret› MIIBpublic22 -----BEGIN X-----");
    }
}
