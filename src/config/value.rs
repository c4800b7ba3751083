//! TOML values that remember where they were written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};

/// What the origin of a default is called.
const DEFAULT: &str = "default";

/// Where a value was written: a line of a file, or a `--set` of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    source: Arc<str>,
    line: Option<usize>,
}

impl Origin {
    /// Line `line` (from 1) of `file`.
    pub fn file(file: Arc<str>, line: usize) -> Self {
        Self {
            source: file,
            line: Some(line),
        }
    }

    /// Whether both were written in the same file.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.line.is_some() && self.source == other.source
    }

    /// Whether nobody wrote it.
    pub fn is_default(&self) -> bool {
        self.line.is_none() && &*self.source == DEFAULT
    }

    /// The origin of a value that nobody wrote.
    pub fn default_value() -> Self {
        Self::named(DEFAULT)
    }

    /// A place without lines: a default, or an option of the command line.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            source: name.into(),
            line: None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Item {
    pub value: Value,
    pub origin: Origin,
}

/// The kinds of value a profile can hold.
#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Item>),
    Table(BTreeMap<String, Item>),
    /// A float or date: nothing in a profile is one, the name is for the message.
    Other(&'static str),
}

impl Value {
    /// The TOML name of this value's type with its article, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The strings of a list of strings; empty for anything else.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items
                .iter()
                .filter_map(|i| i.value.as_text().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The items of a list; empty for anything else.
    pub fn as_list(&self) -> &[Item] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub fn as_table(&self) -> Option<&BTreeMap<String, Item>> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// Parses a TOML document; `name` is how messages call it.
pub fn parse_document(text: &str, name: &Arc<str>) -> Result<BTreeMap<String, Item>> {
    let table = DeTable::parse(text).map_err(|error| syntax_error(&error, text, name))?;
    let lines = Lines { text, name };
    Ok(lines.table(table.get_ref()))
}

/// Parses what stands behind `--set key=`: a TOML value, or else a plain string.
pub fn parse_override(text: &str, origin: &Origin) -> Value {
    let name: Arc<str> = Arc::from("");
    let document = format!("v = {text}\n");
    let parsed = DeTable::parse(&document).ok().map(|table| {
        let lines = Lines {
            text: &document,
            name: &name,
        };
        lines.table(table.get_ref())
    });
    match parsed.and_then(|mut table| table.remove("v")) {
        Some(item) => relocate(item.value, origin),
        None => Value::Text(text.to_owned()),
    }
}

fn relocate(value: Value, origin: &Origin) -> Value {
    let item = |item: Item| Item {
        value: relocate(item.value, origin),
        origin: origin.clone(),
    };
    match value {
        Value::List(items) => Value::List(items.into_iter().map(item).collect()),
        Value::Table(table) => Value::Table(table.into_iter().map(|(k, v)| (k, item(v))).collect()),
        other => other,
    }
}

fn syntax_error(error: &toml::de::Error, text: &str, name: &Arc<str>) -> Error {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    Error::usage(format!(
        "{name}:{line}: not valid TOML: {}",
        error.message()
    ))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&b| b == b'\n')
        .count()
        + 1
}

struct Lines<'a> {
    text: &'a str,
    name: &'a Arc<str>,
}

impl Lines<'_> {
    fn table(&self, table: &DeTable<'_>) -> BTreeMap<String, Item> {
        table
            .iter()
            .map(|(key, value)| {
                let item = Item {
                    value: self.value(value.get_ref()),
                    origin: self.origin(key.span().start),
                };
                (key.get_ref().to_string(), item)
            })
            .collect()
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(n) => i64::from_str_radix(&n.as_str().replace('_', ""), n.radix())
                .map_or(Value::Other("an integer beyond 64 bits"), Value::Integer),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Item {
                        value: self.value(item.get_ref()),
                        origin: self.origin(item.span().start),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::file(self.name.clone(), line_of(self.text, offset))
    }
}

/// Lays `over` on `under`: tables are merged key by key, everything else is replaced.
pub fn merge(under: &mut BTreeMap<String, Item>, over: BTreeMap<String, Item>) {
    for (key, item) in over {
        match (under.get_mut(&key), item) {
            (
                Some(Item {
                    value: Value::Table(below),
                    ..
                }),
                Item {
                    value: Value::Table(above),
                    ..
                },
            ) => merge(below, above),
            (_, item) => {
                under.insert(key, item);
            }
        }
    }
}

/// Sets `path` (`table.key`, dots between) in `tree`, making tables on the way.
pub fn set(tree: &mut BTreeMap<String, Item>, path: &[&str], item: Item) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        tree.insert((*first).to_owned(), item);
        return;
    }
    let entry = tree.entry((*first).to_owned()).or_insert_with(|| Item {
        value: Value::Table(BTreeMap::new()),
        origin: item.origin.clone(),
    });
    // What is no table becomes one: the schema then says that it can not be.
    if entry.value.as_table().is_none() {
        *entry = Item {
            value: Value::Table(BTreeMap::new()),
            origin: item.origin.clone(),
        };
    }
    if let Value::Table(table) = &mut entry.value {
        set(table, rest, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_name_the_line_of_the_key() {
        let doc = parse_document("a = 1\n\n[t]\nb = [\"x\",\n \"y\"]\n", &"p.toml".into()).unwrap();
        assert_eq!(doc["a"].origin.to_string(), "p.toml:1");
        let Value::Table(t) = &doc["t"].value else {
            panic!()
        };
        assert_eq!(t["b"].origin.to_string(), "p.toml:4");
        assert_eq!(t["b"].value.texts(), ["x", "y"]);
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let error = parse_document("a = 1\nb = = 2\n", &"p.toml".into()).unwrap_err();
        assert!(
            error.to_string().starts_with("p.toml:2: not valid TOML"),
            "{error}"
        );
    }

    #[test]
    fn merging_replaces_lists_and_merges_tables() {
        let mut under = parse_document("[t]\na = 1\nb = [1]\n", &"u".into()).unwrap();
        merge(
            &mut under,
            parse_document("[t]\nb = [2, 3]\n", &"o".into()).unwrap(),
        );
        let Value::Table(t) = &under["t"].value else {
            panic!()
        };
        assert_eq!(t["a"].origin.to_string(), "u:2");
        assert!(matches!(&t["b"].value, Value::List(l) if l.len() == 2));
    }

    #[test]
    fn overrides_are_toml_or_plain_text() {
        let origin = Origin::named("--set");
        assert!(matches!(parse_override("true", &origin), Value::Bool(true)));
        assert!(matches!(parse_override("v1.2+k3s", &origin), Value::Text(t) if t == "v1.2+k3s"));
        assert_eq!(parse_override("[\"a\"]", &origin).texts(), ["a"]);
        assert!(matches!(parse_override("", &origin), Value::Text(t) if t.is_empty()));
    }
}
