//! One key of a profile: its kind, default and bounds, and what is wrong with a value of it.

use regex_lite::Regex;

use super::kind::Kind;
use super::value::{Item, Value};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::{nearest, or_meant, quoted};

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
                let what = if why.starts_with("must be") || why.starts_with("is not") {
                    format!("`{key}` {why}")
                } else {
                    format!("`{key}`: {why}")
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
            let near = or_meant(nearest(text, &names));
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

/// `table.key`, or `key` at the top.
pub fn dotted(table: &str, key: &str) -> String {
    match table {
        "" => key.to_owned(),
        table => format!("{table}.{key}"),
    }
}
