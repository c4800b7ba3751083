//! TOML values that remember where they were written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::error::Result;
use crate::problem::Problem;
use crate::problems::Problems;

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

/// Parses a TOML document; `name` is how messages call it. All its syntax errors are reported.
pub fn parse_document(text: &str, name: &Arc<str>) -> Result<BTreeMap<String, Item>> {
    // Windows' editors begin a file with it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::new(text, name);
    let (table, errors) = DeTable::parse_recoverable(text);
    lines.report(&errors)?;
    Ok(lines.table(table.get_ref()))
}

/// Parses what stands behind `--set key=`: a TOML value, or else a plain string.
pub fn parse_override(text: &str, origin: &Origin) -> Value {
    let text = text.trim();
    let document = format!("v = {text}\n");
    let name: Arc<str> = Arc::from("");
    let lines = Lines::new(&document, &name);
    let parsed = DeTable::parse(&document).ok();
    // A second key can only come from a line break in the text.
    let parsed = parsed.filter(|table| table.get_ref().len() == 1);
    let parsed = parsed.map(|table| lines.table(table.get_ref()));
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

/// How the parser's messages begin when the quotes of a text are missing.
const UNQUOTED: &[&str] = &[
    "string values must be quoted",
    "invalid float",
    "invalid integer",
    "invalid boolean",
    "invalid datetime",
];

/// And when a list or table has no end: what follows is taken for a part of it.
const UNCLOSED: &[&str] = &["missing comma", "unclosed"];

/// A text whose offsets can be turned into lines.
struct Lines<'a> {
    name: &'a Arc<str>,
    /// Offsets of the line breaks, in order.
    breaks: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &str, name: &'a Arc<str>) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self {
            name,
            breaks: breaks.map(|(offset, _)| offset).collect(),
        }
    }

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
            // `2026-12-31` without quotes is what it looks like.
            DeValue::Datetime(date) => Value::Text(date.to_string()),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::file(self.name.clone(), self.line(offset))
    }

    fn line(&self, offset: usize) -> usize {
        self.breaks.partition_point(|b| *b < offset) + 1
    }

    /// One problem a line, as far as the parser can be sure of what it reads.
    fn report(&self, errors: &[toml::de::Error]) -> Result<()> {
        let mut by_line = BTreeMap::new();
        for error in errors {
            let line = self.line(error.span().map_or(0, |span| span.start));
            by_line.entry(line).or_insert(error.message());
        }
        let mut problems = Problems::new();
        for (line, message) in by_line {
            let message = message.trim_end_matches(", expected nothing");
            let problem = Problem::new(
                Origin::file(self.name.clone(), line),
                format!("not valid TOML: {message}"),
            );
            let unquoted = UNQUOTED.iter().any(|m| message.starts_with(m));
            let hint = unquoted.then_some("text stands between straight quotes: `key = \"value\"`");
            problems.push(problem.with_maybe_hint(hint.map(str::to_owned)));
            if UNCLOSED.iter().any(|m| message.starts_with(m)) {
                break;
            }
        }
        problems.report()
    }
}

/// Lays `over` on `under`: tables are merged key by key, everything else is replaced.
pub fn merge(under: &mut BTreeMap<String, Item>, over: BTreeMap<String, Item>) {
    for (key, item) in over {
        let Item { value, origin } = item;
        match (under.get_mut(&key), value) {
            (
                Some(Item {
                    value: Value::Table(below),
                    origin: place,
                }),
                Value::Table(above),
            ) => {
                merge(below, above);
                *place = origin;
            }
            (_, value) => {
                under.insert(key, Item { value, origin });
            }
        }
    }
}

/// A tree that has nothing but `item` at `path`.
pub fn at_path(path: &[&str], item: Item) -> BTreeMap<String, Item> {
    let Some((last, tables)) = path.split_last() else {
        return BTreeMap::new();
    };
    let origin = item.origin.clone();
    let leaf = BTreeMap::from([((*last).to_owned(), item)]);
    tables.iter().rev().fold(leaf, |inner, table| {
        let item = Item {
            value: Value::Table(inner),
            origin: origin.clone(),
        };
        BTreeMap::from([((*table).to_owned(), item)])
    })
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
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let doc = parse_document("\u{feff}a = 1\r\nb = 2\r\n", &"p.toml".into()).unwrap();
        assert_eq!(doc["a"].origin.to_string(), "p.toml:1");
        assert_eq!(doc["b"].origin.to_string(), "p.toml:2");
    }

    #[test]
    fn all_broken_lines_are_told() {
        let told = |text: &str| {
            let error = parse_document(text, &"p.toml".into()).unwrap_err();
            error.to_string()
        };
        let said = told("a = b c\nok = 1\nok = 2\nc = 10.0.0.1\nd = “x”\n");
        for line in [
            "4 problems",
            "p.toml:1: ",
            "p.toml:3: ",
            "p.toml:4: ",
            "p.toml:5: ",
        ] {
            assert!(said.contains(line), "{said}");
        }
        assert_eq!(said.matches("straight quotes").count(), 3, "{said}");
        // Behind a list without an end, every line looks wrong.
        let said = told("a = b c\nb = [1, 2\nc = 1\nd = 2\n");
        assert!(
            said.contains("2 problems") && said.contains("p.toml:3: "),
            "{said}"
        );
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep =
            |open: &str, close: &str| format!("a = {}{}", open.repeat(9999), close.repeat(9999));
        for text in [
            deep("[", "]"),
            deep("{a=", "}"),
            format!("{}a = 1", "a.".repeat(9999)),
            format!("[{}a]", "a.".repeat(9999)),
        ] {
            assert!(parse_document(&text, &"p.toml".into()).is_err());
            let value = text.trim_start_matches("a = ");
            assert!(
                parse_override(value, &Origin::named("--set"))
                    .as_text()
                    .is_some()
            );
        }
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
        assert_eq!(under["t"].origin.to_string(), "o:1");
        assert!(matches!(&t["b"].value, Value::List(l) if l.len() == 2));
    }

    #[test]
    fn overrides_are_toml_or_plain_text() {
        let origin = Origin::named("--set");
        assert!(matches!(parse_override("true", &origin), Value::Bool(true)));
        assert!(matches!(parse_override("v1.2+k3s", &origin), Value::Text(t) if t == "v1.2+k3s"));
        assert_eq!(parse_override("[\"a\"]", &origin).texts(), ["a"]);
        assert!(matches!(parse_override(" 10.0.0.1 ", &origin), Value::Text(t) if t == "10.0.0.1"));
        assert!(matches!(parse_override("1\nw = 2", &origin), Value::Text(t) if t == "1\nw = 2"));
        assert!(matches!(parse_override("", &origin), Value::Text(t) if t.is_empty()));
    }
}
